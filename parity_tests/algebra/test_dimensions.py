"""Dimensions: how they are declared, which version is found, and which tables are refused."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualpath.aggregates import Count, Last, Sum
from dualpath.declare import event_source
from dualpath.dimension import Dimension, dimension, lookup
from dualpath.errors import DeclarationError, InputError
from dualpath.field import Field
from dualpath.kinds import INSTANT
from dualpath.preview import preview
from dualpath.schema import EventSource, decimal, double, identifier, integer, text, timestamp
from dualpath.sources import file_tables
from dualpath.sources.dimensions import load
from dualpath.versions import Versions
from dualpath.view import Feature, View, digest
from dualpath.windows import days

START = 1_772_323_200_000_000  # 2026-03-01
VALUES = (text("label"), decimal("price", scale=2), timestamp("since"))
PRODUCTS = dimension("products", path="products.csv", keys=[text("id")], fields=VALUES, valid_to="valid_to")
ON = {"id": "sku"}
SALES = event_source(
    "sales",
    fields=[text("user"), text("sku"), integer("quantity")],
    lookups=[lookup(PRODUCTS, on=ON, fields=["label", "price"])],
)
HEAD = "id,label,price,since,valid_from,valid_to\n"


def keyed(*keys: Field, valid_to: str | None = None) -> Dimension:
    return dimension("things", path="things.parquet", keys=keys, fields=VALUES, valid_to=valid_to)


def iso(micros: int) -> str:
    return f"{np.datetime64(micros, 'us')}Z"


def judged(made: Dimension, keys: Sequence[tuple[Any, ...]], begins: Sequence[int], ends: Sequence[int]) -> Versions:
    """A table whose labels are the numbers of its rows."""
    names = [key.name for key in made.keys]
    rows = []
    for row, (key, begin, end) in enumerate(zip(keys, begins, ends, strict=True)):
        label = None if row % 7 == 0 else f"label {row}"
        more = {"label": label, "price": str(Decimal(row) / 100), "since": iso(begin - row)}
        end_of = {"valid_to": iso(end)} if made.valid_to and end else {}
        rows.append({**dict(zip(names, key, strict=True)), **more, "valid_from": iso(begin), **end_of})
    return Versions.of(made, [("rows", rows)])


def found(versions: Versions, keys: Sequence[tuple[Any, ...]], times: Sequence[int | None]) -> list[dict[str, Any]]:
    made = lookup(versions.dimension)
    columns = [pa.array([key[i] for key in keys], each.stored) for i, each in enumerate(versions.dimension.keys)]
    rows = versions.find(columns, pa.array(times, INSTANT))
    return pa.table(versions.take(made, rows), names=list(made.names)).to_pylist()


def by_duckdb(versions: Versions, keys: Sequence[tuple[Any, ...]], times: Sequence[int | None]) -> list[dict[str, Any]]:
    """The same by DuckDB's ASOF JOIN, after which a version that has ended is none."""
    names = [each.name for each in versions.dimension.keys]
    events = pa.table(
        {
            "number": range(len(keys)),
            **{n: pa.array([key[i] for key in keys], versions.rows.schema.field(n).type) for i, n in enumerate(names)},
            "event_time": pa.array(times, INSTANT),
        }
    )
    engine = duckdb.connect()
    engine.execute("SET TimeZone = 'UTC'")
    engine.register("events", events)
    engine.register("versions", versions.rows)
    end = "valid_to" if versions.dimension.valid_to else "NULL::TIMESTAMPTZ"
    on = " AND ".join(f"e.{name} = v.{name}" for name in names)
    taken = ", ".join(f"CASE WHEN live THEN {each.name} END AS {each.name}" for each in VALUES)
    joined = engine.sql(
        f"SELECT {taken} FROM (SELECT e.number, v.*, v.valid_from IS NOT NULL AND coalesce(e.event_time < {end}, TRUE) "
        f"AS live FROM events e ASOF LEFT JOIN versions v ON {on} AND e.event_time >= v.valid_from) ORDER BY number"
    ).to_arrow_table()
    return joined.cast(pa.schema([(each.name, each.stored) for each in VALUES])).to_pylist()


