"""A view: features of one entity, computed from the events of a source, or of several. Pure data with a JSON form."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, ClassVar

import xxhash

from dualpath.aggregates.base import Aggregate, Output
from dualpath.changes import Changes
from dualpath.columns import check_name
from dualpath.errors import DeclarationError
from dualpath.expression import Type, check
from dualpath.field import Field
from dualpath.schema import EventSource
from dualpath.signature import declares
from dualpath.spelling import Excess, excesses
from dualpath.spelling import spell as spelled
from dualpath.union import union
from dualpath.windows import SECOND, Window, spell
from dualpath.words import code

KNOWN_AT = "known_at"
"""The column of an `entity_df` that says by when an event must have arrived to count."""
MAX_RECORDS = 100_000
"""At five words a record, each read of such an entity moves four megabytes."""


@declares
@dataclass(frozen=True)
class Feature:
    """A named aggregate over a window."""

    name: str
    aggregate: Aggregate
    over: Window
    description: str = ""

    called: ClassVar[str] = "a feature(...)"

    def __str__(self) -> str:
        return f"{self.aggregate} over {self.over}"


@declares
@dataclass(frozen=True)
class View:
    """Features of the entity whose `keys` are columns of `source`.

    `resolution` is the bucket width in microseconds: 1 is exact; a coarser one folds the events of a bucket
    into one record and moves the left edge of every window down to a bucket's edge, nothing else.
    `max_records` is how many records an entity is expected to have online at most; one with more is reported.
    The events of `others`, further sources, count as well; `dualpath.parts` says how such a view is computed.
    """

    name: str
    keys: tuple[str, ...]
    source: EventSource
    features: tuple[Feature, ...]
    resolution: int = 1
    description: str = ""
    max_records: int = MAX_RECORDS
    others: tuple[EventSource, ...] = ()

    def __post_init__(self) -> None:
        where = f"view '{self.name}'"
        self._check_name(where)
        if self.known_feature == KNOWN_AT:
            raise DeclarationError(f"{where}: training sets have a column '{KNOWN_AT}' of their own; rename the view.")
        if not self.keys:
            raise DeclarationError(f"{where}: no entity; name at least one with a join key.")
        for key in self.keys:
            if key in self.own_names:
                raise DeclarationError(f"{where}: the join key '{key}' has a name that training sets need; rename it.")
            for source in self.sources:
                _check_key(where, key, source)
        for source in self.sources:
            if source.changes:
                self._check_changes(where, source, source.changes)
        if self.others:
            self._check_sources(where)
        if not self.features:
            raise DeclarationError(f"{where}: no features; declare at least one.")
        if self.resolution != 1 and (self.resolution < 1 or 86_400 * SECOND % self.resolution):
            raise DeclarationError(f"{where}: a resolution of {self.resolution} µs does not divide a day; choose one.")
        if self.max_records < 1:
            raise DeclarationError(f"{where}: max_records={self.max_records} lets no event in; give at least 1.")
        seen: set[str] = set()
        for feature in self.features:
            at = f"{where}, feature '{feature.name}'"
            check_name(feature.name, at)
            if feature.name in seen or feature.name in self.keys:
                raise DeclarationError(f"{at}: the name is taken twice; rename one of the two.")
            if feature.name in self.own_names:
                raise DeclarationError(f"{at}: every view has {', '.join(self.own_names)} of its own; rename it.")
            seen.add(feature.name)
            try:
                self.input_type(feature)
                feature.over.check()
                if feature.over.offset and self.resolution > 1:
                    raise DeclarationError("an offset window ends inside buckets; leave the view's resolution exact.")
                self._check_needs(feature)
            except DeclarationError as error:
                raise DeclarationError(f"{at}: {error.message}") from None

    def __hash__(self) -> int:
        # Views are keys of every cache that a read asks; the hash of all they hold took a quarter of its time.
        return hash(self.name)

    def _check_name(self, where: str) -> None:
        check_name(self.name, where)

    def _check_sources(self, where: str) -> None:
        names = [source.name for source in self.sources]
        if twice := [name for name in names if names.count(name) > 1]:
            raise DeclarationError(f"{where}: it names the source '{twice[0]}' twice; name each once.")
        marks: dict[int, str] = {}
        for name in names:
            if (other := marks.setdefault(mark(name), name)) != name:
                raise DeclarationError(f"{where}: '{other}' and '{name}' have the same short code; rename one of them.")
        union(self.sources, where)

    def _check_changes(self, where: str, source: EventSource, changes: Changes) -> None:
        if self.resolution > 1:
            raise DeclarationError(
                f"{where}: '{source.name}' has changes, and a folded bucket cannot give up a row; "
                "leave the view's resolution exact."
            )
        if changes.deleted and check(changes.deleted, source.by_name).kind != "boolean":
            raise DeclarationError(
                f'{where}: "{changes.deleted}" does not say of each version whether it deletes its row; '
                "compare something."
            )

    def _check_needs(self, feature: Feature) -> None:
        name, needs = type(feature.aggregate).__name__, feature.aggregate.needs
        if needs and feature.over.kind == "lifetime":
            raise DeclarationError(f"{name} needs the times of events, which all time folds away; bound the window.")
        if needs == "events" and self.resolution > 1:
            raise DeclarationError(f"{name} needs single events; leave the view's resolution exact.")

    @property
    def known_feature(self) -> str:
        """The feature that says what an online answer knew: a token of `dualpath.known`."""
        return f"known_{self.name}"

    @property
    def arrived_feature(self) -> str:
        """The feature that says when the newest event that an online answer knew arrived, microseconds UTC."""
        return f"arrived_{self.name}"

    @property
    def own_names(self) -> tuple[str, ...]:
        """Names that no feature and no join key of the view can have."""
        return self.known_feature, self.arrived_feature, KNOWN_AT

    @property
    def sources(self) -> tuple[EventSource, ...]:
        """The sources whose events count."""
        return self.source, *self.others

    @cached_property
    def fields(self) -> Mapping[str, Field]:
        """The fields of an event, by name; of several sources, those of all."""
        return union(self.sources, f"view '{self.name}'") if self.others else self.source.by_name

    @property
    def versions(self) -> bool:
        """Whether its records are versions of rows (`dualpath.changes`)."""
        return any(source.changes for source in self.sources)

    @property
    def mark(self) -> int:
        """What tells codes of its source from equal ones of other sources (`mark`); 0 where there is only one."""
        return 0

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The event log's columns of the join keys."""
        return tuple(self.source.by_name[key].column for key in self.keys)

    def type_of(self, sql: str) -> Type:
        """The type of an expression over the events."""
        return check(sql, self.fields)

    def spell(self, sql: str, dialect: str) -> str:
        """An expression in the dialect of an engine."""
        return spelled(sql, dialect, self.fields)

    def excesses(self, sqls: Iterable[str]) -> list[Excess]:
        """When each calculation in the expressions might have more digits than are computed exactly."""
        return excesses(sqls, self.fields)

    def input_type(self, feature: Feature) -> Type:
        """The checked type of the column a feature aggregates; of kind null if it takes none."""
        return feature.aggregate.check(self.type_of)

    def output(self, feature: Feature) -> Output:
        """What the feature holds."""
        return feature.aggregate.output(self.input_type(feature))

    @property
    def bounded_lookback(self) -> int:
        """How far before `as_of` its widest bounded window looks, microseconds; 0 if it has none."""
        bounded = [f.over.lookback for f in self.features if f.over.lookback is not None]
        return max(bounded) + self.resolution - 1 if bounded else 0

    @property
    def lookback(self) -> int | None:
        """How far before `as_of` its widest window looks, microseconds; None: over all time."""
        return None if any(f.over.lookback is None for f in self.features) else self.bounded_lookback

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form; `from_dict` restores an equal view. Without other sources it says nothing of them."""
        return {
            "name": self.name,
            "keys": list(self.keys),
            "source": self.source.to_dict(),
            **({"others": [source.to_dict() for source in self.others]} if self.others else {}),
            "resolution": self.resolution,
            "description": self.description,
            "max_records": self.max_records,
            "features": [
                {
                    "name": f.name,
                    **f.aggregate.to_dict(),
                    "over": f.over.to_dict(),
                    "description": f.description,
                }
                for f in self.features
            ],
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "View":
        """The inverse of `to_dict`."""
        features = []
        for each in plain["features"]:
            rest = dict(each)
            name, over, description = rest.pop("name"), rest.pop("over"), rest.pop("description")
            features.append(Feature(name, Aggregate.from_dict(rest), Window(**over), description))
        return cls(
            plain["name"],
            tuple(plain["keys"]),
            EventSource.from_dict(plain["source"]),
            tuple(features),
            plain["resolution"],
            plain["description"],
            # A registry may have been applied before there was a bound.
            plain.get("max_records", MAX_RECORDS),
            tuple(map(EventSource.from_dict, plain.get("others", ()))),
        )

    def __str__(self) -> str:
        grain = "exact" if self.resolution == 1 else f"by {spell(self.resolution)}"
        return f"{self.name} by {', '.join(self.keys)}, {grain}"


def mark(source: str) -> int:
    """Sixteen bits that stand for a source of a view of several.

    In its records they are added to codes of ids and rows by exclusive or. So the same id in two sources is two events,
    whose order at one instant is the same everywhere, and other events keep the order of their ids.
    """
    return code(source) & 0xFFFF


def _check_key(where: str, key: str, source: EventSource) -> None:
    field = source.by_name.get(key)
    if field is None or not field.key:
        raise DeclarationError(
            f"{where}: the join key '{key}' is not a text, integer or identifier field of "
            f"'{source.name}'; it has {', '.join(source.by_name)}."
        )
    if source.changes and not field.required:
        raise DeclarationError(
            f"{where}: a version of a row without the join key '{key}' could replace none; "
            f"declare the field of '{source.name}' with required=True."
        )


@cache
def digest(view: View) -> str:
    """A name for all that the values of a view depend on; views that differ in texts for people, or in where the table
    of a dimension is, have the same."""
    plain = view.to_dict()
    sources = [plain["source"], *plain.get("others", ())]
    for each in (plain, *sources, *plain["features"]):
        each.pop("description", None)
    for source in sources:
        for lookup in source.get("lookups", ()):
            for where in ("path", "topic"):
                lookup["dimension"].pop(where, None)
    del plain["max_records"]
    return xxhash.xxh64_hexdigest(json.dumps(plain, sort_keys=True).encode())
