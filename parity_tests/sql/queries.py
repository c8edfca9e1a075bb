"""Generated events, and what a query says of them: as it is declared, and in DuckDB."""

import importlib.util
import random
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pyarrow as pa
import sqlglot
from feast.on_demand_feature_view import OnDemandFeatureView
from sqlglot import exp

from dualpath import payloads, preview
from dualpath.declare import view_of
from dualpath.entities import name as entity
from dualpath.feast.derived import derived
from dualpath.sql.query import Query
from dualpath.sql.read import read
from dualpath.sql.refusal import DIALECT
from dualpath.sql.write import files
from dualpath.values import arrow_type
from dualpath.view import View

SOURCE = """
CREATE SOURCE user_events (
    event_id VARCHAR, user_id VARCHAR NOT NULL, action VARCHAR, category VARCHAR, amount NUMERIC(12, 2),
    clicks INT, member BOOLEAN, score DOUBLE PRECISION, ts TIMESTAMPTZ NOT NULL,
    WATERMARK FOR ts AS ts - INTERVAL '5 seconds'
) WITH (connector = 'kafka', topic = 'events') FORMAT PLAIN ENCODE JSON;
"""
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
WIDTHS = [timedelta(minutes=n) for n in (0, 5, 30, 60, 90, 120, 1440, 10080)] + [timedelta(seconds=45)]
NEPAL = timedelta(hours=5, minutes=45)
USERS = [f"u{n}" for n in range(12)]
ARROW = {
    "amount": pa.decimal128(12, 2),
    "ts": pa.timestamp("us", "UTC"),
    "clicks": pa.int32(),
    "score": pa.float64(),
}
NOW = "TIMESTAMPTZ '1999-01-01'"
"""What stands for the present until an instant is put in its place."""


def events() -> list[dict[str, Any]]:
    """Two thousand events of a dozen users in a few days, with nulls, ties, and whole minutes."""
    draw, made = random.Random(5), []
    for number in range(2_000):
        at = NOON + timedelta(seconds=draw.choice((draw.randrange(-200_000, 60_000), draw.randrange(-60, 60) * 60)))
        made.append(
            {
                "event_id": f"e{number}",
                "user_id": draw.choice(USERS[:-1]) if number else USERS[-1],
                "action": draw.choice(("view", "purchase", "gift", "it's", "a\\b", None)),
                "category": draw.choice(("shoes", "bags", "hats", "Ünï", None)),
                "amount": draw.choice((None, Decimal(draw.randrange(2_000)) / 100)),
                "clicks": draw.choice((None, draw.randrange(9))),
                "member": draw.choice((True, False, None)),
                "score": draw.choice((None, draw.random(), 0.1)),
                "ts": at,
            }
        )
    # SQL does not say which of two events of an instant is the last, so those of a user have one action.
    actions: dict[tuple[str, datetime], str | None] = {}
    return [event | {"action": actions.setdefault((event["user_id"], event["ts"]), event["action"])} for event in made]


def instants(made: list[dict[str, Any]], count: int) -> list[datetime]:
    """At random, at midnight in UTC and in Nepal, exactly where a window's edge meets an event, and a microsecond to
    either side."""
    draw, found = random.Random(6), []
    while len(found) < count:
        aside = MICROSECOND * draw.randrange(-1, 2)
        edge = draw.choice(made)["ts"] + draw.choice(WIDTHS) + aside
        midnight = datetime(2026, 3, draw.randrange(1, 6), tzinfo=UTC) + aside - draw.choice((NEPAL, timedelta(0)))
        found.append(draw.choice((edge, edge, midnight, NOON + timedelta(seconds=draw.randrange(-200_000, 90_000)))))
    return found


def micros(at: datetime) -> int:
    """Microseconds since 1970 UTC."""
    return (at - EPOCH) // MICROSECOND


