"""Sales of a shop, with what the product's and the shop's tables said at the time of each."""

from feast import Entity, ValueType

from dualpath.aggregates import Count, Distinct, Last, Sum
from dualpath.declare import event_source, feature, feature_view
from dualpath.dimension import dimension, lookup
from dualpath.limits import Limits, NullLimit
from dualpath.schema import decimal, identifier, integer, text, timestamp
from dualpath.windows import days

user = Entity(name="user", join_keys=["user"], value_type=ValueType.STRING)
category = Entity(name="category", join_keys=["product_category"], value_type=ValueType.STRING)
products = dimension(
    "products",
    path="tables/products",
    keys=[text("id")],
    fields=[text("category"), decimal("price", scale=2), timestamp("late")],
    valid_to="gone",
)
shops = dimension(
    "shops",
    path="tables/shops.csv",
    keys=[text("chain"), identifier("shop")],
    fields=[text("batch", choices=("north", "south"))],
    valid_from=timestamp("opened", unit="s"),
)
sales = event_source(
    "sales",
    event_id=None,
    fields=[text("user"), text("sku"), text("chain"), identifier("shop", path="at.shop"), integer("quantity")],
    lookups=[lookup(products, on={"id": "sku"}, prefix="product_"), lookup(shops, required=True)],
    limits=Limits(nulls=[NullLimit("product_category", 0.9)]),
)
of_user = feature_view(
    "of_user",
    entity=user,
    source=sales,
    features=[
        feature("spent", Sum("product_price * quantity", where="batch = 'north'"), over=days(7)),
        feature("category", Last("product_category"), over=days(7)),
        feature("categories", Distinct("product_category"), over=days(7)),
        feature("since", Last("product_late"), over=days(7)),
        feature("unknown", Count(where="product_price IS NULL"), over=days(7)),
    ],
)
of_category = feature_view(
    "of_category", entity=category, source=sales, features=[feature("sold", Sum("quantity"), over=days(7))]
)
