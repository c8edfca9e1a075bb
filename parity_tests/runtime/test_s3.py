import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier

import psutil
import pytest
from obstore.exceptions import AlreadyExistsError, PermissionDeniedError, PreconditionError
from obstore.store import S3Store

from parity_tests.faults import until
from parity_tests.startup.s3 import CHECKOUT, Server

WRITERS, ROUNDS, TURNS = 8, 25, 10


def at(server: Server, url: str, **other: str) -> S3Store:
    """A client that tries once."""
    told = {name.lower(): value for name, value in (server.environ | other).items()}
    kept = {name: value for name, value in told.items() if name not in ("aws_allow_http", "aws_ec2_metadata_disabled")}
    return S3Store.from_url(url, config=kept, client_options={"allow_http": True}, retry_config={"max_retries": 0})


@pytest.fixture
def stores(s3: Server) -> list[S3Store]:
    """Clients of one place, each with connections of its own."""
    place = s3.fresh()
    return [at(s3, place) for _ in range(WRITERS)]


def race(attempts: list[Callable[[], bool]]) -> list[bool]:
    barrier = Barrier(len(attempts))

    def attempt(run: Callable[[], bool]) -> bool:
        barrier.wait()
        return run()

    with ThreadPoolExecutor(len(attempts)) as pool:
        return list(pool.map(attempt, attempts))


def created(store: S3Store, key: str, content: bytes) -> bool:
    try:
        store.put(key, content, mode="create")
    except AlreadyExistsError:
        return False
    return True


def test_one_of_many_writers_creates_an_object(stores: list[S3Store]) -> None:
    for number in range(ROUNDS):
        won = race([partial(created, store, str(number), bytes([n])) for n, store in enumerate(stores)])
        assert won.count(True) == 1
        assert bytes(stores[0].get(str(number)).bytes()) == bytes([won.index(True)])


def test_no_update_is_lost(stores: list[S3Store]) -> None:
    stores[0].put("counter", b"0")

    def count(store: S3Store) -> bool:
        done = 0
        while done < TURNS:
            found = store.get("counter")
            after = str(int(bytes(found.bytes())) + 1).encode()
            try:
                store.put("counter", after, mode={"e_tag": found.meta["e_tag"]})
            except PreconditionError:
                continue
            done += 1
        return True

    race([partial(count, store) for store in stores])
    assert bytes(stores[0].get("counter").bytes()) == str(WRITERS * TURNS).encode()


def test_a_listing_is_in_the_order_of_the_keys(stores: list[S3Store]) -> None:
    keys = ["a.txt", "a/1", "a/10", "a/2", "b", "b/c", "é", "x=1/date=2026-01-01 00:00"]
    for key in keys:
        stores[0].put(key, b"")
    assert [each["path"] for part in stores[0].list() for each in part] == sorted(keys, key=str.encode)


def test_a_key_without_its_secret_is_refused(s3: Server) -> None:
    with pytest.raises(PermissionDeniedError, match="SignatureDoesNotMatch"):
        at(s3, s3.fresh(), AWS_SECRET_ACCESS_KEY="another").put("a", b"")
    with pytest.raises(PermissionDeniedError, match="InvalidAccessKeyId"):
        at(s3, s3.fresh(), AWS_ACCESS_KEY_ID="another").put("a", b"")


def test_a_killed_server_comes_back_with_its_objects_and_its_key(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        store = at(server, server.fresh())
        store.put("a", b"1")
        assert server.process
        server.process.kill()
        server.process.wait()
        server.start()
        assert bytes(store.get("a").bytes()) == b"1"


def test_a_server_ends_with_its_owner(tmp_path: Path) -> None:
    program = """if True:
        import sys
        from pathlib import Path
        from parity_tests.startup.s3 import Server
        server = Server(Path(sys.argv[1]))
        server.start()
        print(server.process.pid, flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout
        started = psutil.Process(int(owner.stdout.readline()))
        assert started.is_running()
        os.kill(owner.pid, signal.SIGKILL)
        until(lambda: not started.is_running() or started.status() == psutil.STATUS_ZOMBIE)
