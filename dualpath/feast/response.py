"""The answer that a caller holds: Feast's, with tables of the declared types."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
from feast.online_response import OnlineResponse, _convert_uuids_for_arrow
from feast.types import FeastType

from dualpath.feast.derived import DerivedView, objects, plain
from dualpath.feast.wanted import Wanted
from dualpath.values import arrow_type, frame, maps


class Response(OnlineResponse):
    """The answer to a request for what is `wanted`."""

    def __init__(self, response: OnlineResponse, wanted: Wanted) -> None:
        super().__init__(response.proto, response._feature_types)
        self._wanted = wanted

    def to_arrow(self, include_event_timestamps: bool = False) -> pa.Table:
        """A table with the types of a training set; Feast guesses them from the values, as here those of other columns
        than windowed and derived features."""
        found = _convert_uuids_for_arrow(self.to_dict(include_event_timestamps))
        types = self._types()
        return pa.table({name: _column(values, types.get(name)) for name, values in found.items()})

    def to_df(self, include_event_timestamps: bool = False) -> pd.DataFrame:
        """The frame that a training set's rows would be."""
        return frame(self.to_arrow(include_event_timestamps))

    def _types(self) -> dict[str, pa.DataType | FeastType]:
        """The types of windowed and derived features, by their names in the answer: Arrow's where it has one."""
        types: dict[str, pa.DataType | FeastType] = {}
        for each in self._wanted.views:
            if each.compiled:
                outputs = each.compiled.plan.outputs
                types |= {each.prefix + name: arrow_type(outputs[name]) for name in each.features}
        for view in self._wanted.derived:
            if isinstance(view, DerivedView):
                asked = [field for field in view.schema if field.name in self._wanted.places]
                types |= {field.name: plain(field.dtype) or field.dtype for field in asked}
        return types


def _column(values: Sequence[Any], kind: pa.DataType | FeastType | None) -> pa.Array:
    if isinstance(kind, pa.MapType):
        return maps(values, kind.item_type)
    return pa.array(values, kind) if kind is None or isinstance(kind, pa.DataType) else objects(values, kind)
