"""On-demand views: their functions get the same Python objects online and in training.

Stock Feast passes a function whatever each side holds. In training that is every column of the `entity_df`. Online the
types are guessed from the values of one request: a null in another row makes an integer a float, and a map gets the
keys of other rows' maps. Here a function gets the columns that its view declares, in the types that it declares. Its
answers are cast to the types of the view's schema.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast import Field, OnDemandFeatureView
from feast.infra.registry.base_registry import BaseRegistry
from feast.types import (
    Array,
    Bool,
    FeastType,
    Float32,
    Float64,
    Int32,
    Int64,
    Json,
    Map,
    String,
    UnixTimestamp,
    from_feast_to_pyarrow_type,
)

from dualpath.declare import NEVER_NULL
from dualpath.errors import InputError
from dualpath.values import maps

PLAIN = (String, Bool, Int32, Int64, Float32, Float64, UnixTimestamp)
"""Types whose values Arrow holds as they are, also in lists. Values of other types are Python objects."""
NULLABLE = {pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
"""The pandas types of columns that may have nulls; a null changes the type of a plain pandas column."""


class DerivedView(OnDemandFeatureView):
    """An on-demand view that Feast takes for one of mode `python`, so that it does not convert the columns."""

    takes: str
    """What its function takes: a data frame (`pandas`), a dict of lists (`python`), or a dict of one row (`row`)."""

    @classmethod
    def of(cls, view: OnDemandFeatureView) -> "DerivedView":
        """The derived view of an on-demand view."""
        made = cls.__new__(cls)
        made.__dict__.update(view.__dict__)
        made.takes = "row" if view.singleton else view.mode
        made.mode, made.singleton = "python", False
        return made

    def __copy__(self) -> "DerivedView":
        made = DerivedView.__new__(DerivedView)
        made.__dict__.update(self.__dict__)
        made.__dict__.pop("sent", None)  # its names depend on the projection, which Feast replaces in the copy
        return made

    @property
    def schema(self) -> list[Field]:
        """The features as Feast sends them."""
        return self.sent

    @cached_property
    def sent(self) -> list[Field]:
        """The features, also under their full names, by which Feast looks up how to send values; maps as Json."""
        types = {field.name: Json if field.dtype == Map else field.dtype for field in self.features}
        return [Field(name=n, dtype=dtype) for name, dtype in types.items() for n in (name, self._full(name))]

    @cached_property
    def inputs(self) -> list["Input"]:
        """The declared inputs of its function."""
        found = []
        for projection in self.source_feature_view_projections.values():
            aliases = dict.fromkeys((projection.name, projection.name_to_use()))
            found += [Input(f, tuple(f"{alias}__{f.name}" for alias in aliases)) for f in projection.features]
        requests = [*self.source_request_sources.values(), self._input_schema_sentinel]
        fields = {field.name: field for request in requests if request for field in request.schema}
        return found + [Input(field, ()) for field in fields.values()]

    def transform_dict(self, feature_dict: dict[str, Any]) -> dict[str, Any]:
        """Online: compute the features, under their names and their full names, from lists."""
        answers = {}
        for name, column in self._answers(feature_dict):
            answers[name] = answers[self._full(name)] = column.to_pylist(maps_as_pydicts="strict")
        return answers

    def transform_arrow(self, pa_table: pa.Table, full_feature_names: bool = False) -> pa.Table:
        """In training: compute the features from a table."""
        found = self._answers({name: pa_table[name] for name in pa_table.column_names})
        return pa.table({self._full(n) if full_feature_names else n: column for n, column in found})

    def _full(self, name: str) -> str:
        return f"{self.projection.name_to_use()}__{name}"

    def _answers(self, columns: Mapping[str, Any]) -> Iterator[tuple[str, pa.Array]]:
        """Call the function; yields each feature's name and values, cast to its declared type."""
        given = [each.of(columns, self.name) for each in self.inputs]
        rows = len(given[0])
        form = Input.series if self.takes == "pandas" else Input.list
        named: dict[str, Any] = {}
        for each, column in zip(self.inputs, given, strict=True):
            named |= dict.fromkeys(each.names, form(each, column, self.name))
        assert self.feature_transformation is not None, "Feast applies no view without one"
        function = self.feature_transformation.udf
        if self.takes == "row":
            answers = [function({name: column[i] for name, column in named.items()}) for i in range(rows)]
            found = {f.name: [a[f.name] for a in answers if f.name in a] for f in self.features}
        else:
            found = function(pd.DataFrame(named, index=pd.RangeIndex(rows)) if self.takes == "pandas" else named)
        for field in self.features:
            if field.name not in found:
                raise InputError(f"on-demand view '{self.name}': its function returns no '{field.name}'; return it.")
            column = answer(found[field.name], field, self.name)
            if len(column) != rows:
                raise InputError(
                    f"on-demand view '{self.name}': its function returns {len(column)} values of '{field.name}' "
                    f"for {rows} rows; return one for each."
                )
            yield field.name, column


