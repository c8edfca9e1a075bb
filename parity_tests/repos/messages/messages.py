"""Three sources of one topic, told apart by a header: the items of orders, what was looked at, and rows of accounts."""

from feast import Entity, ValueType

from dualpath import kafka
from dualpath.aggregates import Count, Last, Max, Sum
from dualpath.changes import Changes
from dualpath.declare import event_source, feature, feature_view
from dualpath.limits import Limits
from dualpath.schema import decimal, identifier, integer, text, timestamp
from dualpath.windows import days

user = Entity(name="user", join_keys=["user"], value_type=ValueType.STRING)
product = Entity(name="product", join_keys=["sku"], value_type=ValueType.STRING)
ALL = Limits(refused=1.0)
TYPE = text("type", path=kafka.header("ce_type"), required=True)
ID = text("id", path=kafka.header("ce_id"))
TIME = timestamp("happened", path=kafka.header("ce_time"))
items = event_source(
    "items",
    each="items",
    where="type = 'order'",
    event_id=ID,
    event_time=TIME,
    arrival_time=None,
    fields=[
        TYPE,
        text("user", path=kafka.key, required=True),
        text("sku", path="items[*].sku", required=True),
        decimal("price", scale=2, path="items[*].price"),
        integer("shop", path=kafka.header("shop")),
    ],
    limits=ALL,
)
looks = event_source(
    "looks",
    where="type IN ('view', 'click')",
    event_id=ID,
    event_time=timestamp("happened", path=kafka.time),
    arrival_time=None,
    fields=[TYPE, text("user", path=kafka.key, required=True), text("topic", path=kafka.topic), text("sku")],
    limits=ALL,
)
accounts = event_source(
    "accounts",
    where="type = 'account'",
    event_id=None,
    event_time=TIME,
    arrival_time=None,
    fields=[
        TYPE,
        identifier("account", path=kafka.key("id"), required=True),
        text("user", path="owner", required=True),
        decimal("balance", scale=2),
        text("op"),
    ],
    changes=Changes(key=["user", "account"], deleted="op = 'd'"),
    limits=ALL,
)
BOUGHT = [
    feature("bought", Count(), over=days(7)),
    feature("spent", Sum("price"), over=days(7)),
    feature("highest_shop", Max("shop"), over=days(7)),
]
of_user = feature_view("of_user", entity=user, source=items, features=BOUGHT)
of_product = feature_view("of_product", entity=product, source=items, features=BOUGHT)
looked = feature_view(
    "looked",
    entity=user,
    source=looks,
    features=[feature("looks", Count(), over=days(7)), feature("last_topic", Last("topic"), over=days(7))],
)
owned = feature_view(
    "owned",
    entity=user,
    source=accounts,
    features=[feature("accounts", Count(), over=days(30)), feature("wealth", Sum("balance"), over=days(30))],
)