def module(folder: Path, sql: str) -> ModuleType:
    """The declaration that is written, imported as Feast would."""
    for name, text in files(read(sql)).items():
        (folder / name).write_text(text)
    [file] = folder.glob("*.py")
    spec = importlib.util.spec_from_file_location(f"declared_{abs(hash(sql))}", file)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def as_declared(
    declared: ModuleType, query: Query, made: list[dict[str, Any]], at: list[datetime]
) -> dict[str, dict[str, list[Any]]]:
    """The values of features and levels by user and name, one for each instant: those of the kernel, and what the
    on-demand views make of them as Feast calls them."""
    view = view_of(getattr(declared, query.name))
    assert isinstance(view, View)
    typed = [payloads.event(view, number, event) for number, event in enumerate(made)]
    owners, words = preview.records(view, typed)
    texts, asked = preview.dictionary(view, typed), [micros(each) for each in at]
    levels = [each for each in vars(declared).values() if isinstance(each, OnDemandFeatureView)]
    answers = {}
    for user in USERS:
        mine = words[[owner == entity([user]) for owner in owners]]
        found: dict[str, list[Any]] = preview.values(view, mine, asked, texts)
        columns = {f.name: pa.array(found[f.name], arrow_type(view.output(f))) for f in view.features}
        for each in levels:
            found |= derived(each).transform_arrow(pa.table(columns)).to_pydict()
        answers[user] = found
    return answers


def database(made: list[dict[str, Any]]) -> duckdb.DuckDBPyConnection:
    """DuckDB with the events, and one thread: more wait for each other where a query takes milliseconds. The caller
    closes it."""
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("user_events", pa.table({n: pa.array([e[n] for e in made], ARROW.get(n)) for n in made[0]}))
    return connection


def in_duckdb(sql: str) -> str:
    """The query in DuckDB's SQL, with `NOW` for the present; events of the future have not happened."""
    [*_, statement] = [each for each in sqlglot.parse(sql, dialect=DIALECT) if each]
    literal = sqlglot.parse_one(NOW, dialect="duckdb")
    query = statement.expression if isinstance(statement, exp.Create) else statement
    at = query.transform(lambda node: literal.copy() if isinstance(node, exp.CurrentTimestamp) else node)
    found: str = at.where(f"ts <= {NOW}", dialect="duckdb").sql(dialect="duckdb")
    return found.replace(literal.sql(dialect="duckdb"), NOW)


def as_told(value: Any, of_nothing: str) -> Any:
    """A value of DuckDB's as the declaration says it is: decimals are doubles, instants microseconds; and where it says
    so, of nothing 0 or empty, lists without NULL, and ascending."""
    if of_nothing.startswith("0"):
        value = value or 0
    if of_nothing.startswith("[]"):
        value = [each for each in value or [] if each is not None]
    if of_nothing.endswith("ascend"):
        value = sorted(value, key=lambda text: text.encode())
    if isinstance(value, datetime):
        return micros(value)
    return float(value) if isinstance(value, Decimal) else value


def compare(folder: Path, sql: str, count: int) -> int:
    """Compare the declaration of a query with DuckDB at so many instants; the number of values compared."""
    made, query, compared = events(), read(sql), 0
    at = instants(made, count)
    answers = as_declared(module(folder, sql), query, made, at)
    for row, (instant, said) in enumerate(zip(at, as_duckdb_says(sql, query, made, at), strict=True)):
        for user, expected in said.items():
            mine = {name: answers[user][name][row] for name in query.output}
            assert bits(mine) == bits(expected), (instant, user, differing(mine, expected))
            compared += len(mine)
    return compared


def as_duckdb_says(
    sql: str, query: Query, made: list[dict[str, Any]], at: list[datetime]
) -> Iterator[dict[str, dict[str, Any]]]:
    """DuckDB's answer at each instant, by user and name, as the declaration says it is."""
    asked, told = in_duckdb(sql), {name: each.of_nothing for name, each in query.features.items()}
    with database(made) as connection:
        for instant in at:
            rows = connection.sql(asked.replace(NOW, f"TIMESTAMPTZ '{instant.isoformat()}'")).to_arrow_table()
            yield {
                said["user_id"]: {name: as_told(said[name], told.get(name, "")) for name in query.output}
                for said in rows.to_pylist()
            }


def bits(values: Mapping[str, Any]) -> dict[str, str]:
    """Values in a form that is equal only if every bit is; whole numbers, below 2**53, have several types in SQL."""
    return {name: float(value).hex() if type(value) in (int, float) else repr(value) for name, value in values.items()}


def differing(mine: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterable[tuple[str, Any, Any]]:
    """The values that differ."""
    return [(name, mine[name], expected[name]) for name in mine if mine[name] != expected[name]]
