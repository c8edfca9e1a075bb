"""How long records matter online: one rule, in which None says that there is no bound."""

from pathlib import Path

import pytest
from feast import RepoConfig
from feast.repo_config import load_repo_config

from dualpath.aggregates import Count
from dualpath.errors import InputError
from dualpath.online.manifest import Manifest
from dualpath.retention import expires_at, retention
from dualpath.view import Feature, View
from dualpath.windows import SECOND, lifetime, minutes
from parity_tests.strategies import CLICKS

WIDEST = minutes(30).width
SETTINGS = """
project: shop
provider: local
registry: registry.db
online_store:
  type: dualpath.feast.online.DualpathRedisOnlineStore
  connection_string: localhost:6379
offline_store:
  type: dualpath.feast.offline.DualpathOfflineStore
entity_key_serialization_version: 3
"""


def view(*windows: Feature) -> View:
    return View("user", ("user",), CLICKS, windows)


RECENT = (Feature("a", Count(), minutes(1)), Feature("b", Count(), minutes(30)))
EVER = Feature("c", Count(), lifetime())


def test_records_matter_for_the_widest_window_and_the_online_lookback() -> None:
    assert retention(view(*RECENT), 60 * SECOND) == WIDEST + 60 * SECOND
    assert retention(view(*RECENT), 0) == WIDEST
    assert retention(view(*RECENT), None) is None
    assert retention(view(*RECENT, EVER), 0) is None
    assert retention(view(EVER), 0) is None


def test_a_value_expires_after_its_newest_record_and_no_earlier() -> None:
    assert [expires_at(latest, 400_000) for latest in (7_000_000, 7_000_001, 7_000_999)] == [7_401] * 3


def test_manifests_are_stored_as_before_there_was_none() -> None:
    assert Manifest("n1").encode() == b"n1 - 0 - -"
    assert Manifest("n1", "2026-03-01", (), 17, "d", "v").encode() == b"n1 2026-03-01 17 d v"
    for stored in (b"n1 - 0 - -", b"n1 2026-03-01 17 d v 2026-03-02", b"n1 2026-03-01 -5 - -"):
        assert Manifest.decode(stored).encode() == stored
    assert Manifest.decode(b"n1 - 0 - -").earliest_as_of is None


def settings(folder: Path, *lines: str) -> RepoConfig:
    (folder / "feature_store.yaml").write_text(
        SETTINGS.replace("offline_store:", "".join(f"  {line}\n" for line in lines) + "offline_store:")
    )
    return load_repo_config(folder, folder / "feature_store.yaml")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("online_lookback_seconds: 60", 60),
        ("online_lookback_seconds: null", None),
        ("slack_seconds: 60", 60),
        ("slack_seconds: null", None),
    ],
)
def test_the_online_lookback_is_taken_by_its_old_name_too(tmp_path: Path, line: str, expected: int | None) -> None:
    assert settings(tmp_path, line).online_store.online_lookback_seconds == expected
    assert settings(tmp_path).online_store.online_lookback_seconds == 86_400


def test_both_names_of_the_online_lookback_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="both online_lookback_seconds and its old name slack_seconds; remove slack"):
        _ = settings(tmp_path, "online_lookback_seconds: 60", "slack_seconds: 60").online_store
