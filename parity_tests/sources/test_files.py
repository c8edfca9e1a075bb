"""Files of JSON and CSV: what they hold lands as it is, and nothing broken in them hides the rest."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dualpath.errors import InputError, NotFoundError
from dualpath.schema import EventSource
from dualpath.sources import files
from dualpath.sources.delimited import PLAIN, Dialect
from parity_tests.sources.ingested import landed, objects


@pytest.fixture(params=["", ".gz", ".zst"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str, bytes], Path]:
    """Writes a file, compressed in each way."""

    def written(name: str, content: bytes) -> Path:
        file = tmp_path / (name + request.param)
        packed = {".gz": gzip.compress, ".zst": lambda raw: pa.Codec("zstd").compress(raw, asbytes=True)}
        file.write_bytes(packed[request.param](content) if request.param else content)
        return file

    return written


BOM = b"\xef\xbb\xbf"
ONE, TWO = b'{"price":1.10,"n":12345678901234567890123}', b'{"a":"]}, {\\"[","b":[{"c":[]}]}'


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b" [\n] ", []),
        (b"[" + ONE + b",\n " + TWO + b"\n]\n", [ONE, TWO]),
        (BOM + b"[" + ONE + b"]", [ONE]),
        (ONE, [ONE]),
        (BOM + ONE + TWO + b"\n\n" + ONE + b", " + TWO, [ONE, TWO, ONE, TWO]),
        (b'{\r\n  "a": 1,\n  "b": "x"\n}\n', [b'{    "a": 1,    "b": "x" }'.replace(b"    ", b"   ")]),
        (b'[1, "a ]", null, [2], {"a": bad}, {"b": 2}]', [b"1", b'"a ]"', b"null", b"[2]", b'{"a": bad}', b'{"b": 2}']),
        (b'{"a":"\xff"}', [b'{"a":"\xff"}']),
        (b'"' + b"x" * 10 + b'"', [b'"xxxxxxxxxx"']),
        (b"12", [b"12"]),
        (b'{"a":1}}{"b":2}', [b'{"a":1}', b"}", b'{"b":2}']),
    ],
)
@pytest.mark.parametrize("chunk", [1, 7, 2**20])
def test_objects_of_json_land_as_their_own_text(
    write: Callable[[str, bytes], Path],
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    lines: list[bytes],
    chunk: int,
) -> None:
    monkeypatch.setattr("dualpath.sources.documents.CHUNK", chunk)
    assert landed(write("a.json", content)) == [line + b"\n" for line in lines]


def test_a_line_break_inside_a_text_is_not_repaired(write: Callable[[str, bytes], Path]) -> None:
    file = write("a.json", b'[{"a":"x\ny"},{"b":\n"z"}]')
    assert objects(file) == [f'{file}, byte 1: a line break inside a text: {{"a":"x\ny"}}', {"b": "z"}]


@pytest.mark.parametrize("content", [b'[{"a":1}', b'{"a":{"b":1}', b'[{"a":"x}]', b'{"a":1} "x'])
def test_json_that_has_no_end_is_refused(write: Callable[[str, bytes], Path], content: bytes) -> None:
    with pytest.raises(InputError, match=r"a\.json.*has no end"):
        landed(write("a.json", content))


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson"])
def test_lines_land_as_they_are_after_a_byte_order_mark(write: Callable[[str, bytes], Path], name: str) -> None:
    lines = [b'{"a":1}\n', b"\n", BOM + b"\xff\r\n", b'{"cut\n']
    assert landed(write(name, BOM + b"".join(lines).removesuffix(b"\n"))) == lines
    assert landed(write(name, b"")) == []


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_json_in_utf_16_is_refused(write: Callable[[str, bytes], Path], name: str) -> None:
    with pytest.raises(InputError, match="is UTF-16, and JSON is UTF-8; write it in UTF-8"):
        landed(write(name, '{"a":1}'.encode("utf-16")))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json.zst", "a.csv.gz"])
def test_a_compressed_file_that_is_cut_is_refused(tmp_path: Path, name: str) -> None:
    content = b"user,at\n" + b"ann,b\n" * 10_000
    packed = gzip.compress(content) if name.endswith("gz") else pa.Codec("zstd").compress(content, asbytes=True)
    (tmp_path / name).write_bytes(packed[:-9])
    with pytest.raises(InputError, match=r"cannot be read as (JSON|CSV) \(.*; nothing was landed"):
        landed(tmp_path / name)


def test_cells_land_as_their_text(write: Callable[[str, bytes], Path]) -> None:
    content = b'user,not read,at,code\r\n"ann, a",x,"two\r\nlines",\n"say ""hi""",,010,"\xc3\xa9"\n'
    assert objects(write("a.csv", BOM + content)) == [
        {"user": "ann, a", "at": "two\r\nlines"},
        {"user": 'say "hi"', "at": "010", "code": "é"},
    ]


