from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from obstore.exceptions import AlreadyExistsError, GenericError, PermissionDeniedError
from obstore.store import S3Store

from parity_tests.runtime.test_s3 import at
from parity_tests.startup.s3 import Server
from parity_tests.startup.s3_faults import Faults


@pytest.fixture
def faults(s3: Server) -> Iterator[Faults]:
    with Faults(s3) as started:
        yield started


@pytest.fixture
def place(s3: Server) -> str:
    return s3.fresh()


@pytest.fixture
def direct(s3: Server, place: str) -> S3Store:
    return at(s3, place)


@pytest.fixture
def store(s3: Server, faults: Faults, place: str) -> S3Store:
    return at(s3, place, AWS_ENDPOINT_URL=faults.url)


def key(place: str, name: str) -> str:
    return f"{place.rpartition('/')[2]}/{name}"


def test_requests_pass_as_they_are(store: S3Store, faults: Faults, place: str) -> None:
    content = bytes(range(256)) * 60_000
    store.put("a b/c+d=é", content, use_multipart=True, chunk_size=6 * 2**20)
    assert bytes(store.get("a b/c+d=é").bytes()) == content
    assert bytes(store.get_range("a b/c+d=é", start=255, end=258)) == b"\xff\x00\x01"
    assert store.head("a b/c+d=é")["size"] == len(content)
    with pytest.raises(AlreadyExistsError):
        store.put("a b/c+d=é", b"", mode="create")
    assert [each["path"] for part in store.list() for each in part] == ["a b/c+d=é"]
    store.copy("a b/c+d=é", "other")
    store.delete(["a b/c+d=é", "other"])
    assert not [each for part in store.list() for each in part]
    assert ("HEAD", key(place, "a b/c+d=é")) in faults.seen
    assert ("GET", key(place, "")) in faults.seen


def test_the_server_slows_down_for_some_requests(store: S3Store, direct: S3Store, faults: Faults, place: str) -> None:
    faults.slow_down(2, method="PUT", prefix=key(place, "slow"))
    for _ in range(2):
        with pytest.raises(GenericError, match="<Code>SlowDown"):
            store.put("slow/a", b"")
    store.put("quick", b"")
    assert [each["path"] for part in direct.list() for each in part] == ["quick"]
    store.put("slow/a", b"")


def test_a_put_is_done_although_its_answer_is_lost(store: S3Store, faults: Faults, place: str) -> None:
    faults.lose_answers(1, prefix=key(place, "a"))
    with pytest.raises(GenericError):
        store.put("a", b"1", mode="create")
    assert bytes(store.get("a").bytes()) == b"1"
    with pytest.raises(AlreadyExistsError):
        store.put("a", b"2", mode="create")


def test_credentials_expire_and_are_renewed(store: S3Store, faults: Faults) -> None:
    store.put("a", b"1")
    with faults.expired():
        with pytest.raises(PermissionDeniedError, match="ExpiredToken"):
            store.get("a")
        with pytest.raises(PermissionDeniedError):
            store.head("a")
    assert bytes(store.get("a").bytes()) == b"1"


def test_held_requests_go_on_when_they_are_released(
    store: S3Store, direct: S3Store, faults: Faults, place: str
) -> None:
    with ThreadPoolExecutor() as pool:
        with faults.held(method="PUT", prefix=key(place, "a")) as held:
            put = pool.submit(store.put, "a", b"1")
            assert held.arrived.wait(60)
            store.put("b", b"")
            assert [each["path"] for part in direct.list() for each in part] == ["b"]
        put.result()
    assert [each["path"] for part in direct.list() for each in part] == ["a", "b"]
