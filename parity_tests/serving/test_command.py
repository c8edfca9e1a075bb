"""`dualpath serve`: it serves in a process of its own until it is asked to end, and refuses to serve nobody."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dualpath.cli import app
from dualpath.repo import Repo
from parity_tests.served import patiently
from parity_tests.servers import free_port
from parity_tests.serving.asking import HEADERS, NOON, SETTINGS, library


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    [key] = SETTINGS.keys
    file = tmp_path / "serving.toml"
    file.write_text(f'[[keys]]\nname = "all"\nsha256 = "{key.sha256}"\nscopes = ["features"]\n')
    return file


def test_without_a_key_nobody_may_ask(shop: Repo) -> None:
    found = CliRunner().invoke(app, ["serve", "--repo", str(shop.folder)])
    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr.startswith("Error: nobody may ask: the settings have no keys; add [[keys]]")


@pytest.mark.slow
def test_it_serves_until_it_is_asked_to_end(shop: Repo, settings: Path) -> None:
    port = str(free_port())
    words = ["serve", "--repo", str(shop.folder), "--port", port, "--settings", str(settings), "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dualpath.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    address = f"http://127.0.0.1:{port}"
    try:
        patiently(lambda: urllib.request.urlopen(f"{address}/readyz").close())
        rows = {"user_id": ["7", "nobody"], "event_timestamp": [NOON] * 2}
        body = json.dumps({"features": ["user_activity:interests_1h"], "entities": rows}).encode()
        asked = urllib.request.Request(f"{address}/features", body, {"Content-Type": "application/json", **HEADERS})
        with urllib.request.urlopen(asked) as answered:
            answer = json.loads(answered.read())
        assert answer["results"] == library(shop.store, ["user_activity:interests_1h"], rows)[0]
        taken = subprocess.run([sys.executable, "-m", "dualpath.cli", *words], capture_output=True, text=True)
        assert taken.returncode == 1 and json.loads(taken.stdout)["code"] == "unavailable"
    finally:
        process.terminate()
        said, wrong = process.communicate(timeout=30)
    assert (process.returncode, json.loads(said)) == (0, {"host": "127.0.0.1", "port": int(port)}), wrong
