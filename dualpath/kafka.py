"""Places of a Kafka message around its payload, for `path=`: its key, a header, the topic and what the broker gave it.

Such a place is a path too. It begins with the reserved member `$kafka`, which a row that does not come from Kafka may
have: `{"$kafka": {"key": "ann", "headers": {"type": "order"}}, ...}`.

>>> from dualpath import kafka
>>> from dualpath.schema import text, timestamp
>>> print(text("user", path=kafka.key), "-", text("type", path=kafka.header("type")))
user ($kafka.key) - type ($kafka.headers.type)
>>> print(text("order", path=kafka.key("id")), "-", timestamp("sent", path=kafka.time))
order ($kafka.key.id) - sent ($kafka.time)
"""

from collections.abc import Iterable
from typing import Final

from dualpath.errors import DeclarationError
from dualpath.paths import EACH, MESSAGE, Steps, parse
from dualpath.signature import declares


class Key(tuple[str | int, ...]):
    """The place of a message's key: its text, or, called with a path, what is there in a key that is a JSON object."""

    def __call__(self, path: str | Iterable[str | int]) -> Steps:
        """The place of a value in a key that is a JSON object, as Debezium's are."""
        if not isinstance(path, Iterable):
            raise DeclarationError(f"kafka.key({path!r}) is no path; name a member, as kafka.key('id').")
        if EACH in (steps := parse(path)):
            raise DeclarationError(f"kafka.key({path!r}) is of several values; name one, as kafka.key('items[0]').")
        return (*self, *steps)


key: Final = Key((MESSAGE, "key"))
topic: Final[Steps] = (MESSAGE, "topic")
partition: Final[Steps] = (MESSAGE, "partition")
offset: Final[Steps] = (MESSAGE, "offset")
time: Final[Steps] = (MESSAGE, "time")
"""The record's time, an instant."""
OF_DELIVERY: Final = frozenset({partition, offset, time})
"""What a message has anew if it is sent again."""
PARTS: Final = ("key", "headers", "topic", "partition", "offset", "time")
"""The members of `$kafka`."""


@declares
def header(name: str) -> Steps:
    """The place of a header's text; the last one of a name counts.

    >>> header("ce_type")
    ('$kafka', 'headers', 'ce_type')
    """
    return parse((MESSAGE, "headers", name))


def is_around(place: Steps) -> bool:
    """Whether a place is around the payload, and not in it."""
    return place[0] == MESSAGE


def of_key(place: Steps) -> Steps:
    """The rest of a path that goes on in a key that is a JSON object; none of any other place."""
    return place[len(key) :] if place[: len(key)] == key else ()


def lasting(places: Iterable[Steps]) -> list[Steps]:
    """Those of some places at which a message that is sent again has what it had.

    >>> lasting([offset, header("n"), parse("n")])
    [('$kafka', 'headers', 'n'), ('n',)]
    """
    return [place for place in places if place not in OF_DELIVERY]


def is_place(place: Steps) -> bool:
    """Whether a message has such a place.

    >>> is_place(key("id")), is_place(header("type")), is_place(parse("$kafka.value"))
    (True, True, False)
    """
    match place:
        case (_, "key", *_):
            return True
        case (_, "headers", str()):
            return True
    return place in (topic, partition, offset, time)
