"""What happens in the newsroom: articles appear, feeds are decided, shown and clicked."""

from datetime import timedelta

from dualpath.declare import event_source
from dualpath.schema import integer, text
from dualpath.serving.decision import FIELDS

articles = event_source(
    "articles",
    description="An article is published.",
    fields=[text("article_id", required=True), text("category", required=True)],
    event_id="article_id",
    arrival_time=None,
)
decisions = event_source(
    "decisions",
    description="The answers of `POST /rank`, each with all that is needed to make it again.",
    fields=FIELDS,
    event_id="decision_id",
    event_time="decided_at",
    arrival_time=None,
)
impressions = event_source(
    "impressions",
    description="A reader sees an article in a feed.",
    fields=[text("user_id", required=True), text("article_id", required=True), text("decision_id", required=True)],
    arrival_time=None,
)
clicks = event_source(
    "clicks",
    description="A reader opens an article of a feed.",
    fields=[
        text("user_id", required=True),
        text("article_id", required=True),
        text("category", required=True),
        text("decision_id", required=True),
        integer("position"),
    ],
    arrival_time=None,
    late_after=timedelta(minutes=10),
)