def test_a_header_may_have_spaces(write: Callable[[str, bytes], Path]) -> None:
    source = EventSource("events", (), event_id=None, event_time="event time", arrival_time=None)
    [line] = files.payloads(write("a.csv", b'"event time",b c\n1,2\n'), source, PLAIN)
    assert json.loads(line) == {"event time": "1"}


@pytest.mark.parametrize(
    ("name", "dialect", "content"),
    [
        ("a.tsv", PLAIN, "user\tat\tcode\nann\tb\té\n"),
        ("a.csv", Dialect(delimiter=";"), "user;at;code\nann;b;é\n"),
        ("a.csv", Dialect(quote="'"), "user,at,code\n'ann','b','é'\n"),
        ("a.tsv", Dialect(delimiter="|", encoding="utf-16"), "user|at|code\nann|b|é\n"),
        ("a.csv", Dialect(encoding="UTF8"), "\ufeffuser,at,code\nann,b,é\n"),
        ("a.csv", Dialect(encoding="latin-1"), "user,at,code\nann,b,é\n"),
    ],
)
def test_a_dialect_is_read_as_it_is_said(
    write: Callable[[str, bytes], Path], name: str, dialect: Dialect, content: str
) -> None:
    encoded = content.encode(dialect.encoding)
    assert objects(write(name, encoded), dialect) == [{"user": "ann", "at": "b", "code": "é"}]


def test_without_quotes_a_quote_is_a_character(write: Callable[[str, bytes], Path]) -> None:
    assert objects(write("a.csv", b'user,at\n"ann,b"\n'), Dialect(quote="")) == [{"user": '"ann', "at": 'b"'}]


