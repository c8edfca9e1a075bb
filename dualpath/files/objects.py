"""Objects of a store: paths, and the two conditional puts that decide between writers.

A store has no locks and no rename. It can put an object if there is none of its name, and replace one if it is still
the one that was read; both are atomic. `obstore` does it for S3, Google Cloud Storage and Azure.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import uuid4

import fsspec
import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError
from obstore.store import from_url
from upath.implementations.cloud import CloudPath
from upath.registry import register_implementation

from dualpath.errors import InputError, UnavailableError

SCHEMES = ("s3", "gs", "abfss")
RETRIES = {
    "max_retries": 30,
    "retry_timeout": timedelta(minutes=1),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
}
"""How long a request is repeated while a store is away or says that it is asked too much."""
ASKED = re.compile(r"Error performing ((?:GET|HEAD|PUT|POST|DELETE) .*)")
CODE = re.compile(r"<Code>(\w+)</Code>")
_updated: dict[str, tuple[str, str]] = {}
"""The text and the tag of what this process has put in place of an object last."""
DRAWN = re.compile(r"\x1b\[\d+m|\u21b3")
"""What delta-rs draws between an error and its causes."""


class ObjectPath(CloudPath):
    """A path of an object store: what `pathlib` has, without rename and links."""

    __slots__ = ()

    @classmethod
    def _fs_factory(cls, urlpath: str, protocol: str, storage_options: Mapping[str, Any]) -> fsspec.AbstractFileSystem:
        return store_of(protocol)

    def read_bytes(self) -> bytes:
        """All of it; raises `FileNotFoundError` if there is none."""
        return content(self)[0]

    def read_text(self, encoding: str | None = None, errors: str | None = None, newline: str | None = None) -> str:
        """The same as text."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def states(self) -> Iterator[tuple[str, int, int]]:
        """What `below` has: the name below this one, bytes, and when it was put, seconds: stores tell no more in all of
        their answers."""
        store, name = _split(self)
        for page in obstore.list(store, f"{name}/"):
            for each in page:
                if each["path"] != name:  # Spark puts an object that stands for the folder itself
                    yield each["path"].removeprefix(f"{name}/"), each["size"], int(each["last_modified"].timestamp())

    def below(self) -> Iterator["ObjectPath"]:
        """Every object whose name begins with this one's and a slash."""
        return (self / name for name, *_ in self.states())

    def remove(self) -> None:
        """Remove all of them."""
        store, name = _split(self)
        obstore.delete(store, [f"{name}/{each}" for each, *_ in self.states()])


for each in SCHEMES:
    register_implementation(each, ObjectPath, clobber=True)


def opened(text: str) -> ObjectPath:
    """The path that a text names; raises `InputError` for a scheme that is not known."""
    if scheme(text) not in SCHEMES:
        raise InputError(f"{text}: data can be in a folder, or at s3://, gs:// or abfss://.")
    return ObjectPath(text.rstrip("/"))


def scheme(text: str) -> str:
    """What stands before "://".

    >>> scheme("s3://bucket/data")
    's3'
    """
    return text.partition("://")[0]


@cache
def store_of(scheme: str) -> fsspec.AbstractFileSystem:
    """The file system of all stores of a scheme."""
    from obstore.fsspec import FsspecStore

    made: Any = FsspecStore  # its overloads ask for literals
    return made(scheme, client_options=_client(os.environ), retry_config=RETRIES)


def create(file: ObjectPath, content: bytes) -> bool:
    """Put an object if there is none of its name; answers whether it did. `content` is nobody else's."""
    store, name = _split(file)
    try:
        obstore.put(store, name, content, mode="create")
    except AlreadyExistsError:
        # A put is repeated when its answer was lost, and the second one is refused.
        return file.read_bytes() == content
    return True


def state(file: ObjectPath) -> tuple[int, int, str | None]:
    """An object's bytes, when it was put, seconds, and its tag; raises `FileNotFoundError` if there is none."""
    store, name = _split(file)
    found = obstore.head(store, name)
    return found["size"], int(found["last_modified"].timestamp()), found["e_tag"]


def put(file: ObjectPath, content: bytes) -> None:
    """Put an object, in place of the one that may be there."""
    store, name = _split(file)
    obstore.put(store, name, content)


def move(file: ObjectPath, to: ObjectPath, *, may_stay: bool = False) -> None:
    """Give an object another name in its bucket, in place of the one that may have it: a copy, then it goes, unless it
    `may_stay`."""
    (store, name), (_, new) = _split(file), _split(to)
    (obstore.copy if may_stay else obstore.rename)(store, name, new)


