"""Explains one answer: its value, the window's edges, the events that count, those that do not, and why.

| cause | the row does not count because |
|---|---|
| `left edge` | it happened at or before the window's left edge |
| `after as_of` | it happened after the right edge, which is `as_of` or, of an offset window, before it |
| `condition` | the feature's condition is not true of it, or its column is null |
| `not yet known` | it arrived after the instant by which events are known, or in a later micro-batch |
| `replaced` | it is a version of a row of which a later one counts |
| `deleted` | it is the version that deletes its row |
| `moved` | it is the version with which its row became another entity's |
| `beyond retention` | it came too late for the online store: the log has it, and no read could reach it |
| `duplicate` | its id had come before |
| `refused` | it is a dead letter |
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from dualpath import instants
from dualpath.entities import REMEDIES, cast
from dualpath.errors import DualpathError, InputError, NotFoundError
from dualpath.instants import iso
from dualpath.known import token
from dualpath.offline.history import view_version
from dualpath.online import manifest
from dualpath.online.connection import FAILED, configured, connect, embedded_folder
from dualpath.parity import candidates
from dualpath.parity.candidates import Candidate
from dualpath.parity.contrast import Contrast, contrast, giving, seen
from dualpath.parity.question import (
    AFTER_AS_OF,
    BEYOND_RETENTION,
    CONDITION,
    DELETED,
    LEFT_EDGE,
    MOVED,
    NOT_YET_KNOWN,
    REPLACED,
    Knowledge,
    Question,
    knowledge,
)
from dualpath.parts import parts
from dualpath.repo import Repo
from dualpath.runtime import redis as embedded
from dualpath.runtime.redis import ANSWER_TIMEOUT_SECONDS
from dualpath.view import Feature, View

DUPLICATE, REFUSED = "duplicate", "refused"
CAUSES = (
    *(LEFT_EDGE, AFTER_AS_OF, CONDITION, DELETED, MOVED, NOT_YET_KNOWN, REPLACED, BEYOND_RETENTION),
    *(DUPLICATE, REFUSED),
)
SHOWN = 20
"""Rows of a cause that an explanation has."""
UNREACHABLE: tuple[type[Exception], ...] = (DualpathError, *FAILED)
VALUE = "value:"
"""Before a value that was seen."""


@dataclass(frozen=True)
class LeftOut:
    """Rows that do not count for one cause: how many, and the `nearest` to the window's right edge."""

    total: int
    nearest: tuple[Candidate, ...]


@dataclass(frozen=True)
class Explanation:
    """An answer and what it is made of.

    `entity` has the cast join keys. `as_of`, `left` (open) and `right` (closed) are microseconds UTC. `counted` are the
    events that count, ascending by time and id. `left_out` has the others by cause; a cause without rows is missing.
    `against` is the other answer that was asked for.
    """

    view: View
    feature: Feature
    entity: Mapping[str, str | int]
    as_of: int
    known: Knowledge
    value: Any
    left: int
    right: int
    expressions: tuple[str, ...]
    counted: tuple[Candidate, ...]
    left_out: Mapping[str, LeftOut]
    notes: tuple[str, ...] = ()
    against: Contrast | None = None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form; instants are ISO-8601 with microseconds and Z, decimals are texts."""
        return {
            "view": self.view.name,
            "feature": self.feature.name,
            "declared": str(self.feature),
            "entity": dict(self.entity),
            "as_of": iso(self.as_of),
            "known": self.known.name,
            "value": self.value,
            "window": {"left": iso(self.left) if self.bounded else None, "right": iso(self.right)},
            "counted": [self.row(each) for each in self.counted],
            "left_out": {
                cause: {"total": each.total, "nearest": [self.row(row) for row in each.nearest]}
                for cause, each in self.left_out.items()
            },
            "notes": list(self.notes),
            "against": self.against
            and {
                "known": self.against.known or None,
                "value": self.against.value,
                "events": [
                    {**self.row(each.row), "lacked_by": each.by, "cause": each.cause} for each in self.against.events
                ],
            },
        }

    @property
    def bounded(self) -> bool:
        """Whether the window has a left edge."""
        return self.feature.over.kind != "lifetime"

    def row(self, row: Candidate) -> dict[str, Any]:
        """A row in its JSON-ready form, with the values of the feature's expressions if it is an event."""
        times = {name: row.event[name] for name in ("event_time", "arrival_time")}
        return {
            **({"source": row.view.source.name} if self.view.others else {}),
            "event_id": row.event["event_id"],
            **{name: None if time is None else iso(time) for name, time in times.items()},
            "batch": token(row.batch),
            "arrival_day": row.arrival_day,
            "origin": row.origin,
            "position": row.position,
            "values": {sql: self._plain(sql, row.event[sql]) for sql in self.expressions if sql in row.event},
            "reason": row.reason or None,
        }

    def _plain(self, sql: str, value: Any) -> Any:
        if value is not None and self.view.type_of(sql).kind == "timestamp":
            return iso(value)
        return str(value) if isinstance(value, Decimal) else value