def test_only_the_texts_that_are_said_are_missing_cells(write: Callable[[str, bytes], Path]) -> None:
    content = b"user,at,code\nNA,,\\N\n"
    assert objects(write("a.csv", content)) == [{"user": "NA", "code": "\\N"}]
    assert objects(write("a.csv", content), Dialect(nulls=("\\N", "NA"))) == [{"at": ""}]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"delimiter": ""}, "delimiter '' is not one character"),
        ({"delimiter": "||"}, r"'\|\|' is not one character"),
        ({"delimiter": "\n"}, "is not one character"),
        ({"quote": "''"}, "quote .* is not one character"),
        ({"delimiter": '"'}, "are both"),
        ({"encoding": "klingon"}, "no encoding 'klingon'"),
    ],
)
def test_a_dialect_that_no_file_can_have_is_refused(options: dict[str, str], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        Dialect(**options)  # type: ignore[arg-type]


def test_a_broken_row_hides_no_other(write: Callable[[str, bytes], Path]) -> None:
    rows = [
        b"ann,1",
        b"bob,2,more",
        b"eve",
        b'fay,"3',
        b"gus,4",
        b'"hal"x,5',
        b"\xff,6",
        b"",
        b'"ida\nb",7,8',
        b'jon,"9"',
        b'kim,"10',
    ]
    file = write("a.csv", b"user,at\n" + b"\n".join(rows) + b"\n")
    strict = "',' expected after '\"'"
    assert [json.loads(line.decode(errors="surrogateescape")) for line in landed(file)] == [
        {"user": "ann", "at": "1"},
        f"{file}, line 3: 3 cells, and the header has 2: bob,2,more",
        f"{file}, line 4: 1 cell, and the header has 2: eve",
        f'{file}, line 5: {strict}: fay,"3',
        {"user": "gus", "at": "4"},
        f'{file}, line 7: {strict}: "hal"x,5',
        {"user": "\udcff", "at": "6"},
        f'{file}, line 10: 3 cells, and the header has 2: "ida\nb",7,8',
        {"user": "jon", "at": "9"},
        f'{file}, line 13: unexpected end of data: kim,"10',
    ]


def test_a_quote_without_an_end_hides_no_other_row(write: Callable[[str, bytes], Path]) -> None:
    """Reading gives up a cell after 131,072 characters, and goes on at the next line."""
    rows = [b"ann,%d" % n for n in range(50_000)]
    [broken, *others] = objects(write("a.csv", b'user,at\n"eve,1\n' + b"\n".join(rows)))
    assert broken.endswith('line 2: field larger than field limit (131072): "eve,1')
    assert others == [{"user": "ann", "at": str(n)} for n in range(50_000)]


def test_text_of_another_encoding_than_the_one_said_is_refused(write: Callable[[str, bytes], Path]) -> None:
    with pytest.raises(InputError, match=r"cannot be read as CSV \('ascii' codec"):
        landed(write("a.csv", "user,at\né,1\n".encode()), Dialect(encoding="ascii"))
    with pytest.raises(InputError, match="is UTF-16; say so with --encoding utf-16"):
        landed(write("a.csv", "user,at\n".encode("utf-16")))


def test_a_folder_means_its_files_in_order_without_the_hidden_ones(tmp_path: Path) -> None:
    names = ["day=2026-01-02/part-0.parquet", "a.CSV", "day=2026-01-01/_part=1/b.json.GZ", "day=2026-01-01/a.ndjson"]
    hidden = [".a.csv.crc", "_SUCCESS", "day=2026-01-01/.x/a.csv", "_temporary/a.txt"]
    for name in [*names, *hidden]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    expected = [tmp_path / name for name in sorted(names)]
    assert files.found([str(tmp_path)]) == expected
    assert files.found([str(tmp_path / "day=*"), str(tmp_path)]) == [*expected[1:], expected[0]]
    assert files.found([str(tmp_path / "**/*.[np]*")]) == [tmp_path / names[3], tmp_path / names[0]]
    assert files.found([str(tmp_path / "*"), f"{tmp_path}/day=2026-01-01/../a.CSV"]) == expected


def test_what_is_not_there_and_what_is_of_no_known_kind_is_named(tmp_path: Path) -> None:
    for name in ("a.csv", "b.txt", "c.parquet.gz"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"b\.txt and 1 more: of no known kind; pass \.jsonl, .*\.parquet"):
        files.found([str(tmp_path)])
    with pytest.raises(NotFoundError, match="neither a file nor a folder"):
        files.found([str(tmp_path / "gone")])
    with pytest.raises(NotFoundError, match="no file has a name like"):
        files.found([str(tmp_path / "*.json")])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "_SUCCESS").touch()
    with pytest.raises(InputError, match="empty has no files"):
        files.found([str(tmp_path / "empty")])


def test_a_folders_name_gives_no_column(tmp_path: Path) -> None:
    folder = tmp_path / "code=a"
    folder.mkdir()
    pq.write_table(pa.table({"user": ["ann"], "at": [datetime(2026, 3, 1, tzinfo=UTC)]}), folder / "a.parquet")
    [file] = files.found([str(tmp_path)])
    assert objects(file) == [{"user": "ann", "at": "2026-03-01T00:00:00.000000Z"}]
