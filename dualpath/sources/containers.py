"""Makes payloads of the records of Avro container files, block by block."""

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any, BinaryIO

from dualpath.decoders.base import Refused
from dualpath.errors import InputError, UnavailableError
from dualpath.extras import require

CODECS = ("null", "deflate", "bzip2", "xz")
SNAPPY, SNAPPY_MODULE = "snappy", "cramjam"


def avro(stream: BinaryIO, what: str, fitting: Callable[[Sequence[str]], list[str]]) -> Iterator[bytes]:
    """The records of a container file as lines of JSON, of the members that `fitting` chooses.

    Values are written as those of Avro messages are (`dualpath.decoders.avro_values`); a null leaves its member out.
    Holds one block in memory.

    Raises `InputError`, which begins with `what`, the file's name: at once for a beginning that is no container's, a
    codec that is not read here, and a schema that is no record or cannot be used; later for a broken block, with its
    place. Raises `UnavailableError` if the extra for Avro, or the package for snappy, is not installed.
    """
    require("avro")
    import fastavro

    from dualpath.decoders.avro_schema import records

    try:
        blocks = fastavro.block_reader(stream)
        schema, codec = blocks.metadata["avro.schema"], blocks.codec
    except Exception as error:  # of bytes that are anything
        raise InputError(f"{what} cannot be read as Avro ({_said(error)}); nothing was landed.") from None
    _check(codec, what)
    try:
        names, read = records(schema)
    except Refused as error:
        raise InputError(f"{what}: its Avro schema {error}. Nothing was landed.") from None
    return _lines(_records(stream, blocks, read, what), fitting(names))


def _check(codec: str, what: str) -> None:
    """Raise unless blocks of this codec can be read."""
    if codec == SNAPPY and find_spec(SNAPPY_MODULE) is None:
        raise UnavailableError(
            f"{what} is compressed by snappy, and {SNAPPY_MODULE} is not installed. Run: pip install {SNAPPY_MODULE}"
        )
    if codec not in (*CODECS, SNAPPY):
        raise InputError(
            f"{what} is compressed by {codec}, which is not read here; write it with {', '.join(CODECS)} or {SNAPPY}. "
            "Nothing was landed."
        )


def _lines(found: Iterator[dict[str, Any]], columns: Sequence[str]) -> Iterator[bytes]:
    from dualpath.decoders.avro_schema import dumps

    for record in found:
        kept = {name: record[name] for name in columns if record[name] is not None}
        yield dumps(kept).encode() + b"\n"


def _records(
    stream: BinaryIO, blocks: Iterator[Any], read: Callable[[bytes, int], Iterator[dict[str, Any]]], what: str
) -> Iterator[dict[str, Any]]:
    place = stream.tell()
    while True:
        try:
            block = next(blocks, None)
            found = [] if block is None else [*read(block.bytes_.read(), block.num_records)]
        except Exception as error:  # of bytes that are anything
            raise InputError(
                f"{what}: the block at byte {place:,} cannot be read ({_said(error)}), so the file is broken or not "
                "whole; write it again. Nothing was landed."
            ) from None
        if block is None:
            return
        yield from found
        place = stream.tell()


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
