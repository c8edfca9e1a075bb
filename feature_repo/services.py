"""What models ask for by name."""

from engagement import engagement
from feast import FeatureService
from product_activity import product_activity
from user_activity import user_activity
from user_orders import user_orders

user_profile = FeatureService(
    name="user_profile",
    features=[user_activity, user_orders, engagement],
    description="Serving: everything a model asks about the user of a request.",
)
ranking_training = FeatureService(
    name="ranking_training",
    features=[user_activity, user_orders, product_activity, engagement],
    description="Training: the user of an impression and the product shown.",
)