KEYS: list[tuple[str, tuple[Field, ...], Callable[[int], tuple[Any, ...]]]] = [
    ("text", (text("sku"),), lambda n: (f"s\N{SNOWMAN}{n}",)),
    ("identifier", (identifier("sku"),), lambda n: (2**63 - 1 - n,)),
    ("integer", (integer("sku"),), lambda n: (n - 20,)),
    ("two keys", (text("shop"), integer("sku")), lambda n: (f"shop {n % 5}", n // 5)),
    ("three keys", (integer("a"), text("b"), identifier("c")), lambda n: (n % 4, f"b{n % 6}", -n)),
]


@pytest.mark.parametrize(("keys", "named"), [each[1:] for each in KEYS], ids=[each[0] for each in KEYS])
@pytest.mark.parametrize("ends", [False, True], ids=["open", "with ends"])
def test_the_version_is_the_one_of_duckdbs_asof_join(
    keys: tuple[Field, ...], named: Callable[[int], tuple[Any, ...]], ends: bool
) -> None:
    random = np.random.default_rng(7)
    begins = START + random.permutation(3_000)[:600] * 1_000_000
    owners = random.integers(0, 40, 600)
    last = [int(b + random.integers(1, 10**9)) if random.random() < 0.5 else 0 for b in begins]
    versions = judged(keyed(*keys, valid_to="valid_to" if ends else None), [named(int(n)) for n in owners],
                      begins.tolist(), last)  # fmt: skip
    # Late and in any order, some twice, some at a beginning or just before it, some of unknown keys, some null.
    times = [*(START + random.integers(-(10**9), 4 * 10**9, 700)), *begins[:100], *(begins[100:200] - 1)]
    times += times[:100]
    random.shuffle(times)
    sought: list[tuple[Any, ...]] = [named(int(n)) for n in random.integers(0, 44, len(times))]
    sought[::50] = [(None, *key[1:]) for key in sought[::50]]
    asked = [None if n % 97 == 0 else int(time) for n, time in enumerate(times)]
    answer = found(versions, sought, asked)
    assert len(answer) == 1_000
    assert answer == by_duckdb(versions, sought, asked)
    assert 100 < sum(each["price"] is None for each in answer) < 900


def test_a_null_time_has_no_version_even_of_one_from_before_1970() -> None:
    versions = judged(keyed(text("sku")), [("a",)] * 2, [-5, START], [0, 0])
    assert [each["price"] for each in found(versions, [("a",)] * 3, [None, 0, -6])] == [None, Decimal("0.00"), None]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12), st.none() | st.integers(1, 8)), max_size=30,
             unique_by=lambda row: row[:2]),
    st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 20)), min_size=1, max_size=30),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_any_table_gives_what_a_loop_over_its_rows_gives(
    table: list[tuple[int, int, int | None]], asked: list[tuple[int, int]]
) -> None:
    ends = [START + begin + (length or 0) if length else 0 for _, begin, length in table]
    versions = judged(
        keyed(integer("sku"), valid_to="valid_to"),
        [(key,) for key, *_ in table],
        [START + b for _, b, _ in table],
        ends,
    )
    expected = []
    for key, time in asked:
        row, best = None, -1
        for number, (owner, begin, _) in enumerate(table):
            if owner == key and best < begin <= time:
                row, best = number, begin
        if row is not None and ends[row] and ends[row] <= START + time:
            row = None
        expected.append(None if row is None else Decimal(row) / 100)
    answer = found(versions, [(key,) for key, _ in asked], [START + time for _, time in asked])
    assert [each["price"] for each in answer] == expected


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("a,x,1,,2026-01-01T00:00:00Z,\na,y,2,,2026-01-01T01:00:00+01:00,",
         "row 1 and {file}, row 2 are both of id a from 2026-01-01T00:00:00.000000Z on; remove one of them."),
        ("a,x,1,,2026-01-01T00:00:00Z,\nb,y,1.005,,2026-01-01T00:00:00Z,",
         "row 2: price has more than 2 decimals: 1.005 (decimal(..., rounded=True) takes it); correct the row."),
        (",x,1,,2026-01-01T00:00:00Z,", "row 1: id is missing; correct the row."),
        ("a,x,1,,,", "row 1: valid_from is missing; correct the row."),
        ("a,x,1,,2026-01-01,", "row 1: valid_from is a date alone; declare format='yyyy-MM-dd' to read its midnight: "),
        ("a,x,1,soon,2026-01-01T00:00:00Z,", "row 1: since is not an ISO-8601 instant: soon; correct the row."),
        ("a,x,1,,2026-01-02T00:00:00Z,2026-01-02T00:00:00Z",
         "row 1: valid_to is not after valid_from; correct the row."),
    ],
)  # fmt: skip
def test_a_bad_row_refuses_its_table_with_file_and_row(tmp_path: Path, rows: str, said: str) -> None:
    file = tmp_path / "products.csv"
    file.write_text(f"{HEAD}{rows}\n")
    with pytest.raises(InputError) as raised:
        load(PRODUCTS, tmp_path)
    assert raised.value.message.startswith(f"dimension 'products': {file}, {said.format(file=file)}")


