"""A query that becomes a declaration means what DuckDB says it means, bit for bit, at and beside every edge."""

from pathlib import Path

import pandas as pd
import pytest

from dualpath.online.connection import embedded_folder
from dualpath.repo import Repo
from dualpath.runtime import redis
from dualpath.sql.read import read
from parity_tests.console.commands import run_json
from parity_tests.filled import fill
from parity_tests.sql.queries import SOURCE, as_duckdb_says, bits, compare, differing, events, instants
from parity_tests.sql.recorded import record

PROFILES = """
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
    COUNT(*) FILTER (WHERE ts >= DATE_TRUNC('week', NOW())) AS this_week,
    MAX(amount) FILTER (WHERE ts >= DATE_TRUNC('month', NOW())) AS dearest,
    COUNT(*) FILTER (WHERE ts >= DATE_TRUNC('day', NOW(), 'Asia/Kathmandu')) AS today_in_nepal,
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
EDGES = """
SELECT
    User_ID,
    COUNT(*) FILTER (WHERE ts >= NOW() - INTERVAL '30 minutes') AS closed,
    COUNT(*) FILTER (WHERE ts > NOW() - INTERVAL '2 hours' AND ts <= NOW() - INTERVAL '30 minutes') AS earlier,
    SUM(amount) FILTER (WHERE ts BETWEEN NOW() - INTERVAL '90 minutes' AND NOW() - INTERVAL '5 minutes') AS middle,
    COUNT(*) FILTER (WHERE ts >= NOW() - INTERVAL '1 hour' AND ts < NOW()) AS without_now,
    COUNT(*) FILTER (WHERE ts > NOW() - INTERVAL '1 day' AND NOW() - INTERVAL '5 minutes' < ts AND ts <= NOW()) AS last,
    COUNT(*) FILTER (WHERE ts >= NOW()) AS at_present,
    SUM(CASE WHEN ts > NOW() - INTERVAL '45 seconds' AND member THEN clicks ELSE 0 END) AS inside,
    COUNT(CASE WHEN ts >= NOW() - INTERVAL '1 hour' THEN 1 END) AS counted,
    COUNT(member = (clicks > 4)) AS known,
    COUNT(member AND clicks > 4) AS both,
    SUM(CASE WHEN member THEN 1 ELSE 0 END) AS members,
    AVG(CASE WHEN action = 'it''s' THEN amount END) AS mean_amount,
    COUNT(*) FILTER (WHERE action IN ('it''s', 'a\\b')) AS odd,
    SUM(CASE WHEN clicks > 6 THEN amount * 2 WHEN member THEN -amount END) AS weighed,
    MIN(score) FILTER (WHERE score >= 0.1) AS least_score,
    ARRAY_AGG(DISTINCT clicks ORDER BY clicks) FILTER (WHERE clicks IS NOT NULL) AS numbers
FROM User_Events AS e WHERE e.ts > NOW() - INTERVAL '1 week' AND (Clicks < 8 OR clicks IS NULL)
GROUP BY e.user_id
"""
UNKNOWN = """
SELECT
    user_id,
    CASE
        WHEN SUM(amount) FILTER (WHERE ts > NOW() - INTERVAL '30 minutes') < 20 THEN 'little'
        WHEN NOT (SUM(amount) FILTER (WHERE ts > NOW() - INTERVAL '2 hours') < 30.5 OR COUNT(*) > 1000) THEN 'much'
        ELSE 'else'
    END AS spent,
    CASE
        WHEN NOT AVG(clicks) FILTER (WHERE ts > NOW() - INTERVAL '30 minutes') BETWEEN 3 AND 5 THEN 1
        WHEN MIN(score) FILTER (WHERE ts > NOW() - INTERVAL '1 hour') = 0.1 THEN -2
        WHEN 2 > COUNT(*) FILTER (WHERE ts > NOW() - INTERVAL '45 seconds' AND member) AND 3 <= COUNT(score) THEN 2
        WHEN 7 <> MAX(clicks) FILTER (WHERE ts > NOW() - INTERVAL '45 seconds') THEN 3
        ELSE 0
    END AS number,
    CASE
        WHEN SUM(CASE WHEN member THEN amount END) FILTER (WHERE ts > NOW() - INTERVAL '1 hour') <= 10 THEN 'few'
        WHEN SUM(CASE WHEN member THEN amount ELSE 0 END) FILTER (WHERE ts > NOW() - INTERVAL '1 hour') = 0 THEN 'none'
        WHEN SUM(CASE WHEN member THEN 1 ELSE 0 END) FILTER (WHERE ts > NOW() - INTERVAL '1 hour') < 2 THEN 'one'
        WHEN COALESCE(SUM(amount) FILTER (WHERE ts > NOW() - INTERVAL '1 hour'), 0.0) < 1 THEN 'nothing'
        ELSE 'else'
    END AS membership
FROM user_events GROUP BY user_id
"""


def test_a_profile_is_answered_as_duckdb_answers_it_at_a_thousand_instants(tmp_path: Path) -> None:
    assert compare(tmp_path, SOURCE + PROFILES, 1_000) > 80_000


def test_every_edge_of_a_window_is_where_duckdb_has_it(tmp_path: Path) -> None:
    assert compare(tmp_path, SOURCE + EDGES, 500) > 50_000


def test_a_level_of_what_may_be_unknown_is_that_of_duckdb(tmp_path: Path) -> None:
    assert compare(tmp_path, SOURCE + UNKNOWN, 500) > 10_000


@pytest.mark.parametrize("query", [PROFILES, EDGES, UNKNOWN], ids=["profiles", "edges", "unknown"])
def test_feast_trains_and_serves_what_duckdb_answers(tmp_path: Path, query: str) -> None:
    (tmp_path / "query.sql").write_text(SOURCE + query)
    run_json("declare", "--sql", tmp_path / "query.sql", "--repo", tmp_path / "repo")
    settings = tmp_path / "repo/feature_store.yaml"
    for_years = f"online_store:\n  online_lookback_seconds: {10**9}"
    settings.write_text(settings.read_text().replace("online_store:", for_years))
    repo, made, declared = Repo(tmp_path / "repo"), events(), read(SOURCE + query)
    repo.apply()
    record(repo, repo.views[declared.name], made)
    at = instants(made, 100)
    said = zip(at, as_duckdb_says(SOURCE + query, declared, made, at), strict=True)
    told = [(user, instant, values) for instant, rows in said for user, values in rows.items()]
    asked = pd.DataFrame([each[:2] for each in told], columns=["user_id", "event_timestamp"])
    service = repo.store.get_feature_service(f"{declared.name}_service")
    trained = repo.store.get_historical_features(asked, service).to_arrow().to_pylist()
    try:
        fill(repo, made)
        served = repo.store.get_online_features(service, asked.to_dict("records")).to_dict()
    finally:
        redis.stop(embedded_folder(repo.store.config))
    assert len(trained) == len(told) > 700
    for row, (user, instant, expected) in enumerate(told):
        for answer in (trained[row], {name: column[row] for name, column in served.items()}):
            mine = {name: answer[name] for name in declared.output}
            assert bits(mine) == bits(expected), (instant, user, differing(mine, expected))