def update(file: ObjectPath, change: Callable[[str], str]) -> str:
    """Replace an object's text (empty: there is none) by what `change` makes of it; answers what is there then.

    If another has replaced it meanwhile, `change` is asked again. What it makes is nobody else's, or may be made twice.
    What this process has put last is not read again: if it is not there any more, it cannot be replaced.
    """
    known = _updated.get(str(file))
    before, tag = known or read(file)
    while True:
        after = change(before)
        if after != before:
            if (made := replace(file, after, tag)) is not None:
                _updated[str(file)] = after, made
                return after
        elif known is None:
            return after
        known, (before, tag) = None, read(file)


def read(file: ObjectPath) -> tuple[str, str | None]:
    """The text of an object and its tag, for `replace`; empty and None: there is none."""
    try:
        found, tag = content(file)
        return found.decode(), tag
    except FileNotFoundError:
        return "", None


def content(file: ObjectPath) -> tuple[bytes, str | None]:
    """All of an object and its tag; raises `FileNotFoundError` if there is none."""
    store, name = _split(file)
    found = obstore.get(store, name)
    return bytes(found.bytes()), found.meta["e_tag"]


def replace(file: ObjectPath, by: str | bytes, tag: str | None) -> str | None:
    """Put an object if it still has a tag (None: if there is none); answers its new tag, None: another was faster.

    What is put is nobody else's, or may be put twice.
    """
    store, name = _split(file)
    new = by.encode() if isinstance(by, str) else by
    try:
        return obstore.put(store, name, new, mode="create" if tag is None else {"e_tag": tag})["e_tag"]
    except FileNotFoundError:
        if tag is None:  # it is the bucket that is not there
            raise
        return None
    except (AlreadyExistsError, PreconditionError):
        # A put is repeated when its answer was lost, and the second one is refused.
        try:
            present, found = content(file)
        except FileNotFoundError:
            return None
        return found if present == new else None


def check(folder: ObjectPath) -> None:
    """Raise `UnavailableError` unless a store can be used, and decides between writers as it must."""
    probe = folder / f".probe-{uuid4().hex}"
    try:
        made, again = create(probe, b"1"), create(probe, b"2")
        _, tag = read(probe)
        replaced, late = replace(probe, "3", tag), replace(probe, "4", tag)
        probe.unlink()
    except Exception as error:
        if said := failure(error):
            raise UnavailableError(said) from None
        raise
    if not made or again or replaced is None or late is not None:
        raise UnavailableError(
            f"{folder}: this store puts an object though a condition forbids it, so of two writers one would be lost; "
            "use one with conditional puts (If-None-Match and If-Match)."
        )


def failure(error: BaseException) -> str | None:
    """The sentence about a store that cannot be used; None for another error.

    >>> failure(OSError("Generic S3 error: Error performing GET http://host/b after 9 retries - HTTP error: refused"))
    'The object store cannot be used (GET http://host/b after 9 retries - HTTP error: refused). See that it runs, and \
that its address, region, key and secret in the environment are right (AWS_ENDPOINT_URL, AWS_REGION, ...).'
    """
    text = DRAWN.sub("", str(error)).strip()
    asked, code = ASKED.search(text), CODE.search(text)
    if not type(error).__module__.startswith("obstore") and not asked and not text.startswith("Generic "):
        return None
    if "404 Not Found" in text and not (code and code[1] == "NoSuchBucket"):
        return None  # an object that is not there
    what = asked[1] if asked else (text.splitlines() or [""])[0]
    what = f"{what.partition(': <')[0].rstrip('. :')}{f': {code[1]}' if code else ''}"
    return (
        f"The object store cannot be used ({what}). See that it runs, and that its address, region, key "
        "and secret in the environment are right (AWS_ENDPOINT_URL, AWS_REGION, ...)."
    )


def without_tls(environ: Mapping[str, str]) -> bool:
    """Whether the endpoint is one without encryption, as a test's."""
    return environ.get("AWS_ENDPOINT_URL", "").startswith("http://")


def _client(environ: Mapping[str, str]) -> Any:
    return {"allow_http": True} if without_tls(environ) else {}


def _split(file: ObjectPath) -> tuple[Any, str]:
    bucket, _, name = file.path.partition("/")
    return _bucket(file.protocol, bucket), name


@cache
def _bucket(scheme: str, bucket: str) -> Any:
    made: Any = from_url  # it asks for the options of one scheme
    return made(f"{scheme}://{bucket}", client_options=_client(os.environ), retry_config=RETRIES)
