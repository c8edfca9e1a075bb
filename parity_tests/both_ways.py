"""What entities are served and trained at an instant, as rows that can be compared with a preview's."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from dualpath.repo import Repo
from dualpath.view import View

Rows = list[dict[str, Any]]


def served_and_trained(repo: Repo, view: View, entities: Sequence[dict[str, Any]], at: Any) -> tuple[Rows, Rows]:
    """The join keys and features of the entities, which are rows that have the view's keys, by either store."""
    refs = [f"{view.name}:{feature.name}" for feature in view.features]
    rows = pd.DataFrame([{key: row[key] for key in view.keys} for row in entities]).assign(event_timestamp=at)
    served = repo.store.get_online_features(refs, rows.to_dict("records")).to_arrow()
    trained = repo.store.get_historical_features(rows, refs).to_arrow()
    return _rows(served, view), _rows(trained, view)


def _rows(found: pa.Table, view: View) -> Rows:
    names = [*view.keys, *(feature.name for feature in view.features)]
    return found.select(names).to_pylist(maps_as_pydicts="strict")
