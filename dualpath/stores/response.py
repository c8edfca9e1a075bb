"""The answer that a caller holds: Feast's, with tables of the declared types."""

from typing import Any

import pandas as pd
import pyarrow as pa
from feast.online_response import OnlineResponse

from dualpath.stores.derived import DerivedView, plain
from dualpath.stores.wanted import Wanted
from dualpath.values import arrow_type, frame, maps


class Response(OnlineResponse):
    """The answer to a request for what is `wanted`."""

    def __init__(self, response: OnlineResponse, wanted: Wanted) -> None:
        super().__init__(response.proto, response._feature_types)
        self._wanted = wanted

    def to_arrow(self, include_event_timestamps: bool = False) -> pa.Table:
        """A table with the types of a training set: Feast guesses them from the values."""
        types = self._types()
        columns = {}
        for name, values in self.to_dict(include_event_timestamps).items():
            kind = types.get(name)
            mapped = any(isinstance(value, dict) for value in values)
            columns[name] = maps(values, kind and kind.item_type) if mapped else pa.array(values, kind)
        return pa.table(columns)

    def to_df(self, include_event_timestamps: bool = False) -> pd.DataFrame:
        """The frame that a training set's rows would be."""
        return frame(self.to_arrow(include_event_timestamps))

    def _types(self) -> dict[str, pa.DataType]:
        """The types of the features of windowed and on-demand views, by their names in the answer."""
        types: dict[str, pa.DataType] = {}
        for each in self._wanted.views:
            if each.compiled:
                outputs = each.compiled.plan.outputs
                types |= {each.prefix + name: arrow_type(outputs[name]) for name in each.features}
        for view in self._wanted.derived:
            if isinstance(view, DerivedView):
                types |= {field.name: kind for field in view.schema if (kind := plain(field.dtype))}
        return {name: kind for name, kind in types.items() if name in self._wanted.places}
