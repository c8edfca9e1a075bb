"""A place is the same to whoever uses it, in a folder and in an object store."""

from pathlib import Path

import pytest
from botocore.config import Config
from botocore.session import get_session

from dualpath.errors import InputError
from dualpath.files import places
from dualpath.files.durable import move, write_atomically
from dualpath.files.objects import ObjectPath
from dualpath.files.places import Place
from parity_tests.startup.s3 import Server

NAMES = ("a", "a b+c=é", "day=2026-03-01/x.parquet", "day=2026-03-01/y.parquet", "day=2026-03-02/x.parquet", "deep/x/z")


@pytest.fixture
def filled(somewhere: Place) -> Place:
    """A place with files."""
    for name in NAMES:
        write_atomically(somewhere / name, name)
    return somewhere


def names(found: object, below: Place) -> list[str]:
    return [places.relative(each, below) for each in found]  # type: ignore[attr-defined]


def test_every_file_below_a_folder_is_found_by_its_name_there(filled: Place) -> None:
    write_atomically(filled.with_name(f"{filled.name}-beside") / "a", "another folder, with the same beginning")
    assert sorted(names(places.below(filled), filled)) == sorted(NAMES)
    assert names(places.below(filled / "deep"), filled) == ["deep/x/z"]
    assert [*places.below(filled / "nothing")] == []


def test_a_pattern_finds_files_and_folders_in_their_order(filled: Place) -> None:
    assert names(places.matching(filled, "day=*"), filled) == ["day=2026-03-01", "day=2026-03-02"]
    assert names(places.matching(filled, "day=*/x*"), filled) == [NAMES[2], NAMES[4]]
    assert names(places.matching(filled, "????-??-??.json"), filled) == places.matching(filled / "nothing", "*") == []


def test_a_file_has_a_text_a_size_and_an_identity_and_one_that_is_not_there_has_none(filled: Place) -> None:
    file, none = filled / "a b+c=é", filled / "none"
    assert (places.read_text(file), places.size(file)) == ("a b+c=é", len("a b+c=é".encode()))
    assert (places.read_text(none), places.size(none), places.identity(none)) == ("", -1, None)
    assert places.sizes(filled, [*NAMES, "none"]) == [*(len(name.encode()) for name in NAMES), -1]
    before = places.identity(file)
    assert before and before == places.identity(file)
    write_atomically(file, "another")
    assert places.identity(file) != before
    assert places.read_text(file) == "another"
    assert file.exists() and (filled / "deep").exists() and not none.exists()


def test_a_folder_is_removed_with_all_that_is_in_it_and_nothing_beside_it(filled: Place) -> None:
    places.remove(filled / "day=2026-03-01")
    places.remove(filled / "nothing")
    places.remove(filled / "dee")
    assert sorted(names(places.below(filled), filled)) == sorted({*NAMES} - {NAMES[2], NAMES[3]})


def test_a_moved_file_is_in_its_new_place_alone(filled: Place) -> None:
    move(filled / "a", filled / "new/b")
    assert places.read_text(filled / "new/b") == "a" and not (filled / "a").exists()
    move(filled / "new/b", filled / "deep/x/z")
    assert places.read_text(filled / "deep/x/z") == "a"


def test_what_is_elsewhere_is_not_below(filled: Place) -> None:
    with pytest.raises(ValueError):
        places.relative(filled / "deep/x/z", filled / "day=2026-03-01")
    with pytest.raises(ValueError):
        places.relative(filled.with_name(f"{filled.name}-beside"), filled)


def test_a_text_names_a_path_or_an_object_and_nothing_else(tmp_path: Path, remote: ObjectPath) -> None:
    assert places.place("data", tmp_path) == tmp_path / "data"
    assert places.place("/data", tmp_path) == Path("/data")
    assert places.place(f"{remote}/") == remote
    with pytest.raises(InputError, match=r"https://host/data: data can be in a folder, or at s3://"):
        places.place("https://host/data")
    assert places.local(tmp_path, "The demo") == tmp_path
    with pytest.raises(InputError, match=rf"^The demo needs a folder of this machine, and data is kept at {remote}\.$"):
        places.local(remote, "The demo")


def test_whoever_lists_objects_is_told_their_bytes_and_when_they_were_put(remote: ObjectPath) -> None:
    write_atomically(remote / "a/b.jsonl", "four")
    [(name, size, put)] = remote.states()
    assert (name, size, put) == ("a/b.jsonl", 4, int((remote / "a/b.jsonl").stat().st_mtime))


def test_the_object_that_stands_for_a_folder_is_none_of_its_files(s3: Server, remote: ObjectPath) -> None:
    """Spark's client puts one, whose name ends in a slash."""
    write_atomically(remote / "folder/a", "")
    bucket, _, name = remote.path.partition("/")
    told = s3.environ
    client = get_session().create_client(
        "s3",
        endpoint_url=told["AWS_ENDPOINT_URL"],
        region_name=told["AWS_REGION"],
        aws_access_key_id=told["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=told["AWS_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}),
    )
    client.put_object(Bucket=bucket, Key=f"{name}/folder/", Body=b"")
    assert names(places.below(remote / "folder"), remote / "folder") == ["a"]


def test_a_folder_that_cannot_be_removed_is_an_error_unless_errors_are_ignored(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    places.remove(file, ignore_errors=True)
    with pytest.raises(NotADirectoryError):
        places.remove(file)
    assert file.exists()
