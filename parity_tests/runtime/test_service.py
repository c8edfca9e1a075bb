"""A service is stopped by whoever started it, however the block ends."""

import subprocess
import sys

import pytest

from dualpath.runtime.service import Service, ended


class Recorded(Service):
    """One that says what was done to it, and may not start."""

    def __init__(self, *, starts: bool = True) -> None:
        self.starts, self.done = starts, list[str]()

    def start(self) -> None:
        self.done.append("start")
        if not self.starts:
            raise ZeroDivisionError

    def stop(self) -> None:
        self.done.append("stop")


def test_it_is_stopped_after_the_block_and_if_it_does_not_start() -> None:
    with Recorded() as service:
        assert service.done == ["start"]
    assert service.done == ["start", "stop"]
    lame = Recorded(starts=False)
    with pytest.raises(ZeroDivisionError), lame:
        pass
    assert lame.done == ["start", "stop"]


def test_a_process_that_does_not_end_in_time_is_killed() -> None:
    deaf = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", deaf], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline()
    process.terminate()
    ended(process, within=0.05)
    assert process.returncode == -9
