"""What is written is a feature repo, and what cannot become one is refused by name before anything is written."""

import ast
from pathlib import Path

import pytest
import sqlglot

from dualpath.declare import view_of
from dualpath.errors import InputError
from dualpath.repo import Repo
from dualpath.sql.read import read
from dualpath.sql.write import files
from dualpath.view import View
from parity_tests.console.commands import run, run_json
from parity_tests.sql.queries import SOURCE, module
from parity_tests.sql.test_same_answers import PROFILES


def declared(folder: Path, selected: str, source: str = SOURCE) -> View:
    """The view that a query by user of these expressions becomes."""
    view = view_of(module(folder, f"{source} SELECT user_id, {selected} FROM user_events GROUP BY user_id").features)
    assert view is not None
    return view


def test_feast_takes_what_is_written(tmp_path: Path) -> None:
    file, folder = tmp_path / "query.sql", tmp_path / "repo"
    file.write_text(SOURCE + PROFILES)
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


def test_events_without_an_id_are_said_to_count_once_if_equal(tmp_path: Path) -> None:
    file, query = tmp_path / "query.sql", "SELECT user_id, COUNT(*) AS n FROM user_events GROUP BY user_id"
    file.write_text(SOURCE.replace("event_id VARCHAR, ", "") + query)
    assert "of equal content count once" in run("declare", "--sql", file, "--repo", tmp_path / "without").output
    file.write_text(SOURCE + query)
    assert "count once" not in run("declare", "--sql", file, "--repo", tmp_path / "with").output


def test_a_refused_query_is_told_with_its_file_and_writes_nothing(tmp_path: Path) -> None:
    file, folder = tmp_path / "query.sql", tmp_path / "repo"
    file.write_text(f"{SOURCE} CREATE VIEW service AS SELECT user_id, COUNT(*) AS n FROM user_events GROUP BY user_id")
    said = run_json("declare", "--sql", file, "--repo", folder, code=1)
    assert said["error"].startswith(f"{file}: the name 'service' is taken") and not folder.exists()


def test_a_dialect_of_the_same_name_from_another_library_changes_nothing() -> None:
    from ibis.backends.sql import dialects

    assert type(sqlglot.Dialect.get_or_raise("risingwave")) is dialects.RisingWave
    assert set(read(f"{SOURCE} SELECT user_id, COUNT(*) AS n FROM user_events GROUP BY user_id").features) == {"n"}


def test_a_case_may_stand_in_parentheses() -> None:
    level = "(CASE WHEN COUNT(*) > 5 THEN 'a' ELSE 'b' END) AS level"
    [found] = read(f"{SOURCE} SELECT user_id, {level} FROM user_events GROUP BY user_id").levels
    assert found.name == "level"


def test_a_where_of_the_query_bounds_every_aggregate(tmp_path: Path) -> None:
    where = "action = 'view' AND ts > NOW() - INTERVAL '1 hour'"
    sql = f"{SOURCE} SELECT user_id, COUNT(*) AS n FROM user_events WHERE {where} GROUP BY user_id"
    view = view_of(module(tmp_path, sql).features)
    assert view is not None
    [feature] = view.features
    assert (str(feature.over), feature.aggregate.where) == ("the last 1 hour", "action = 'view'")


def test_the_where_of_the_query_and_a_filter_bound_a_window_together(tmp_path: Path) -> None:
    hour, day = (f"ts > NOW() - INTERVAL '1 {unit}'" for unit in ("hour", "day"))
    sql = f"{SOURCE} SELECT user_id, COUNT(*) FILTER (WHERE {hour}) AS n FROM user_events WHERE {day} GROUP BY user_id"
    view = view_of(module(tmp_path, sql).features)
    assert view is not None and str(view.features[0].over) == "the last 1 hour"


def test_a_day_begins_in_the_time_zone_of_date_trunc(tmp_path: Path) -> None:
    [feature] = declared(tmp_path, "COUNT(*) FILTER (WHERE ts >= DATE_TRUNC('day', NOW(), 'Asia/Tokyo')) AS n").features
    assert str(feature.over) == "today (Asia/Tokyo)"


def test_a_hidden_feature_takes_no_name_of_the_query(tmp_path: Path) -> None:
    view = declared(tmp_path, "CASE WHEN COUNT(*) > 5 THEN 'a' ELSE 'b' END AS n, SUM(clicks) AS features_1")
    assert [str(feature.aggregate) for feature in view.features] == ["sum of clicks", "count"]
    assert len({feature.name for feature in view.features}) == 2


def test_a_primary_key_tells_events_apart(tmp_path: Path) -> None:
    source = "CREATE TABLE user_events (id BIGINT PRIMARY KEY, user_id VARCHAR, ts TIMESTAMPTZ)"
    view = declared(tmp_path, "COUNT(*) AS n", f"{source};")
    assert (view.source.event_id, list(view.source.by_name)) == ("id", ["user_id"])


def test_the_time_of_an_event_is_the_column_of_the_watermark(tmp_path: Path) -> None:
    source = "CREATE SOURCE user_events (user_id VARCHAR, sent TIMESTAMP, ts TIMESTAMP, WATERMARK FOR ts AS ts);"
    assert declared(tmp_path, "COUNT(*) AS n", source).source.event_time == "ts"