@dataclass(frozen=True)
class Input:
    """A declared input; `longer` are its names with the view's name in front, if it is a feature of a view."""

    field: Field
    longer: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names under which the function finds it, which are those of the time Feast applied the view."""
        return (*self.longer[:1], self.field.name)

    def of(self, columns: Mapping[str, Any], view: str) -> Any:
        """Its column: online a list, in training an Arrow array."""
        for name in (*self.longer, self.field.name):
            if name in columns:
                return columns[name]
        raise InputError(f"on-demand view '{view}' needs '{self.field.name}', which the request does not have; add it.")

    def series(self, column: Any, view: str) -> pd.Series:
        """The column as a pandas series, in a type that depends on no value."""
        typed = self._typed(column, view)
        if isinstance(typed, list):
            return pd.Series(typed, dtype=object)
        return typed.to_pandas(types_mapper=None if self.field.tags.get(NEVER_NULL) else NULLABLE.get)

    def list(self, column: Any, view: str) -> list[Any]:
        """The column as a list; Feast's own list of a view's values is right, but for instants, whose zones differ."""
        if self.longer and isinstance(column, list) and self.field.dtype != UnixTimestamp:
            return column
        typed = self._typed(column, view)
        return typed if isinstance(typed, list) else typed.to_pylist()

    def _typed(self, column: Any, view: str) -> Any:
        """The column as an array of the declared type, or as a list if Arrow does not hold the values as they are."""
        kind = plain(self.field.dtype)
        if kind is None:
            return column if isinstance(column, list) else column.to_pylist(maps_as_pydicts="strict")
        try:
            return cast(column, kind)
        except (TypeError, ValueError, pa.ArrowException) as error:
            raise InputError(
                f"on-demand view '{view}': '{self.field.name}' is declared {self.field.dtype}, and a value is none: "
                f"{error}."
            ) from None


class ServingRegistry:
    """A registry that gives `get_online_features` derived views for on-demand views; all else is the registry's own."""

    def __init__(self, registry: BaseRegistry) -> None:
        self._registry = registry

    def __getattr__(self, name: str) -> Any:
        return getattr(self._registry, name)

    def get_any_feature_view(self, *args: Any, **kwargs: Any) -> Any:
        """A view by its name."""
        return derived(self._registry.get_any_feature_view(*args, **kwargs))

    def get_feature_view_by_version(self, *args: Any, **kwargs: Any) -> Any:
        """A version of a view."""
        return derived(self._registry.get_feature_view_by_version(*args, **kwargs))


def derived(view: Any) -> Any:
    """The derived view of an on-demand view whose function is called at reads; any other view as it is."""
    if not isinstance(view, OnDemandFeatureView) or isinstance(view, DerivedView):
        return view
    called = view.mode in ("pandas", "python") and not view.aggregations and not view.write_to_online_store
    return DerivedView.of(view) if called else view


def answer(values: Any, field: Field, view: str) -> pa.Array:
    """The values that a function returned for a feature, in its declared type; NaN becomes null."""
    kind = plain(field.dtype)
    try:
        if kind is None:
            return objects([*values], field.dtype)
        return cast(values, kind)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise InputError(
            f"on-demand view '{view}': '{field.name}' is declared {field.dtype}, and its function returns something "
            f"else ({error}); change one of them."
        ) from None


def plain(dtype: FeastType) -> pa.DataType | None:
    """The Arrow type of a plain type or of a list of one, else None."""
    inner = dtype.base_type if isinstance(dtype, Array) else dtype
    return from_feast_to_pyarrow_type(dtype) if inner in PLAIN else None


def cast(values: Any, kind: pa.DataType) -> pa.Array:
    """Values as an Arrow array of a type; raises what Arrow raises if one does not fit, as 2.5 for an integer.

    Timestamps are cut to seconds, as Feast carries them online.
    """
    array = values if isinstance(values, pa.ChunkedArray | pa.Array) else pa.array(values, from_pandas=True)
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if pa.types.is_timestamp(kind):
        return pc.floor_temporal(array.cast(kind, safe=False), unit="second")
    return array if array.type == kind else array.cast(kind)


def objects(values: Sequence[Any], dtype: FeastType) -> pa.Array:
    """Python objects as an Arrow array; dicts become maps, in their own order."""
    if dtype in (Map, Json):
        values = [json.loads(value) if isinstance(value, str) else value for value in values]
        if all(value is None or isinstance(value, dict) for value in values):
            return maps(values)
    return pa.array(values, from_pandas=True)
