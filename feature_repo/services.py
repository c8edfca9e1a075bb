"""What models ask for by name."""

from engagement import engagement
from feast import FeatureService
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination
from product_activity import product_activity
from user_activity import user_activity
from user_orders import user_orders

from dualpath.declare import with_known

user_profile = FeatureService(
    name="user_profile",
    features=[user_activity, user_orders, engagement],
    description="Serving: everything a model asks about the user of a request.",
)
audited_profile = FeatureService(
    name="audited_profile",
    features=[with_known(user_activity), with_known(user_orders), engagement],
    logging_config=LoggingConfig(destination=FileLoggingDestination(path="data/served"), sample_rate=1.0),
    description="Serving: the same, with what each answer knew; every answer is logged for `dualpath audit`.",
)
ranking_training = FeatureService(
    name="ranking_training",
    features=[user_activity, user_orders, product_activity, engagement],
    description="Training: the user of an impression and the product shown.",
)
