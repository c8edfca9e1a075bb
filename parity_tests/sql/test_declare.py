"""A query that becomes a declaration means what DuckDB says it means, and what cannot become one is refused by name."""

import ast
import importlib.util
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
import sqlglot
from sqlglot import exp

from dualpath import preview
from dualpath.declare import view_of
from dualpath.entities import name as entity
from dualpath.errors import InputError
from dualpath.repo import Repo
from dualpath.sql.read import read
from dualpath.sql.write import files
from dualpath.view import View
from parity_tests.console.commands import run_json

SOURCE = """
CREATE SOURCE user_events (
    event_id VARCHAR, user_id VARCHAR NOT NULL, action VARCHAR, category VARCHAR, amount NUMERIC(12, 2),
    clicks INT, member BOOLEAN, ts TIMESTAMPTZ NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5 seconds'
) WITH (connector = 'kafka', topic = 'events') FORMAT PLAIN ENCODE JSON;
"""
QUERY = """
CREATE MATERIALIZED VIEW user_profiles AS
SELECT
    user_id,
    COUNT(*) FILTER (WHERE ts > NOW() - INTERVAL '30 minutes') AS actions_30min,
    COUNT(amount) FILTER (WHERE ts > NOW() - INTERVAL '1 day') AS priced,
    COUNT(DISTINCT category) FILTER (WHERE ts > NOW() - INTERVAL '2 hours') AS categories,
    ARRAY_AGG(DISTINCT category) FILTER (WHERE ts > NOW() - INTERVAL '1 hour') AS interests_1h,
    (ARRAY_AGG(action ORDER BY ts DESC)
        FILTER (WHERE action IS NOT NULL AND NOW() - INTERVAL '45 seconds' < ts))[1:3] AS last_actions,
    SUM(CASE WHEN action = 'purchase' THEN amount ELSE 0 END) AS spend,
    COALESCE(SUM(amount) FILTER (WHERE ts >= DATE_TRUNC('day', NOW()) AND action IN ('purchase', 'gift')), 0) AS today,
    SUM(clicks) FILTER (WHERE member AND (action = 'view' OR amount > 5)) AS member_clicks,
    AVG(clicks) FILTER (WHERE ts > NOW() - INTERVAL '1 week') AS mean_clicks,
    MIN(amount) AS cheapest,
    MAX(ts) AS last_active,
    CASE
        WHEN COUNT(*) FILTER (WHERE ts > NOW() - INTERVAL '5 minutes') > 4 THEN 'highly_engaged'
        WHEN COUNT(*) FILTER (WHERE ts > NOW() - INTERVAL '30 minutes') > 5
            AND NOT COUNT(DISTINCT category) FILTER (WHERE ts > NOW() - INTERVAL '2 hours') = 1 THEN 'active'
        ELSE 'browsing'
    END AS engagement_level
FROM user_events
GROUP BY user_id;
"""
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
USERS = [f"u{n}" for n in range(12)]
INSTANTS = 1_000


def events() -> list[dict[str, Any]]:
    """Two thousand events of a dozen users in three days, with nulls, ties, and whole minutes."""
    draw = random.Random(5)
    made = []
    for number in range(2_000):
        at = NOON + timedelta(seconds=draw.choice((draw.randrange(-200_000, 60_000), draw.randrange(-60, 60) * 60)))
        made.append(
            {
                "event_id": f"e{number}",
                "user_id": draw.choice(USERS),
                "action": draw.choice(("view", "purchase", "gift", None)),
                "category": draw.choice(("shoes", "bags", "hats", "Ünï", None)),
                "amount": draw.choice((None, Decimal(draw.randrange(2_000)) / 100)),
                "clicks": draw.choice((None, draw.randrange(9))),
                "member": draw.choice((True, False, None)),
                # Of each user's events no two are at one instant: which of them is the last, SQL does not say.
                "ts": at + timedelta(microseconds=number),
            }
        )
    return made


def instants(made: list[dict[str, Any]]) -> list[datetime]:
    """A thousand: at random, and exactly where a window's edge meets an event, and a microsecond to either side."""
    draw, found = random.Random(6), []
    widths = [timedelta(0), *(timedelta(minutes=n) for n in (5, 30, 60, 120)), timedelta(seconds=45), timedelta(days=1)]
    while len(found) < INSTANTS:
        edge = draw.choice(made)["ts"] + draw.choice(widths) + timedelta(microseconds=draw.randrange(-1, 2))
        midnight = datetime(2026, 3, draw.randrange(3, 6), tzinfo=UTC) + timedelta(microseconds=draw.randrange(-1, 2))
        found.append(draw.choice((edge, edge, midnight, NOON + timedelta(seconds=draw.randrange(-200_000, 90_000)))))
    return found


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


NOW = "TIMESTAMPTZ '1999-01-01'"
"""What stands for the present until an instant is put in its place."""


