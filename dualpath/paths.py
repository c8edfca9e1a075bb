"""Paths: where in a payload a field stands.

The notation is JSONPath's (RFC 9535), as far as it names one value: a member after a point, a member in quotes, and an
index from 0. `$.` in front may be left out. Beyond it, a member after a point may begin with a digit and have `$`,
`@` and `-` in its name. `[*]` is each element of the list whose elements are the events of a source.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dualpath.errors import DeclarationError

Steps = tuple[str | int, ...]
"""The members (texts) and indexes (whole numbers) that lead to a value, from the outside in."""
PLAIN = r"[\w$@-]+"
STEP = re.compile(
    rf'(?P<dot>\.)?(?P<plain>{PLAIN})|\[\s*(?:(?P<index>0|[1-9]\d*)|(?P<each>\*)|(?P<quoted>"(?:[^"\\]|\\.)*"'
    r"|'(?:[^'\\]|\\.)*'))\s*\]"
)
INDEXES = 2**31
"""So many elements a list has at most."""
ELEMENTS = 10_000
"""So many events a payload has at most."""
EACH = -1
"""The step `[*]`: the element that is the event."""
MESSAGE = "$kafka"
"""The first step of a place around a payload, in the message that carried it (`dualpath.kafka`)."""
HOW = """write members as a.b, an element as a[0], and any other name in quotes, as a["unit price"]"""


@dataclass(frozen=True)
class FirstOf:
    """Several places; a field is read at the first that has a value, so payloads may have it at an old or a new one."""

    places: tuple[Steps, ...]

    called: ClassVar[str] = "first_of(...)"


def first_of(*paths: str | Iterable[str | int]) -> FirstOf:
    """Where a field stands in some payloads, else where it stands in others: `text("sku", path=first_of(...))`.

    A payload that has a value at several of them is read at the first. Raises `DeclarationError` for a path that names
    no value, and for one that is there twice.

    >>> first_of("product.sku", "product_id").places
    (('product', 'sku'), ('product_id',))
    """
    places = tuple(map(parse, paths))
    if not places or len({*places}) < len(places):
        raise DeclarationError("first_of(...) needs a path or several, each once; remove what is twice.")
    return FirstOf(places)


def parse(path: str | Iterable[str | int]) -> Steps:
    """The steps of a path, a text or a list of them; raises `DeclarationError` if it does not name one value.

    >>> parse("context.user.id"), parse("$.items[0].price")
    (('context', 'user', 'id'), ('items', 0, 'price'))
    >>> parse('["unit price"].$amount') == parse(["unit price", "$amount"])
    True
    >>> parse("items[*].price") == ("items", EACH, "price")
    True
    >>> parse("items[1:3].price")
    Traceback (most recent call last):
    dualpath.errors.DeclarationError: the path 'items[1:3].price' cannot be read from '[1:3].price' on; write members \
as a.b, an element as a[0], and any other name in quotes, as a["unit price"].
    """
    steps = _read(path) if isinstance(path, str) else tuple(path)
    if not steps or not isinstance(steps[0], str):
        raise DeclarationError(f"the path {path!r} does not begin with a member, and a payload is an object; {HOW}.")
    for step in steps:
        if isinstance(step, int) and not (0 <= step < INDEXES or (step == EACH and isinstance(path, str))):
            raise DeclarationError(f"the path {path!r} has the index {step}; elements count from 0, up to 2147483647.")
        if isinstance(step, str) and re.search("[\ud800-\udfff]", step):
            raise DeclarationError(f"the path {path!r} has a member whose name is no Unicode text; correct it.")
    return steps


def _read(path: str) -> Steps:
    rest = re.sub(r"\A\$(?=[.\[]|\Z)", "", path)
    steps: list[str | int] = []
    first, at = rest is path, 0
    while at < len(rest):
        found = STEP.match(rest, at)
        # A member in a path needs a point, but for the first one.
        if found is None or (found["plain"] is not None and (found["dot"] is None) != (first and not steps)):
            raise DeclarationError(f"the path '{path}' cannot be read from '{rest[at:]}' on; {HOW}.")
        if found["plain"] is not None:
            steps.append(found["plain"])
        elif found["each"]:
            steps.append(EACH)
        else:
            steps.append(int(found["index"]) if found["index"] else _unquoted(found["quoted"], path))
        at = found.end()
    return tuple(steps)


def _unquoted(quoted: str, path: str) -> str:
    body = quoted[1:-1]
    if quoted[0] == "'":
        body = re.sub(r"""\\(.)|(")""", lambda m: "'" if m[1] == "'" else '\\"' if m[2] else m[0], body)
    try:
        name: str = json.loads(f'"{body}"')
    except ValueError:
        raise DeclarationError(
            f"the path '{path}' has the member {quoted}, which is no text of JSON; write \\\\ for a backslash."
        ) from None
    return name


