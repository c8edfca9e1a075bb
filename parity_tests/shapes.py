"""Draws sources of any shape, and payloads that are nearly as declared."""

import json
from copy import deepcopy
from random import Random
from typing import Any

from dualpath import kafka
from dualpath.changes import Changes
from dualpath.declare import event_source
from dualpath.errors import DeclarationError
from dualpath.field import Field
from dualpath.paths import Steps, first_of
from dualpath.schema import EventSource, boolean, decimal, double, identifier, integer, text, timestamp

NAMES = ("a", "A", "b", "unit price", "$id", "größe", "\u017f", "x.y", "")
LISTS = ("items", "order.lines", '["the list"]')
USUAL: dict[str, tuple[Any, ...]] = {
    "text": ("a", "b", "Zoë 😀", "x y", "7", 7),
    "integer": (0, 1, -3, 10**15, "12", "+4"),
    "identifier": (1, 2**63 - 1, -(2**53) - 1, "0007"),
    "decimal": (1, 0.25, "12.50", "-0.01", "19.990"),
    "double": (1.5, -0.25, 3, "2.5e3", "5e-324"),
    "boolean": (True, False, "true", "false"),
}
TIMES: dict[str | None, tuple[Any, ...]] = {
    None: ("2026-03-01T10:00:00Z", "2026-03-01 11:00:00.25+01:00", "2026-03-02T09:59:59.999999Z", "2026-03-01T10:00"),
    "s": (1772359200, "1772359200.5", 1772445600),
    "ms": (1772359200000, "1772359200001", 1772445600123),
    "dd/MM/yyyy HH:mm": ("01/03/2026 10:00", "02/03/2026 09:59"),
}
ODD: tuple[Any, ...] = (
    *(
        None,
        "",
        " ",
        "\t",
        "yes",
        "NaN",
        "1e400",
        "1.005",
        "3.0",
        3.0,
        1.5,
        True,
        [],
        {},
        [1],
        [None],
        {"a": 1},
        "\uff19",
    ),
    *(2**63, -(2**63), 2**64, 10**15 + 1, "-", "0x10", "2026-02-30T10:00:00Z", "1970-01-01T00:00:00Z", -5, "x" * 200),
    *("9999-12-31T00:00:00Z", "2026-03-01T10:00:00.1234567Z", '{"a":1}', "[]", "\0", "null", "2026-03-01", 17723592),
)


AROUND: tuple[Steps, ...] = (
    *(kafka.key, kafka.key("id"), kafka.key('a["unit price"]'), kafka.key("before.id")),
    *(kafka.header("type"), kafka.header("Type"), kafka.header("ce-id")),
    *(kafka.topic, kafka.partition, kafka.offset),
)
CLOCKS = ("2026-03-01T10:00:00.000Z", "2026-03-01T11:30:00.007Z", "2026-03-02T09:59:59.999Z")
BYTES: tuple[bytes | None, ...] = (None, b"", b" ", b"\xff\xfe", b"[1]", b'{"id":', b"7", b"{}", b'{"id":9} x', b"a")


def place(random: Random, each: str | None) -> str | Steps:
    """A path of the payload, around it, or of each element."""
    if each is None and random.random() < 0.3:
        return random.choice(AROUND)
    steps = [random.choice(NAMES) for _ in range(random.choice((1, 1, 2, 3)))]
    path = "".join(f"[{json.dumps(step)}]" for step in steps)
    if random.random() < 0.2:
        path += f"[{random.randrange(2)}]" + random.choice(("", ".v"))
    return f"{each}[*]{path if random.random() < 0.9 else '.v'}" if each else path


def declared_field(random: Random, name: str, each: str | None) -> Field:
    side = each if random.random() < 0.6 else None
    path: Any = place(random, side)
    if random.random() < 0.25:
        path = first_of(path, random.choice(AROUND) if side is None and random.random() < 0.3 else other(random, side))
    options: dict[str, Any] = {"path": path, "required": random.random() < 0.3}
    kind = random.choice((text, integer, identifier, decimal, double, boolean, timestamp))
    if random.random() < 0.4:
        options["empty_is_null"] = True
    if kind in (integer, identifier, decimal, double, boolean) and random.random() < 0.4:
        options["lenient"] = True
    if kind is decimal:
        options |= {"scale": random.randrange(4), "rounded": random.random() < 0.4}
    if kind is text and random.random() < 0.4:
        options["choices"] = ("a", "b", "7")
    return declared_time(random, name, **options) if kind is timestamp else kind(name, **options)


def other(random: Random, each: str | None) -> str:
    """A path that no other field has."""
    return f"{each}[*].other{random.randrange(3)}" if each else f"other{random.randrange(3)}"


def versioned(random: Random, each: str | None) -> dict[str, Any]:
    """Fields that name a row and its version, and changes in which a row may move."""
    side = f"{each}[*]." if each and random.random() < 0.7 else ""

    def both(name: str) -> Any:
        ways = [f"{side}after.{name}", f"{side}before.{name}", f"{side}before.old.{name}"]
        first: Any = kafka.key("id") if not side and random.random() < 0.3 else ways[0]
        return first_of(first, *ways[1 : random.choice((2, 3))])

    fields = [
        random.choice((text, integer, identifier))("row", path=both("id"), required=True),
        text("user", path=both("user"), required=True, choices=random.choice(((), ("a", "b")))),
        integer("lsn", path=f"{side}lsn", required=True, lenient=True),
    ]
    return {"fields": fields, "changes": Changes("row", version="lsn", before=f"{side}before")}


