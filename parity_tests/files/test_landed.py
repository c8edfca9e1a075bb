"""Lines of landed objects are made blank, and the stream's account still fits them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from time import time

import pytest

from dualpath.erasure.landed import Lines
from dualpath.errors import StateError
from dualpath.files import objects
from dualpath.files.objects import ObjectPath
from dualpath.log import blanked
from dualpath.log.accounts import Entry
from dualpath.log.storage import Storage
from dualpath.sources.delivery import Delivery, delivery, version
from parity_tests import logged
from parity_tests.evolved import orders
from parity_tests.faults import until

NAME = "day=1/a b.jsonl"
BEFORE = b'{"user": "ann", "x": 1}\r\n{"user": "bob"}\n\xff\n{"user": "ann"}'
AFTER = b" " * 24 + b'\n{"user": "bob"}\n\xff\n' + b" " * 15


@pytest.fixture
def storage(remote: ObjectPath) -> Storage:
    """A source whose stream has read one object, a second ago or earlier."""
    found = Storage(remote, "orders")
    file = landed(found)
    objects.put(file, BEFORE)
    size, put, _ = objects.state(file)
    logged.commit(found, Entry(1, 0, positions={"day%3D1/a%20b.jsonl": version(size, put * 1000)}))
    until(lambda: datetime.fromtimestamp(time(), UTC).timestamp() >= put + 1)
    return found


def landed(storage: Storage) -> ObjectPath:
    file = storage.folder("landing") / NAME
    assert isinstance(file, ObjectPath)
    return file


def lines(storage: Storage) -> Lines:
    return Lines(storage, orders(), {"user": ("ann",)})


@contextmanager
def cut_off_after_the_put() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Lines, "_settle", lambda self, name: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            yield


def test_a_blanked_object_is_none_that_changed_until_it_does(storage: Storage) -> None:
    [file] = lines(storage).found().rows
    before = objects.state(landed(storage))
    lines(storage).remove(file)
    assert landed(storage).read_bytes() == AFTER and objects.state(landed(storage))[1] > before[1]
    assert lines(storage).found().rows == {} and delivery(storage) == Delivery([], [], [])
    objects.put(landed(storage), BEFORE[:-1])
    assert delivery(storage).changed == [NAME]


def test_an_erasure_that_is_cut_off_after_a_put_goes_on(storage: Storage) -> None:
    [file] = lines(storage).found().rows
    with cut_off_after_the_put():
        lines(storage).remove(file)
    assert delivery(storage).changed == [NAME] and lines(storage).found().rows == {}
    lines(storage).settle()
    assert delivery(storage) == Delivery([], [], [])


def test_what_somebody_else_has_put_there_meanwhile_stays_named(storage: Storage) -> None:
    [file] = lines(storage).found().rows
    with cut_off_after_the_put():
        lines(storage).remove(file)
    objects.put(landed(storage), BEFORE[:-1])
    lines(storage).settle()
    assert delivery(storage).changed == [NAME]
    landed(storage).unlink()
    lines(storage).settle()
    assert delivery(storage) == Delivery([], [], [])


def test_an_object_that_changes_while_it_is_made_blank_is_left(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    [file] = lines(storage).found().rows
    real = blanked.keep

    def keep(*arguments: object) -> None:
        objects.put(landed(storage), BEFORE[1:])
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(blanked, "keep", keep)
    with pytest.raises(StateError, match=f"landing/{NAME} has changed meanwhile; erase again"):
        lines(storage).remove(file)
    assert landed(storage).read_bytes() == BEFORE[1:]
