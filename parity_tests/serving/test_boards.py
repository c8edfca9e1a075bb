"""The boards and alerts of the news example: they name what is measured, and alerts fire when they should."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dualpath.jobs.metrics import Metrics
from dualpath.serving.loop_meters import LoopMeters
from dualpath.serving.meters import Meters
from dualpath.serving.metrics import Metrics as HttpMetrics
from examples.news.boards import BOARDS, FOLDER, RATE, written
from examples.news.grafana import SIZES, WIDTH, Board, Panel
from parity_tests.conftest import CHECKOUT
from parity_tests.serving.metric_names import metric_names, registered

NEWS = CHECKOUT / "examples/news"
APPLICATION = HttpMetrics().registry
Meters(APPLICATION)
SERVED, LEARNED = registered(APPLICATION), registered(LoopMeters().registry)
PANELS = [pytest.param(panel, id=f"{board.name}: {panel.title}") for board in BOARDS for panel in board.panels]
EXPRESSIONS = [expr for board in BOARDS for panel in board.panels for expr in panel.queries.values()]


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load((NEWS / "alerts.yml").read_text())["groups"] for rule in group["rules"]]


def promtool(*arguments: str | Path, cwd: Path = NEWS) -> str:
    """What promtool says; the test fails with it, and is skipped where there is no promtool."""
    program = shutil.which("promtool")
    if not program:
        pytest.skip("there is no promtool; install the Debian package prometheus")
    done = subprocess.run([program, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_files_are_what_the_table_of_panels_says() -> None:
    found = {file.name: file.read_text() for file in FOLDER.iterdir()}
    assert found == written(), "run: python -m examples.news.boards"


def test_boards_and_alerts_name_metrics_that_there_are() -> None:
    measured = registered(Metrics().registry) | SERVED | LEARNED
    for text in (*EXPRESSIONS, *(rule["expr"] for rule in rules())):
        names = metric_names(text)
        assert names <= measured, f"{sorted(names - measured)} in: {text}"
        assert names or text == "up == 0"


def test_every_metric_of_the_application_and_of_the_learner_is_on_a_board() -> None:
    shown = metric_names("\n".join(EXPRESSIONS))
    for name in SERVED | LEARNED:
        if not name.endswith(("_sum", "_count")):
            assert name in shown, name


@pytest.mark.parametrize("panel", PANELS)
def test_a_legend_names_the_labels_that_its_query_keeps(panel: Panel) -> None:
    assert panel.queries
    for legend, expr in panel.queries.items():
        grouped = {label for labels in re.findall(r"by \(([^)]*)\)", expr) for label in labels.split(", ")} - {"le"}
        assert set(re.findall(r"{{(\w+)}}", legend)) == (grouped or ({"coordinate"} if "_psi" in expr else set()))


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_panels_fill_the_grid_without_overlap(board: Board) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board.json()["panels"]:
        at = panel["gridPos"]
        assert (at["w"], at["h"]) == SIZES[panel["type"]]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < WIDTH
        taken |= cells
    assert len(taken) == WIDTH * (1 + max(y for _, y in taken)), "a board has no gaps"


def test_every_query_is_promql(tmp_path: Path) -> None:
    made = [
        {"record": f"panel:{n}", "expr": expr.replace(RATE, "[1m]")}
        for n, expr in enumerate(dict.fromkeys(EXPRESSIONS))
    ]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": made}]}))
    assert f"{len(made)} rules found" in promtool("check", "rules", file)


def test_prometheus_takes_the_settings_and_the_alerts() -> None:
    assert "1 rule files found" in promtool("check", "config", "prometheus.yml")
    assert f"{len(rules())} rules found" in promtool("check", "rules", "alerts.yml")


def test_alerts_fire_when_they_should_and_are_silent_otherwise() -> None:
    promtool("test", "rules", "alerts_test.yml")


def test_every_alert_is_played_silent_and_firing_and_says_what_to_do() -> None:
    played = [
        (each["alertname"], bool(each.get("exp_alerts")))
        for group in yaml.safe_load((NEWS / "alerts_test.yml").read_text())["tests"]
        for each in group["alert_rule_test"]
    ]
    for rule in rules():
        assert {(rule["alert"], True), (rule["alert"], False)} <= set(played)
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["for"]
        assert set(rule["annotations"]) == {"summary", "description"}
