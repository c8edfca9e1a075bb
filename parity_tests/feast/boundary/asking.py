"""How the tests ask both sides: online and training, which answer with the same values or both refuse."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd
from feast import FeatureStore

from dualpath.errors import DualpathError
from dualpath.parity.compare import same
from dualpath.repo import Repo

START = datetime(2026, 3, 1, tzinfo=UTC)
BIG = 10_000_000_000
"""A shop number that a float column holds exactly, and 32 bits do not."""
USERS = ["ann", "bob", "", "7", "urn:user:42", "Ünï 😀", "00000000-0000-0000-0000-000000000005", "nan", "None"]
SHOPS = [0, 7, -1, BIG]
REFS = [
    "user_orders:orders_1h",
    "user_orders:by_kind",
    "shop_orders:spent_7d",
    "pair_orders:pair_orders_7d",
    "user_orders:mean_7d",
    "user_orders:kinds_7d",
    "shop_orders:orders_7d",
    "user_profile:age",
    "derived:busy",
    "user_profile:rating",
    "derived:adult",
]


@dataclass
class Said:
    """What one side answers: values by column, or the sentence of its refusal."""

    values: dict[str, list[Any]] | None = None
    refusal: str = ""


def said(ask: Callable[[], dict[str, list[Any]]]) -> Said:
    """Ask; an error that is not one of dualpath's goes through, and fails the test."""
    try:
        return Said(ask())
    except DualpathError as error:
        return Said(refusal=error.message)


def served(store: FeatureStore, features: Any, rows: Any) -> dict[str, list[Any]]:
    return store.get_online_features(features, rows, full_feature_names=True).to_dict()


def trained(store: FeatureStore, features: Any, frame: Any) -> dict[str, list[Any]]:
    table = store.get_historical_features(frame, features, full_feature_names=True).to_arrow()
    return {name: table[name].to_pylist(maps_as_pydicts="strict") for name in table.column_names}


def asked_for(store: FeatureStore, features: Any) -> list[str]:
    """The columns that an answer must have, in their order."""
    if isinstance(features, list):
        return [ref.replace(":", "__") for ref in features]
    return [
        f"{projection.name_to_use()}__{feature.name}"
        for projection in features.feature_view_projections
        for feature in projection.features
    ]


def agree(repo: Repo, features: Any, columns: dict[str, Any], rows: Any = None) -> Said:
    """Hold both sides together; `columns` become the `entity_df`, and are the entity rows if there are no others."""
    online = said(lambda: served(repo.store, features, columns if rows is None else rows))
    training = said(lambda: trained(repo.store, features, pd.DataFrame(columns)))
    assert (online.values is None) == (training.values is None), (online, training)
    if online.values is not None and training.values is not None:
        wanted = asked_for(repo.store, features)
        assert [name for name in online.values if "__" in name] == wanted
        assert [name for name in training.values if "__" in name and name in wanted] == wanted
        for name in wanted:
            assert same(online.values[name], training.values[name]), (name, online.values[name], training.values[name])
    return online