def declared_time(random: Random, name: str, **options: Any) -> Field:
    if random.random() < 0.15:
        return timestamp(name, path=kafka.time, **{k: v for k, v in options.items() if k == "required"})
    how = random.choice(tuple(TIMES))
    form = {"unit": how} if how in ("s", "ms") else {"format": how} if how else {}
    return timestamp(name, **form, truncate=random.random() < 0.3, **options)


def declared_source(random: Random) -> EventSource:
    """A source of any shape that may be declared."""
    each = random.choice((None, None, *LISTS))
    while True:
        try:
            fields = [declared_field(random, f"f{n}", each) for n in range(random.randrange(2, 6))]
            known: dict[str, Any] = {"fields": fields, "each": each}
            if random.random() < 0.4:
                known |= versioned(random, each)
                known["fields"] += fields
            asked = next((f for f in fields if f.kind in ("text", "integer", "boolean")), None)
            if asked and random.random() < 0.5:
                sql = {"text": "{0} = 'a' OR {0} IS NULL", "integer": "{0} > 0", "boolean": "NOT {0}"}[asked.kind]
                known["where"] = sql.format(asked.name)
            known["event_id"] = random.choice(("id", text("id", path=place(random, None)), None))
            if each and random.random() < 0.5:
                known["event_id"] = text("id", path=f"{each}[*].id")
            known["occurrence"] = random.choice((None, None, "line"))
            known["event_time"] = random.choice(("ts", declared_time(random, "ts", path=place(random, each))))
            known["arrival_time"] = random.choice((None, "at", declared_time(random, "at")))
            return event_source("drawn", **known)
        except DeclarationError:
            continue  # a place twice, or two of which one is within the other's list


def usual(field: Field) -> tuple[Any, ...]:
    """What payloads have of a field."""
    if field.kind == "timestamp":
        return TIMES[field.time.unit or field.time.format]
    return field.choices or USUAL[field.kind]


def odd(random: Random) -> Any:
    return deepcopy(random.choice(ODD))


def put(node: Any, steps: Steps, value: Any) -> None:
    """Put a value into a tree; what stands in its way stays."""
    for at, step in enumerate(steps):
        if not isinstance(node, list if isinstance(step, int) else dict):
            return
        if isinstance(step, int):
            node.extend([None] * (step + 1 - len(node)))
        last = at == len(steps) - 1
        below: Any = value if last else [] if isinstance(steps[at + 1], int) else {}
        if last or (node[step] if isinstance(step, int) else node.get(step)) is None:
            node[step] = below
        node = node[step]


def tree(random: Random, source: EventSource) -> Any:
    """A payload that is nearly as declared."""
    payload: Any = {}
    if source.each:
        put(payload, source.each, [{} for _ in range(random.randrange(4))])
    for what, member in [*source.members.items(), *((f.name, f) for f in source.fields)]:
        if random.random() < 0.03:
            continue
        pool = TIMES[member.time.unit or member.time.format] if what.endswith("_time") else usual(member)
        for steps in member.places if random.random() < 0.3 else [random.choice(member.places)]:
            each = range(3) if -1 in steps else (0,)
            for n in each:
                value = odd(random) if random.random() < 0.06 else random.choice(pool)
                real = tuple(n if step == -1 else step for step in steps)
                if -1 not in steps or n < len(listed(payload, source.each)):
                    put(payload, real, value)
    if random.random() < 0.25:
        spoil(random, payload)
    return payload


def listed(payload: Any, steps: Steps) -> list[Any]:
    for step in steps:
        payload = payload.get(step) if isinstance(payload, dict) else None
    return payload if isinstance(payload, list) else []


def spoil(random: Random, node: Any) -> None:
    """Replace or remove something anywhere in a payload."""
    while isinstance(node, dict | list) and node:
        at = random.choice(list(node) if isinstance(node, dict) else range(len(node)))
        if random.random() < 0.5:
            if isinstance(node, dict) and random.random() < 0.4:
                del node[at]
            else:
                node[at] = odd(random)
            return
        node = node[at]


def message(random: Random, around: Any) -> dict[str, Any]:
    """A message of Kafka that has around its payload what was drawn for it, or nearly so."""
    around = around if isinstance(around, dict) else {}

    def sent(value: Any) -> bytes | None:
        if random.random() < 0.05:
            return random.choice(BYTES)
        return None if value is None else value.encode() if isinstance(value, str) else json.dumps(value).encode()

    headers = around.get("headers")
    pairs = [*headers.items()] if isinstance(headers, dict) else []
    pairs += [(random.choice(("type", "Type", "ce-id", "x")), "b") for _ in range(random.choice((0, 0, 0, 1)))]
    return {
        "key": sent(around.get("key")),
        "headers": [(name, sent(value)) for name, value in pairs],
        "topic": random.choice(("a", "t-1")),
        "partition": str(random.randrange(3)),
        "offset": str(random.randrange(10**10)),
        "time": random.choice(CLOCKS),
    }


def written(random: Random, payload: Any) -> bytes:
    said = json.dumps(payload, ensure_ascii=random.random() < 0.3).encode()
    chance = random.random()
    if chance < 0.02:
        return said[: random.randrange(len(said))]
    if chance < 0.04:
        at = random.randrange(len(said))
        return said[:at] + random.choice((b"\xff", b"\xc3", b"\xed\xa0\x80")) + said[at:]
    if chance < 0.05:
        return random.choice((b"", b"[" * 5_000, b"null", b'"text"', b"[1]", said + said, b"\xef\xbb\xbf" + said))
    return said
