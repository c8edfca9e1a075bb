"""Whom and what features describe."""

from feast import Entity, ValueType

reader = Entity(name="reader", join_keys=["user_id"], value_type=ValueType.STRING, description="Who reads.")
article = Entity(name="article", join_keys=["article_id"], value_type=ValueType.STRING, description="What is read.")
decision = Entity(
    name="decision",
    join_keys=["decision_id"],
    value_type=ValueType.STRING,
    description="One ranked feed, and what came of it.",
)
