"""What runs in a fork of the prepared process ends, and says, as in a process of its own."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from parity_tests.startup import prepared

pytestmark = pytest.mark.skipif(prepared.ADDRESS not in os.environ, reason="forks are for Linux")
COMMAND = [sys.executable, "-m", "dualpath.feast.declared"]
NOTHING = "{}\n"
SURROUNDINGS = "import os, sys, time; print(os.getcwd(), os.environ['GIVEN'], time.tzname[0], sys.argv[1:])"


@pytest.mark.parametrize(
    ("program", "code", "said", "wrong"),
    [
        ("print('said')", 0, f"said\n{NOTHING}", []),
        ("import sys; sys.exit('wrong')", 1, "", ["wrong"]),
        ("raise ValueError('wrong')", 1, "", ["ValueError: wrong"]),
        ("import os; os._exit(7)", 7, "", []),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9, "", []),
        (SURROUNDINGS, 0, f"{{folder}} Zürich +0545 ['{{folder}}']\n{NOTHING}", []),
    ],
)
def test_a_fork_ends_and_says_what_a_process_of_its_own_does(
    program: str, code: int, said: str, wrong: list[str], tmp_path: Path
) -> None:
    (tmp_path / "declared.py").write_text(program)
    environ = {**os.environ, "GIVEN": "Zürich", "TZ": "Asia/Kathmandu"}
    done = subprocess.run([*COMMAND, tmp_path], env=environ, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (code, said.replace("{folder}", str(tmp_path)))
    assert done.stderr.splitlines()[-1:] == wrong


def test_a_fork_dies_with_the_process_that_asked_for_it(tmp_path: Path) -> None:
    (tmp_path / "declared.py").write_text("import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    with subprocess.Popen([*COMMAND, tmp_path], stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout is not None
        fork = int(asking.stdout.readline())
        assert fork != asking.pid
        watched = os.pidfd_open(fork)
        asking.kill()
        assert select.select([watched], [], [], 60)[0] == [watched], "it lives on"
    os.close(watched)
