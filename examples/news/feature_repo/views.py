"""The features of the bandit: each declared once, for the stream, the nightly job and the training set."""

from entities import article, decision, reader
from sources import articles, clicks, decisions, impressions

from dualpath.aggregates import Count, CountBy, DecayedCount, Last, Min
from dualpath.declare import feature, feature_view
from dualpath.windows import hours, lifetime, minutes

reader_interest = feature_view(
    "reader_interest",
    description="What a reader is interested in right now.",
    entity=reader,
    source=clicks,
    features=[
        feature(
            "interest",
            DecayedCount(by="category", half_life=60),
            over=minutes(5),
            description="Clicks of the last five minutes by category, each worth half after a minute.",
        ),
        feature("clicks_5min", Count(), over=minutes(5), description="Clicks of the last five minutes."),
        feature("history", CountBy("category"), over=hours(24), description="Clicks of the last day by category."),
    ],
)
reader_feeds = feature_view(
    "reader_feeds",
    description="How much a reader has asked for.",
    entity=reader,
    source=decisions,
    features=[feature("feeds_1h", Count(), over=hours(1), description="Feeds of the last hour.")],
)
article_facts = feature_view(
    "article_facts",
    description="What an article is.",
    entity=article,
    source=articles,
    features=[
        feature("category", Last("category"), over=lifetime(), description="Its section."),
        feature("published", Min("event_time"), over=lifetime(), description="When it appeared."),
    ],
)
article_clicks = feature_view(
    "article_clicks",
    description="How often an article is opened.",
    entity=article,
    source=clicks,
    features=[feature("clicks_1h", Count(), over=hours(1), description="Clicks of the last hour.")],
)
article_impressions = feature_view(
    "article_impressions",
    description="How often an article is seen.",
    entity=article,
    source=impressions,
    features=[feature("impressions_1h", Count(), over=hours(1), description="Impressions of the last hour.")],
)
decision_outcome = feature_view(
    "decision_outcome",
    description="What came of a decision: asked ten minutes after it, it is the reward.",
    entity=decision,
    source=clicks,
    features=[
        feature(
            "clicks_10min",
            Count(where="position = 1"),
            over=minutes(10),
            description="Clicks on the first article within ten minutes.",
        )
    ],
)