def in_duckdb(sql: str) -> str:
    """The query in DuckDB's SQL, with `NOW` for the present."""
    [*_, statement] = [each for each in sqlglot.parse(sql, dialect="risingwave") if each]
    literal = sqlglot.parse_one(NOW, dialect="duckdb")
    at = statement.expression.transform(lambda node: literal.copy() if isinstance(node, exp.CurrentTimestamp) else node)
    found: str = at.where(f"ts <= {NOW}", dialect="duckdb").sql(dialect="duckdb")
    return found.replace(literal.sql(dialect="duckdb"), NOW)


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        made = events()
        kinds = {"amount": pa.decimal128(12, 2), "ts": pa.timestamp("us", "UTC"), "clicks": pa.int32()}
        table = pa.table({n: pa.array([e[n] for e in made], kinds.get(n)) for n in made[0]})
        connection.register("user_events", table)
        yield connection


def normal(name: str, value: Any) -> Any:
    """A value of DuckDB's as the declaration says it is: for no event empty, lists ascending, decimals as doubles."""
    if name == "interests_1h":
        return sorted((each for each in value or [] if each is not None), key=lambda text: text.encode())
    if name == "last_actions":
        return value or []
    if name in ("spend", "member_clicks"):
        value = value or 0
    if isinstance(value, datetime):
        return (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return float(value) if isinstance(value, Decimal) else value


def test_a_thousand_instants_are_answered_as_duckdb_answers_them(
    tmp_path: Path, database: duckdb.DuckDBPyConnection
) -> None:
    sql = SOURCE + QUERY
    declared = module(tmp_path, sql)
    view, made = view_of(declared.user_profiles), events()
    assert isinstance(view, View)
    typed = [preview._event(view, number, event) for number, event in enumerate(made)]
    owners, words = preview.records(view, typed)
    texts, asked_at = preview.dictionary(view, typed), instants(made)
    mine = {user: words[[owner == entity([user]) for owner in owners]] for user in USERS}
    whole = [(at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) for at in asked_at]
    answers = {user: preview.values(view, mine[user], whole, texts) for user in USERS}
    levels = declared.engagement_level_of_user_profiles.feature_transformation.udf
    for user, columns in answers.items():
        answers[user] = columns | {"engagement_level": levels(pd.DataFrame(columns))["engagement_level"].tolist()}
    names, query, compared = read(sql).output, in_duckdb(sql), 0
    for row, at in enumerate(asked_at):
        asked = query.replace(NOW, f"TIMESTAMPTZ '{at.isoformat()}'")
        for told in database.sql(asked).to_arrow_table().to_pylist():
            mine_now = {name: answers[told["user_id"]][name][row] for name in names}
            assert mine_now == {name: normal(name, told[name]) for name in names}, (at, told["user_id"])
            compared += len(names)
    assert compared > 100_000


def test_feast_takes_what_is_written(tmp_path: Path) -> None:
    file, folder = tmp_path / "query.sql", tmp_path / "repo"
    file.write_text(SOURCE + QUERY)
    said = run_json("declare", "--sql", file, "--repo", folder)
    assert said["files"] == ["feature_store.yaml", "user_profiles.py"]
    assert set(said["of_nothing"]) == {"interests_1h", "last_actions", "spend", "member_clicks"}
    repo = Repo(folder)
    repo.apply()
    assert set(repo.views) == {"user_profiles"}
    service = repo.store.get_feature_service("user_profiles_service")
    assert sum(len(each.features) for each in service.feature_view_projections) == len(said["features"])
    again = run_json("declare", "--sql", file, "--repo", folder, code=1)
    assert "has feature_store.yaml, user_profiles.py already" in again["error"]


def test_a_where_of_the_query_bounds_every_aggregate(tmp_path: Path) -> None:
    where = "action = 'view' AND ts > NOW() - INTERVAL '1 hour'"
    sql = f"{SOURCE} SELECT user_id, COUNT(*) AS n FROM user_events WHERE {where} GROUP BY user_id"
    view = view_of(module(tmp_path, sql).features)
    assert view is not None
    [feature] = view.features
    assert (str(feature.over), feature.aggregate.where) == ("the last 1 hour", "action = 'view'")


def test_what_is_written_is_plain_python(tmp_path: Path) -> None:
    sql = SOURCE.replace("user_id VARCHAR", "user_id BIGINT") + QUERY.replace("'purchase'", "'pur''chase'")
    text = files(read(sql))["user_profiles.py"]
    ast.parse(text)
    assert "ValueType.INT64" in text and "pur" in text


OTHER = "SELECT user_id, COUNT(*) AS n FROM user_events"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (f"{OTHER} JOIN others USING (user_id) GROUP BY user_id", "a JOIN"),
        (f"{OTHER} GROUP BY user_id HAVING COUNT(*) > 1", "HAVING"),
        (f"{OTHER} GROUP BY user_id ORDER BY 1", "ORDER BY"),
        (f"{OTHER} GROUP BY user_id LIMIT 5", "LIMIT"),
        (f"{OTHER.replace('SELECT', 'SELECT DISTINCT')} GROUP BY user_id", "SELECT DISTINCT"),
        (f"WITH x AS (SELECT 1) {OTHER} GROUP BY user_id", "WITH"),
        ("SELECT user_id, COUNT(*) AS n FROM (SELECT * FROM user_events) GROUP BY user_id", "a query inside"),
        ("SELECT user_id, COUNT(*) AS n FROM elsewhere GROUP BY user_id", "which the file does not create"),
        ("SELECT COUNT(*) AS n FROM user_events", "no GROUP BY"),
        ("SELECT amount, COUNT(*) AS n FROM user_events GROUP BY amount", "GROUP BY amount"),
        ("SELECT user_id FROM user_events GROUP BY user_id", "no aggregate"),
        ("SELEKT user_id", "is no source, table or query"),
        (f"{OTHER} GROUP BY (", "not SQL"),
        ("DROP TABLE user_events", "is no source, table or query"),
        ("", "0 queries"),
    ],
)
def test_a_query_of_another_form_is_refused_by_name(query: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        read(SOURCE + query)
    assert said in refused.value.message


HOUR = "NOW() - INTERVAL '1 hour'"


@pytest.mark.parametrize(
    ("selected", "said"),
    [
        ("SUM(clicks) OVER (ORDER BY ts) AS n", "a window function"),
        ("COUNT(*)", "has no name"),
        ("COUNT(*) AS n, SUM(clicks) AS n", "n is there twice"),
        ("STDDEV(clicks) AS n", "cannot be declared"),
        ("SUM(DISTINCT clicks) AS n", "leave DISTINCT out"),
        ("SUM(clicks) / COUNT(*) AS n", "cannot be declared"),
        ("ARRAY_AGG(action) AS n", "without an end or an order"),
        ("(ARRAY_AGG(action ORDER BY ts))[1:3] AS n", "without an end or an order"),
        ("(ARRAY_AGG(action ORDER BY ts DESC))[1:3] AS n", "of all time"),
        ("(ARRAY_AGG(action ORDER BY ts DESC))[2:3] AS n", "does not begin"),
        ("COALESCE(MAX(clicks), 0) AS n", "a default of its own"),
        ("COALESCE(SUM(clicks), 1) AS n", "a default of its own"),
        (f"COUNT(*) FILTER (WHERE ts >= {HOUR}) AS n", "closed left edge"),
        ("COUNT(*) FILTER (WHERE ts > NOW() - INTERVAL '1 month') AS n", "is no span"),
        ("COUNT(*) FILTER (WHERE ts > DATE_TRUNC('day', NOW())) AS n", "no window of the calendar"),
        (f"COUNT(*) FILTER (WHERE ts BETWEEN {HOUR} AND NOW()) AS n", "is no window"),
        (f"COUNT(*) FILTER (WHERE ts > {HOUR} AND ts > NOW() - INTERVAL '2 hours') AS n", "two windows"),
        ("CASE WHEN COUNT(*) > 5 THEN 'a' END AS n", "without ELSE"),
        ("CASE WHEN COUNT(*) > 5 THEN 'a' ELSE 1 END AS n", "different types"),
        ("CASE WHEN MAX(clicks) > 5 THEN 'a' ELSE 'b' END AS n", "may be NULL"),
        ("CASE WHEN SUM(clicks) > 5 THEN 'a' ELSE 'b' END AS n", "may be NULL"),
        ("CASE WHEN COUNT(*) > SUM(clicks) THEN 'a' ELSE 'b' END AS n", "no comparison"),
    ],
)
def test_what_cannot_be_declared_is_refused_by_name(selected: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        read(f"{SOURCE} SELECT user_id, {selected} FROM user_events GROUP BY user_id")
    assert said in refused.value.message


def test_the_line_is_said() -> None:
    with pytest.raises(InputError, match=r"line \d+: .*STDDEV"):
        read(SOURCE + "SELECT user_id,\n STDDEV(clicks) AS n\nFROM user_events GROUP BY user_id")


@pytest.mark.parametrize(
    ("column", "said"),
    [("x JSONB", "has the type"), ("x NUMERIC", "a decimal without a scale"), ("x VARCHAR[]", "has the type")],
)
def test_a_column_that_events_cannot_have_is_refused(column: str, said: str) -> None:
    sql = f"CREATE TABLE t (k VARCHAR, ts TIMESTAMP, {column}); SELECT k, COUNT(*) AS n FROM t GROUP BY k"
    with pytest.raises(InputError, match=said):
        read(sql)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in run_json("declare", "--sql", tmp_path / "none.sql", code=1)["error"]
