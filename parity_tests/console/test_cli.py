"""The command line: what a person reads, what a program reads, and the exit code both act on."""

import re
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

from dualpath.cli import app
from dualpath.console import options
from dualpath.repo import Repo
from parity_tests.conftest import CHECKOUT, SOURCE
from parity_tests.console.commands import README, run, run_json

COMMANDS = [command.name or command.callback.__name__ for command in app.registered_commands]


def python(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program that needs a process of its own."""
    return subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_takes_repo_and_json(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "--repo" in result.stdout
    assert "--json" in result.stdout


def test_the_readme_documents_every_command_and_no_other() -> None:
    assert set(re.findall(r"^\| `dualpath (\w+)", README, re.MULTILINE)) == set(COMMANDS)
    assert set(re.findall(r"dualpath (\w+) --", README)) <= set(COMMANDS)


def test_the_readmes_declaration_is_the_one_in_the_repo() -> None:
    [declaration] = re.findall(r"```python\n(from entities.*?)```", README, re.DOTALL)
    assert declaration in (CHECKOUT / "feature_repo/user_orders.py").read_text()


def test_help_and_doctor_import_neither_spark_nor_feast() -> None:
    program = """
import sys
from typer.testing import CliRunner
from dualpath.cli import app
assert CliRunner().invoke(app, ["--help"]).exit_code == 0
CliRunner().invoke(app, ["doctor"])
print(sorted({"pyspark", "feast", "great_expectations", "pandas"} & sys.modules.keys()))
"""
    assert python(program).stdout == "[]\n"


def test_with_json_even_what_another_process_prints_stays_off_standard_output() -> None:
    program = """
import os, sys
from dualpath.console.report import Report, finish
def work():
    print("chatter")
    os.system("echo noise")
    return Report({"fine": True}, ["for people"])
assert finish(work, True)
print("the end")
"""
    ran = python(program)
    assert ran.stdout == '{"fine": true}\nthe end\n'
    assert ran.stderr.split() == ["chatter", "noise"]


def test_a_folder_without_a_repo_is_one_sentence_and_exit_code_1(tmp_path: Path) -> None:
    result = run("status", "--repo", tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: {tmp_path} has no feature_store.yaml; name a feature repo with --repo.\n"


def test_with_json_an_error_is_an_object(tmp_path: Path) -> None:
    found = run_json("status", "--repo", tmp_path, code=1)
    assert "has no feature_store.yaml" in found["error"] and found["code"] == "input"


def test_the_repo_is_feature_repo_or_the_current_folder(
    untouched: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for here in (untouched.folder, untouched.folder.parent):
        monkeypatch.chdir(here)
        assert run("status").exit_code == 0
    monkeypatch.chdir(tmp_path)
    assert "--repo" in run("status").stderr


def test_a_source_that_does_not_exist_is_answered_with_those_that_do(untouched: Repo) -> None:
    assert SOURCE in run_json("generate", "--repo", untouched.folder, "--source", "clicks", code=1)["error"]


def test_a_day_is_written_out_or_told_from_today() -> None:
    assert options.day("2026-03-04") == date(2026, 3, 4)
    assert options.day("today") - options.day("yesterday") == timedelta(days=1)
    for text in ("04.03.2026", "2026-02-30", "tomorrow", "2026-03-04T12:00"):
        result = run("nightly", "--date", text)
        assert result.exit_code == 2 and f"'{text}' is no day" in result.stderr
