"""Of many writers one creates a file, no change of a file is lost, and what is cut off leaves none."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from dualpath.errors import InputError
from dualpath.files import durable, objects
from dualpath.files.objects import ObjectPath
from dualpath.files.places import Place, below, read_text
from parity_tests.files.conftest import key
from parity_tests.startup.s3_faults import Faults

WRITERS, ROUNDS, TURNS = 8, 6, 4


def test_one_of_many_writers_creates_a_file(somewhere: Place) -> None:
    (somewhere / "there").mkdir(parents=True, exist_ok=True)
    barrier = Barrier(WRITERS)

    def create(number: int) -> list[bool]:
        won = []
        for turn in range(ROUNDS):
            barrier.wait()
            won.append(durable.create(somewhere / f"there/{turn}", b"%d" % number))
        return won

    with ThreadPoolExecutor(WRITERS) as threads:
        found = [*threads.map(create, range(WRITERS))]
    for turn, won in enumerate(zip(*found, strict=True)):
        assert won.count(True) == 1
        assert read_text(somewhere / f"there/{turn}") == str(won.index(True))
    assert not durable.create(somewhere / "there/0", b"late") and len([*below(somewhere)]) == ROUNDS


def test_no_change_of_many_writers_is_lost(somewhere: Place) -> None:
    file = somewhere / "notes"

    def note(number: int) -> None:
        for turn in range(TURNS):
            durable.update(file, lambda text, mine=f"{number}-{turn} ": text + mine)  # type: ignore[misc]

    with ThreadPoolExecutor(WRITERS) as threads:
        [*threads.map(note, range(WRITERS))]
    wanted = sorted(f"{number}-{turn}" for number in range(WRITERS) for turn in range(TURNS))
    assert sorted(read_text(file).split()) == wanted


def test_a_change_that_changes_nothing_writes_nothing(faults: Faults, faulty: ObjectPath) -> None:
    file = faulty / "notes"
    assert durable.update(file, lambda text: text + "a") == "a"
    faults.seen.clear()
    assert durable.update(file, lambda text: text) == "a"
    assert [method for method, _ in faults.seen] == ["GET"]


def test_a_change_is_asked_of_what_this_process_has_put_and_else_of_what_is_there(
    faults: Faults, faulty: ObjectPath
) -> None:
    file, asked = faulty / "notes", list[str]()

    def change(text: str) -> str:
        asked.append(text)
        return text + "a"

    assert [durable.update(file, change) for _ in range(3)] == ["a", "aa", "aaa"]
    assert [method for method, _ in faults.seen] == ["GET", "PUT", "PUT", "PUT"]
    durable.write_atomically(file, "of another")
    assert durable.update(file, change) == "of anothera" and asked[-2:] == ["aaa", "of another"]
    durable.write_atomically(file, "")
    assert durable.update(file, lambda text: text) == ""


def test_a_file_that_is_not_finished_is_not_there(somewhere: Place) -> None:
    file = somewhere / "day/rows"
    with durable.written(file) as stream:
        stream.write(b"old")
    with pytest.raises(ZeroDivisionError), durable.written(somewhere / "other") as stream:
        stream.write(b"half")
        raise ZeroDivisionError
    durable.write_atomically(file, "new")
    assert read_text(file) == "new"
    if isinstance(somewhere, ObjectPath):
        assert [*below(somewhere)] == [file]


@pytest.mark.parametrize("times", [1, 2])
def test_a_writer_whose_answer_is_lost_has_won(times: int, faults: Faults, faulty: ObjectPath) -> None:
    """Its put is repeated, and refused by what it has put itself."""
    faults.lose_answers(times, prefix=key(faulty / "a"))
    assert durable.create(faulty / "a", b"mine")
    faults.lose_answers(times, prefix=key(faulty / "b"))
    assert not durable.create(faulty / "a", b"another") and durable.create(faulty / "b", b"mine")
    for text in ("one", "one two"):
        faults.lose_answers(times, prefix=key(faulty / "notes"))
        added = text.rpartition(" ")[2]
        assert durable.update(faulty / "notes", lambda before, add=added: f"{before} {add}".strip()) == text  # type: ignore[misc]
    assert read_text(faulty / "notes") == "one two" and read_text(faulty / "a") == "mine"
    puts = [name for method, name in faults.seen if method == "PUT"]
    assert puts.count(key(faulty / "b")) == 1 + times


def test_a_writer_that_loses_with_its_answer_has_lost(faults: Faults, faulty: ObjectPath) -> None:
    durable.create(faulty / "a", b"theirs")
    faults.lose_answers(1, prefix=key(faulty / "a"))
    assert not durable.create(faulty / "a", b"mine")
    assert read_text(faulty / "a") == "theirs"


def test_a_store_that_slows_down_is_asked_again(faults: Faults, faulty: ObjectPath) -> None:
    faults.slow_down(3, prefix=key(faulty))
    assert durable.create(faulty / "a", b"mine")
    faults.slow_down(3, prefix=key(faulty))
    assert durable.update(faulty / "a", lambda text: f"{text} too") == "mine too"
    faults.slow_down(3, prefix=key(faulty))
    assert [*below(faulty)] == [faulty / "a"]


def test_a_bucket_that_is_not_there_ends_in_an_error(remote: ObjectPath) -> None:
    nowhere = objects.opened("s3://no-such-bucket/a")
    for write in (
        lambda: durable.create(nowhere, b""),
        lambda: durable.update(nowhere, lambda text: "a"),
        lambda: durable.write_atomically(nowhere, "a"),
    ):
        with pytest.raises(FileNotFoundError, match="NoSuchBucket"):
            write()  # type: ignore[no-untyped-call]
    with pytest.raises(InputError):
        objects.opened("ftp://bucket/a")
