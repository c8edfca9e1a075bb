"""A lease has one holder, who is seen to live, and none for ever: killed, stopped or cut off from the store."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest
from obstore.exceptions import GenericError

from dualpath.errors import RunningError
from dualpath.files import leases, objects
from dualpath.files.leases import leased
from dualpath.files.locks import locked
from dualpath.files.objects import ObjectPath
from parity_tests.conftest import CHECKOUT
from parity_tests.faults import until
from parity_tests.files.conftest import key
from parity_tests.startup.s3_faults import Faults

TAKEN = "another one is at work."


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Holders beat often, so that who waits for one sees it soon."""
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.03)


@contextmanager
def soon() -> Iterator[None]:
    """While this is entered, a holder that does not beat is taken for dead soon."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(leases, "LEASE_SECONDS", 0.1)
        yield


@contextmanager
def holder(file: ObjectPath, beat_seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Another process, which holds the lease."""
    command = [sys.executable, "-m", "parity_tests.files.holder", str(file), str(beat_seconds)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def is_free(file: ObjectPath) -> bool:
    return objects.read(file)[0] == leases.FREE


def never(seconds: float) -> None:
    raise AssertionError("nobody holds it, so nobody waits")


def test_a_lease_is_refused_while_another_one_holds_it_and_free_when_it_is_given_back(remote: ObjectPath) -> None:
    file = remote / "lock"
    for _ in range(2):
        with leased(file, TAKEN, never):
            for taken in (leased, locked):
                with pytest.raises(RunningError, match=TAKEN), taken(file, TAKEN):
                    pass
        assert is_free(file)
    with pytest.raises(ZeroDivisionError), leased(file, TAKEN, never):
        raise ZeroDivisionError
    assert is_free(file)


def test_whoever_waits_for_a_lease_gets_it_and_one_at_a_time(remote: ObjectPath) -> None:
    inside, most = [], []

    def work(number: int) -> None:
        with leased(remote / "lock"):
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)

    with ThreadPoolExecutor(4) as threads:
        [*threads.map(work, range(4))]
    assert most == [1] * 4 and is_free(remote / "lock")


def test_the_lease_of_a_killed_process_is_taken(remote: ObjectPath) -> None:
    with holder(remote / "lock", 0.03) as other:
        with pytest.raises(RunningError, match=TAKEN), leased(remote / "lock", TAKEN):
            pass
        other.kill()
        other.wait()
        with soon(), leased(remote / "lock", TAKEN):
            assert str(os.getpid()) in objects.read(remote / "lock")[0].split()
    assert is_free(remote / "lock")


def test_a_process_that_stood_still_does_not_give_back_the_lease_of_another(remote: ObjectPath) -> None:
    with holder(remote / "lock", 0.03) as other:
        assert other.stdin and other.stdout
        other.send_signal(signal.SIGSTOP)
        with ExitStack() as held:
            with soon():
                held.enter_context(leased(remote / "lock", TAKEN))
            mine = objects.read(remote / "lock")[0].split()[:3]
            other.send_signal(signal.SIGCONT)
            assert "stood still, and another one holds the lease now" in other.stdout.readline()
            other.stdin.close()
            assert other.wait(60) == 0
            assert objects.read(remote / "lock")[0].split()[:3] == mine
            with pytest.raises(RunningError, match=TAKEN), leased(remote / "lock", TAKEN):
                pass
    assert is_free(remote / "lock")


def puts(faults: Faults, file: ObjectPath) -> int:
    return faults.seen.count(("PUT", key(file)))


def test_a_holder_whose_answers_are_lost_holds_on(faults: Faults, faulty: ObjectPath) -> None:
    file = faulty / "lock"
    faults.lose_answers(1, prefix=key(file))
    with leased(file, TAKEN, never):
        faults.lose_answers(1, prefix=key(file))
        until(lambda: puts(faults, file) >= 6)
        with pytest.raises(RunningError, match=TAKEN), leased(file, TAKEN):
            pass
        faults.lose_answers(1, prefix=key(file))
    assert is_free(file)


def test_a_holder_holds_on_while_its_credentials_have_expired(faults: Faults, faulty: ObjectPath) -> None:
    file = faulty / "lock"
    with leased(file, TAKEN, never):
        with faults.expired():
            before = puts(faults, file)
            until(lambda: puts(faults, file) >= before + 3)
        before = objects.read(file)
        until(lambda: objects.read(file) != before)
        with pytest.raises(RunningError, match=TAKEN), leased(file, TAKEN):
            pass
    assert is_free(file)


def test_a_put_that_was_done_and_is_called_an_error_loses_no_lease(
    remote: ObjectPath, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As when no answer came for so long that the client gave up."""
    real, errors = objects.replace, [GenericError("no answer"), GenericError("no answer")]

    def replace(file: ObjectPath, text: str, tag: str | None) -> str | None:
        done = real(file, text, tag)
        if errors:
            raise errors.pop()
        return done

    file = remote / "lock"
    with leased(file, TAKEN, never):
        monkeypatch.setattr(objects, "replace", replace)
        until(lambda: not errors)
        before = objects.read(file)
        until(lambda: objects.read(file) != before)
    assert is_free(file) and "stood still" not in caplog.text


def test_a_lease_that_cannot_be_given_back_hides_no_error_and_runs_out(faults: Faults, faulty: ObjectPath) -> None:
    with ExitStack() as away, pytest.raises(ZeroDivisionError), leased(faulty / "lock"):
        away.enter_context(faults.expired())
        raise ZeroDivisionError
    assert not is_free(faulty / "lock")
    with soon(), leased(faulty / "lock", TAKEN):
        pass