def written(steps: Sequence[str | int]) -> str:
    """A path as text, always in one form; `parse` is the inverse.

    >>> written(["order", "unit price", 0, "$amount"])
    'order["unit price"][0].$amount'
    """
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += "[*]" if step == EACH else f"[{step}]"
        # A first step that is only a dollar sign would be the root.
        elif re.fullmatch(PLAIN, step) and step != "$":
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(step, ensure_ascii=False)}]"
    return text


def walk(payload: Any, steps: Sequence[str | int]) -> Any:
    """The value at a path of a parsed payload, of dicts and lists; None where there is none.

    None: a member or an element is missing or null, or something else stands where an object or a list should. If one
    element of a list is neither null nor what the next step needs, all of the list is as if missing: Spark's parser
    gives up such a list, and one of lists with it.

    A parsed payload has the last of a member that was written twice. Spark has the last that fits the declaration.

    >>> payload = {"user": {"id": 7}, "items": [{"price": 5}, {"price": 6}]}
    >>> walk(payload, ["user", "id"]), walk(payload, ["items", 1, "price"]), walk(payload, ["items", 2, "price"])
    (7, 6, None)
    >>> walk({"user": "ann"}, ["user", "id"]), walk({"items": [{"price": 5}, "none"]}, ["items", 0, "price"])
    (None, None)
    """
    found = payload
    for at, step in enumerate(steps):
        if not _fits(found, steps[at:]):
            return None
        here = range(len(found)) if isinstance(step, int) else found
        if step not in here or (found := found[step]) is None:
            return None
    return found


def first_value(places: Iterable[Steps], read: Callable[[Steps], Any]) -> Any:
    """The value at the first of several places that has one; None: none has. `read` gives the value at a place.

    >>> payload = {"product_id": "p1", "product": {"sku": None}}
    >>> first_value([("product", "sku"), ("product_id",)], lambda place: walk(payload, place))
    'p1'
    """
    return next((found for steps in places if (found := read(steps)) is not None), None)


def _fits(value: Any, steps: Sequence[str | int]) -> bool:
    """Whether a value is what steps need: an object, or a list with nothing in it that they cannot pass."""
    if not steps:
        return True
    if isinstance(steps[0], str):
        return isinstance(value, Mapping)
    return isinstance(value, list | tuple) and all(each is None or _fits(each, steps[1:]) for each in value)


def inside(place: Steps, each: Steps) -> Steps | None:
    """The rest of a path that begins at each element of the list `each`; None for a path of the whole payload.

    >>> inside(parse("items[*].price"), parse("items")), inside(parse("user.id"), parse("items"))
    (('price',), None)
    """
    head = (*each, EACH)
    return place[len(head) :] if each and place[: len(head)] == head else None


def value(payload: Any, place: Steps, each: Steps, element: Any) -> Any:
    """The value of one event of a payload: of `element` if the path begins at each element of the list, else `walk`'s.

    An element that is a text with JSON in it is read as that JSON. Around a payload a blank text is none.

    >>> order = {"user": "ann", "items": [{"price": 5}, {"price": 6}]}
    >>> [value(order, parse(path), parse("items"), order["items"][1]) for path in ("user", "items[*].price")]
    ['ann', 6]
    """
    rest = inside(place, each)
    if rest is None:
        found = walk(payload, place)
        blank = place[0] == MESSAGE and isinstance(found, str) and not found.strip(" ")
        return None if blank else found
    return walk(opened(element) if rest else element, rest)


def opened(element: Any) -> Any:
    """An element of a list of events, or, if it is a text with JSON in it, that JSON."""
    if not isinstance(element, str):
        return element
    try:
        return json.loads(element)
    except ValueError:
        return None