def explain(
    repo: Repo, ref: str, entity: Mapping[str, Any], as_of: Any, known: Any = None, against: Any = None
) -> Explanation:
    """Explain the value of the feature `ref`, as VIEW:FEATURE, of an entity at an instant.

    entity: the value of each join key. as_of: a datetime or ISO-8601 text; without a time zone it is UTC. known: what
    the answer knows: None or `final` for every event of the log; an instant for those that had arrived by then; a token
    such as `q1b204` for what the online store had. against: another knowledge, or `value:` and a value that was seen,
    as JSON; then the knowledge that gives this value is looked for.

    The value is that of `get_historical_features` with this knowledge, but for events beyond retention: a token's
    answer leaves them out, as the online store does, and a note says so.

    Raises `NotFoundError` for a view or a feature that does not exist, `InputError` for anything else that cannot be
    used, and `StaleRecordsError` for a token of a batch that the log does not have.
    """
    view, feature = _declared(repo, ref)
    keys = _keys(view, entity)
    question = Question(repo, view, feature, keys, _instant(as_of))
    mine = knowledge(known, question.storages, "known")
    has = question.has(mine)
    value = question.value(has)
    return Explanation(
        view,
        feature,
        dict(zip(view.keys, keys, strict=True)),
        question.as_of,
        mine,
        value,
        question.left,
        question.right,
        tuple(question.expressions),
        tuple(row for row, counts in zip(question.reached, has, strict=True) if counts),
        _left_out(question, mine),
        tuple(_notes(question, mine)),
        None if against is None else _against(question, mine, against),
    )


def _declared(repo: Repo, ref: str) -> tuple[View, Feature]:
    name, colon, wanted = ref.partition(":")
    if not colon:
        raise InputError(f"'{ref}' names no feature; write it as VIEW:FEATURE.")
    view = repo.views.get(name)
    if view is None:
        raise NotFoundError(f"there is no windowed view '{name}'; the repo has {', '.join(repo.views)}.")
    for feature in view.features:
        if feature.name == wanted:
            return view, feature
    raise NotFoundError(f"view '{name}' has no feature '{wanted}'; it has {', '.join(f.name for f in view.features)}.")


def _keys(view: View, entity: Mapping[str, Any]) -> list[str | int]:
    """The cast join keys, in the view's order."""
    if set(entity) != set(view.keys):
        given = ", ".join(map(str, entity)) or "none"
        raise InputError(f"view '{view.name}' has the join keys {', '.join(view.keys)}, and {given} was given.")
    found = []
    for key in view.keys:
        kind = view.fields[key].key
        try:
            [value] = cast([entity[key]], kind, key)
        except InputError:
            raise InputError(f"{key}: {entity[key]!r} is not {REMEDIES[kind]}.") from None
        if value is None:
            raise InputError(f"{key}: the value is missing; an entity without it has no events.")
        found.append(value)
    return found


def _instant(as_of: Any) -> int:
    try:
        return int(instants.parse([as_of])[0])
    except InputError:
        raise InputError(
            f"as_of: {as_of!r} is not an instant; pass ISO-8601 text such as 2026-03-04T12:00:00Z."
        ) from None


def _left_out(question: Question, mine: Knowledge) -> dict[str, LeftOut]:
    """By cause, what does not count. Duplicates and dead letters are those that the window would hold, and dead letters
    whose time cannot be read."""
    found: dict[str, list[Candidate]] = {cause: [] for cause in CAUSES}
    for row in question.events:
        if cause := question.missed(row) or question.lacked(row, mine):
            found[cause].append(row)
    repeated = question.evaluated(question.found(candidates.repeated))
    for cause, rows in ((DUPLICATE, repeated), (REFUSED, question.found(candidates.refused))):
        found[cause] = [row for row in rows if row.time is None or question.left < row.time <= question.right]
    return {cause: LeftOut(len(rows), tuple(_nearest(rows, question.right))) for cause, rows in found.items() if rows}


def _nearest(rows: Iterable[Candidate], right: int) -> Sequence[Candidate]:
    """The rows nearest to the window's right edge; those of unknown time come last."""

    def distance(row: Candidate) -> tuple[Any, ...]:
        far = (True, 0) if row.time is None else (False, abs(row.time - right))
        return *far, str(row.event["event_id"]), row.batch

    return sorted(rows, key=distance)[:SHOWN]


def _against(question: Question, mine: Knowledge, against: Any) -> Contrast:
    if not (isinstance(against, str) and against.startswith(VALUE)):
        return contrast(question, mine, knowledge(against, question.storages, "against"))
    try:
        plain = json.loads(against.removeprefix(VALUE))
    except ValueError:
        raise InputError(
            f"against: {against!r} is no JSON after '{VALUE}'; write it as value:17 or value:null."
        ) from None
    value = seen(question, plain, "against")
    other = giving(question, value, mine)
    return Contrast("", value) if other is None else contrast(question, mine, other)


def _notes(question: Question, mine: Knowledge) -> Iterable[str]:
    """What else may make a served answer another one."""
    if mine.batches is None:
        return
    if beyond := sum(mine.has(row) for row in question.unwritten):
        yield (
            f"get_historical_features with {mine.name} also counts what is beyond retention ({beyond} of the window); "
            "the online store refuses this as_of, or lacks them."
        )
    config = question.repo.store.config
    try:
        address = configured(config) or embedded.running(embedded_folder(config), ANSWER_TIMEOUT_SECONDS)
        if not address:
            return
        redis = connect(address, retries=0, timeout=ANSWER_TIMEOUT_SECONDS)
        found = {part: manifest.read(redis, question.repo.project, part.name) for part in parts(question.declared)}
    except UNREACHABLE:
        return  # an answer is explained by the log; what the online store says is only a hint
    for part, known in found.items():
        if known is None:
            yield f"the online store has no state of view '{part.name}' now."
        elif known.view_version not in ("", view_version(part)):
            yield (
                f"the online store holds state of another declaration of view '{part.name}' than the present one, so "
                "what it served may be the value of that; start the stream with `dualpath stream --from-snapshot`."
            )
