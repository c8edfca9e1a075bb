"""Processes that have imported what commands of the tests import, and run these commands in forks of themselves.

To import Feast and dualpath takes three seconds of a core, to apply a repo a tenth of that, and the tests apply some
hundred. So `sitecustomize` has every process of the tests that is about to run one of `PROGRAMS` ask such a process,
if `ADDRESS` is set: it hands over its arguments, folder, environment, and the files it reads and writes; waits; and
ends as the fork does. What a test says of Feast's own commands is said of a process without `ADDRESS`: forks draw the
same hash seed.

Each of `KINDS` is run with its name and the number of a listening socket, imports when the first asks, and ends when
its standard input does.
"""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NoReturn

CHECKOUT = Path(__file__).resolve().parents[2]
ADDRESS = "DUALPATH_TESTS_PREPARED"
PROGRAMS = {
    "feast.cli.cli": ("apply", "declarations"),
    "dualpath.feast.declared": ("", "declarations"),
    "parity_tests.live_reader": ("", "declarations"),
    "parity_tests.crash": ("", "crashes"),
}
"""Modules, each with a word that its commands must have, and the kind of process that runs them."""
KINDS = {
    "declarations": ("dualpath.feast.offline", "dualpath.feast.online", "dualpath.feast.engine"),
    "crashes": ("dualpath.console.stream", "dualpath.jobs.build", "dualpath.repo"),
}
"""What each kind imports beside the programs themselves."""
NUMBER = struct.Struct("<q")


def kind_for(argv: Sequence[str]) -> str | None:
    """The kind of process that runs the command of these words, if any does."""
    word, kind = PROGRAMS.get(argv[2], ("", None)) if list(argv[1:2]) == ["-m"] else ("", None)
    return kind if not word or word in argv else None


@contextmanager
def running() -> Iterator[str]:
    """The processes, while this is entered; what their addresses begin with."""
    name = f"dualpath-tests-{os.getpid()}-{time.monotonic_ns()}"
    started = [_start(name, kind) for kind in KINDS]
    try:
        yield name
    finally:
        for each in started:
            each.communicate()


def _start(name: str, kind: str) -> subprocess.Popen[bytes]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(_address(name, kind))
        listening.listen(64)
        handle = listening.fileno()
        command = [sys.executable, "-m", __name__, kind, str(handle)]
        return subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, pass_fds=[handle])


def _address(name: str, kind: str) -> str:
    return f"\0{name}-{kind}"


def ask(name: str, kind: str) -> NoReturn:
    """Have this process's program run there, and end as it ends."""
    asked = json.dumps({"argv": sys.orig_argv[2:], "folder": str(Path.cwd()), "environ": dict(os.environ)}).encode()
    with socket.socket(socket.AF_UNIX) as there:
        there.connect(_address(name, kind))
        socket.send_fds(there, [NUMBER.pack(len(asked))], [0, 1, 2])
        there.sendall(asked)
        [code] = NUMBER.unpack(_exactly(there, NUMBER.size))
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code)


def _exactly(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = connection.recv(size - len(found))
        if not part:
            raise ConnectionError("the prepared process has ended")
        found += part
    return found


def main(kind: str, listening: socket.socket) -> None:
    """Answer until standard input ends; returns in a fork, too, when its program has."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([listening, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        connection, _ = listening.accept()
        prepare(kind)
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listening.close()
            answer(connection)
            return
        connection.close()


@cache
def prepare(kind: str) -> None:
    """Import, once, what the programs do; they themselves are run as if they had not been imported."""
    programs = [name for name, (_, own) in PROGRAMS.items() if own == kind]
    for name in (*programs, *KINDS[kind]):
        importlib.import_module(name)
    for name in programs:
        del sys.modules[name]
    gc.freeze()


def answer(connection: socket.socket) -> None:
    """Run a program in one more fork, and tell how it ends; returns in that fork."""
    head, handles, _, _ = socket.recv_fds(connection, NUMBER.size, 3)
    asked = json.loads(_exactly(connection, *NUMBER.unpack(head)))
    if fork := os.fork():
        ended = os.pidfd_open(fork)
        if ended not in select.select([ended, connection], [], [])[0]:
            os.kill(fork, signal.SIGKILL)  # whoever asked was killed
        _, status = os.waitpid(fork, 0)
        with suppress(BrokenPipeError):
            connection.sendall(NUMBER.pack(os.waitstatus_to_exitcode(status)))
        os._exit(0)
    connection.close()
    for own, given in enumerate(handles):
        os.dup2(given, own)
        os.close(given)
    run(asked["argv"], asked["folder"], asked["environ"])


def run(argv: Sequence[str], folder: str, environ: Mapping[str, str]) -> None:
    """Run a program as a process of its own would."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    sys.argv = list(argv)
    sys.path[0] = folder
    runpy.run_module(argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