def test_a_file_that_is_missing_broken_or_lacks_a_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^dimension 'products': .*products.csv is neither a file nor a folder"):
        load(PRODUCTS, tmp_path)
    (tmp_path / "products.csv").write_text("id,label,price,valid_from,valid_to\n")
    with pytest.raises(InputError, match=r"^dimension 'products': .*products.csv: no column since, which"):
        load(PRODUCTS, tmp_path)
    (tmp_path / "things.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"^dimension 'things': .*things.parquet cannot be read as Parquet"):
        load(keyed(text("sku")), tmp_path)
    with pytest.raises(InputError, match=r"^dimension 'sent' is the topic all, and nothing says where its Kafka is"):
        load(dimension("sent", topic="all", keys=[text("id")], fields=[text("label")]), tmp_path)
    lines = dimension("lines", path="*.jsonl", keys=[text("id")], fields=[text("label")])
    (tmp_path / "1.jsonl").write_text('{"id": "a", "valid_from": "2026-01-01T00:00:00Z"}\n{"id": \n')
    with pytest.raises(InputError, match=r"1.jsonl, row 2 is not a JSON object; correct the row\.$"):
        load(lines, tmp_path)


def test_files_that_change_while_they_are_read_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "products.csv"
    file.write_text(HEAD)
    read = file_tables.payloads

    def replaced(*given: Any) -> Any:
        file.write_text(f"{HEAD}a,x,1,,2026-01-01T00:00:00Z,\n")
        return read(*given)

    monkeypatch.setattr(file_tables, "payloads", replaced)
    with pytest.raises(
        InputError, match=r"^dimension 'products': its files changed while they were read; write beside"
    ):
        load(PRODUCTS, tmp_path)


def test_a_table_may_be_a_folder_of_files_of_any_kind(tmp_path: Path) -> None:
    made = dimension(
        "products",
        path="products",
        keys=[identifier("id", path="product.id")],
        fields=[text("label", empty_is_null=True), decimal("price", scale=2)],
        valid_from=timestamp("since", unit="s"),
    )
    folder = tmp_path / "products"
    folder.mkdir()
    (folder / "1.jsonl").write_text('{"product": {"id": 7}, "label": " ", "price": 1.5, "since": 1772323200}\n')
    (folder / "2.json").write_text('[{"product": {"id": "7"}, "price": "2", "label": "two", "since": "1772323201"}]')
    pq.write_table(
        pa.table(
            {"product": [{"id": 2**62 + 1}], "label": ["three"], "price": [Decimal("3.25")], "since": [1772323202]}
        ),
        folder / "3.parquet",
    )
    versions = load(made, tmp_path)
    keys, seconds = [7, 7, 2**62 + 1, 2**62], [0, 1, 2, 2]
    rows = versions.find(
        [pa.array(keys, pa.int64())], pa.array([START + second * 10**6 for second in seconds], pa.int64())
    )
    assert [each.to_pylist() for each in versions.take(lookup(made), rows)] == [
        [None, "two", "three", None],
        [Decimal("1.50"), Decimal("2.00"), Decimal("3.25"), None],
    ]


def test_a_source_with_lookups_comes_back_from_its_json_form_and_one_without_has_the_form_it_had() -> None:
    assert EventSource.from_dict(json.loads(json.dumps(SALES.to_dict()))) == SALES
    sent = dimension("sent", topic="all", keys=[text("sku")], fields=[text("label")])
    assert Dimension.from_dict(json.loads(json.dumps(sent.to_dict()))) == sent
    assert str(sent.valid_to) == "valid_to" and "topic" not in PRODUCTS.to_dict()
    assert "lookups" not in event_source("clicks", fields=[text("user")]).to_dict()
    assert SALES.stored.names[3:] == ["user", "sku", "quantity", "label", "price"]
    moved = dimension("products", path="elsewhere.csv", keys=[text("id")], fields=VALUES, valid_to="valid_to")
    count = (Feature("n", Count(), days(1)),)
    topics = [dimension("products", topic=name, keys=[text("id")], fields=VALUES) for name in ("old", "new")]
    taken = (("products", PRODUCTS, ["label", "price"]), ("moved", moved, ["label", "price"]), ("all", moved, ()))
    taken += (("topic", topics[0], ()), ("other topic", topics[1], ()))
    made = {
        name: digest(
            View(
                "v", ("user",), event_source("sales", fields=SALES.fields, lookups=[lookup(d, on=ON, fields=f)]), count
            )
        )
        for name, d, f in taken
    }
    assert made["products"] == made["moved"] != made["all"]
    assert made["topic"] == made["other topic"]


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        (lambda: dimension("d", keys=[text("a")], fields=[text("b")]), "name either the path of its table or"),
        (lambda: dimension("d", path="d.csv", topic="d", keys=[text("a")], fields=[text("b")]), "either the path"),
        (lambda: dimension("d", path="d.csv", keys=[], fields=[text("a")]), "it has no keys; declare one at least"),
        (lambda: dimension("d", path="d.csv", keys=[double("x")], fields=[text("a")]), "its key 'x' is of kind double"),
        (lambda: dimension("d", path="d.csv", keys=[text("a")], fields=[text("a")]), "'a': declared twice"),
        (lambda: dimension("d", path="d.csv", keys=[text("a")], fields=[text("b")], valid_from=text("t")),
         "its time 't' is of kind text; declare a timestamp"),
        (lambda: lookup(PRODUCTS, on={"sku": "id"}), r"it has no key 'sku'; write on=\{key: field\} with a key of id"),
        (lambda: lookup(PRODUCTS, fields=["brand"]), "it has no field 'brand'; name one of label, price, since"),
        (lambda: event_source("s", fields=[text("sku")], lookups=[lookup(PRODUCTS)]),
         r"looked up by 'id', which payloads do not have; say by which of sku, as on=\{\"id\": ...\}"),
        (lambda: event_source("s", fields=[integer("id")], lookups=[lookup(PRODUCTS)]),
         "is of kind text and the field 'id' of kind integer; declare one kind"),
        (lambda: event_source("s", fields=[text("id"), text("label")], lookups=[lookup(PRODUCTS)]),
         "field 'label': declared twice"),
    ],
)  # fmt: skip
def test_a_declaration_that_cannot_work_is_refused(declared: Callable[[], object], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        declared()


def test_preview_looks_up_what_was_true_at_the_time_of_each_event() -> None:
    view = View(
        "bought",
        ("user",),
        SALES,
        (
            Feature("spent", Sum("price * quantity"), days(1)),
            Feature("label", Last("label"), days(1)),
            Feature("dear", Count(where="price > 2"), days(1)),
        ),
    )
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    rows = [
        {"id": "a", "label": "old", "price": "1.50", "valid_from": noon - timedelta(hours=1)},
        {"id": "a", "label": "new", "price": "2.50", "valid_from": noon, "valid_to": noon + timedelta(hours=1)},
    ]
    events = [
        {"user": "ann", "sku": sku, "quantity": 2, "event_time": noon + timedelta(minutes=minutes)}
        for sku, minutes in (("a", 59), ("a", 60), ("a", 0), ("a", -1), ("b", 0), ("a", -61))
    ]
    [answer] = preview(view, events, noon + timedelta(hours=2), dimensions={"products": rows})
    assert answer == {"user": "ann", "spent": 13.0, "label": "new", "dear": 2}
    with pytest.raises(InputError, match=r"source 'sales' looks fields up in 'products'; pass its rows"):
        preview(view, events, noon)
    with pytest.raises(InputError, match=r"'sales' has no label; correct the name"):
        preview(view, [events[0] | {"label": "own"}], noon, dimensions={"products": rows})
