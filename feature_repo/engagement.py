"""How engaged a user is, derived from windowed counts: Feast runs the same Python for training and serving."""

import pandas as pd
from feast import Field
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import String
from user_activity import user_activity


@on_demand_feature_view(
    sources=[user_activity],
    schema=[Field(name="engagement_level", dtype=String)],
    description="highly_engaged: over 10 actions in 5 minutes; active: over 5 in 30 minutes; else browsing.",
)
def engagement(inputs: pd.DataFrame) -> pd.DataFrame:
    level = pd.Series("browsing", index=inputs.index)
    level[inputs["actions_30min"] > 5] = "active"
    level[inputs["actions_5min"] > 10] = "highly_engaged"
    return pd.DataFrame({"engagement_level": level})