@pytest.mark.parametrize("name", ["pandas", "json", "feature_view", "user_events", "user_id_entity", "service"])
def test_a_query_whose_name_would_hide_another_is_refused(name: str) -> None:
    query = f"CREATE VIEW {name} AS SELECT user_id, COUNT(*) AS n FROM user_events GROUP BY user_id"
    with pytest.raises(InputError, match=f"{name}.* rename the query"):
        files(read(SOURCE + query))


def test_what_is_written_is_plain_python(tmp_path: Path) -> None:
    sql = SOURCE.replace("user_id VARCHAR", "user_id BIGINT") + PROFILES.replace("'purchase'", "'pur''chase'")
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
        (f"{OTHER} GROUP BY user_id OFFSET 5", "OFFSET"),
        (f"{OTHER} GROUP BY user_id, GROUPING SETS ((action))", "GROUPING SETS"),
        (f"{OTHER} TABLESAMPLE (10 PERCENT) GROUP BY user_id", "does not create"),
        (f"CREATE VIEW v (a, b) AS {OTHER} GROUP BY user_id", "names its columns"),
        ("SELECT user_id, COUNT(*) AS n", "no FROM"),
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
        ("SUM(DISTINCT clicks) AS n", "over different values"),
        ("SUM(clicks) / COUNT(*) AS n", "cannot be declared"),
        ("ARRAY_AGG(action) AS n", "without an end or an order"),
        ("(ARRAY_AGG(action ORDER BY ts))[1:3] AS n", "without an end or an order"),
        ("(ARRAY_AGG(action ORDER BY ts DESC))[1:3] AS n", "of all time"),
        ("(ARRAY_AGG(action ORDER BY ts DESC))[2:3] AS n", "does not begin"),
        ("COALESCE(MAX(clicks), 0) AS n", "has a default"),
        ("COALESCE(SUM(clicks), 1) AS n", "a default of its own"),
        ("COUNT(*) FILTER (WHERE ts > NOW() - INTERVAL '1 month') AS n", "no whole number of"),
        ("COUNT(*) FILTER (WHERE ts > DATE_TRUNC('day', NOW())) AS n", "no window of the calendar"),
        (f"COUNT(*) FILTER (WHERE ts > {HOUR} AND ts >= DATE_TRUNC('day', NOW())) AS n", "a second edge"),
        (f"COUNT(*) FILTER (WHERE ts <= {HOUR}) AS n", "bounds the end and not the start"),
        (f"COUNT(*) FILTER (WHERE ts > {HOUR} AND ts < {HOUR}) AS n", "cannot hold an event"),
        (f"COUNT(*) FILTER (WHERE ts > {HOUR} OR member) AS n", "is no window"),
        ("COUNT(*) FILTER (WHERE ts > CURRENT_TIMESTAMP(0) - INTERVAL '1 hour') AS n", "is no window"),
        ("COUNT(*) FILTER (WHERE ts > NOW() - INTERVAL '99999999999 days') AS n", "longer than any log"),
        ("COUNT(*) FILTER (WHERE ts >= DATE_TRUNC('day', NOW(), 'Mars/Base')) AS n", "unknown time zone"),
        ("COUNT(*) FILTER (WHERE nothing = 1) AS n", "has no column nothing"),
        ("COUNT(*) FILTER (WHERE clicks = '5') AS n", "do not compare"),
        ("COUNT(DISTINCT event_id) AS n", "tells events apart"),
        ("COUNT(DISTINCT action, category) AS n", "over different values"),
        ("MAX(clicks, amount) AS n", "several columns"),
        ("MAX(action) AS n", "does not work on text"),
        ("SUM(clicks / 2) AS n", "cannot be used"),
        ("COUNT(*) AS known_features", "every view has known_features"),
        ("CASE WHEN COUNT(*) > 5 THEN 'a' END AS n", "without ELSE"),
        ("CASE WHEN COUNT(*) > 5 THEN 'a' ELSE 1 END AS n", "different types"),
        ("CASE WHEN MAX(ts) > 5 THEN 'a' ELSE 'b' END AS n", "is no number"),
        ("CASE WHEN SUM(amount) > 12345678901234 THEN 'a' ELSE 'b' END AS n", "more than 15 digits"),
        (f"CASE WHEN SUM(CASE WHEN ts > {HOUR} THEN clicks ELSE 0 END) > 5 THEN 'a' ELSE 'b' END AS n", "may be NULL"),
        ("CASE WHEN COUNT(*) > 5 THEN TRUE ELSE FALSE END AS n", "no level"),
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
    [
        ("x JSONB", "has the type"),
        ("x VARCHAR[]", "has the type"),
        ("x REAL", "has the type REAL"),
        ("k INT", "k is there twice"),
        ("x NUMERIC", "a decimal without a scale"),
        ("x NUMERIC(18, 12)", "scale 12"),
        ("x INT DEFAULT 5", "DEFAULT"),
        ("x INT AS (1 + 1)", "events have what was sent"),
        ("event_time INT", "every event has event_id, event_time, arrival_time of its own"),
        ("PRIMARY KEY (k)", "one row for each k"),
    ],
)
def test_a_column_that_events_cannot_have_is_refused(column: str, said: str) -> None:
    sql = f"CREATE TABLE t (k VARCHAR, ts TIMESTAMP, {column}); SELECT k, COUNT(*) AS n FROM t GROUP BY k"
    with pytest.raises(InputError, match=said):
        read(sql)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in run_json("declare", "--sql", tmp_path / "none.sql", code=1)["error"]
