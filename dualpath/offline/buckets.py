"""Buckets of record files: a file has the records of some entities alone, so a read opens few files or few at a time.

The bucket is the last bits of Spark's `xxhash64` of the entity. A file's name has it, and how many buckets there were
when it was written: `bucket-3-of-8-part-0.parquet`. A file without one has records of all entities: small days have
such files, and so has what earlier versions wrote.
"""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash

from dualpath.words import SEED

BUCKETS = 8
"""A power of two, as every number of buckets that a file was ever written with."""
ALL = "all"
"""Instead of a bucket, of records of all entities."""
NAME = re.compile(r"bucket-(\d+)-of-(\d+)-")


def of(entities: pa.Array) -> np.ndarray:
    """The bucket of each entity, int64[n]; nulls are refused.

    >>> of(pa.array(["ann", "cid", "zoe"])).tolist()
    [3, 2, 6]
    """
    digests = [xxhash.xxh64_intdigest(entity, seed=SEED) % BUCKETS for entity in entities.cast(pa.binary()).to_pylist()]
    return np.array(digests, dtype=np.int64)


def prefix(bucket: str) -> str:
    """How the name of a file of a bucket, or of `ALL`, begins.

    >>> prefix("3"), prefix(ALL)
    ('bucket-3-of-8-', '')
    """
    return "" if bucket == ALL else f"bucket-{bucket}-of-{BUCKETS}-"


def is_whole(path: str) -> bool:
    """Whether a file has records of all entities."""
    return not NAME.match(Path(path).name)


def has(path: str, bucket: int) -> bool:
    """Whether a file may have records of a bucket.

    >>> has("bucket-3-of-8-0.parquet", 3), has("bucket-3-of-8-0.parquet", 4), has("0.parquet", 4)
    (True, False, True)
    >>> has("bucket-1-of-2-0.parquet", 3), has("bucket-11-of-16-0.parquet", 3)
    (True, True)
    """
    found = NAME.match(Path(path).name)
    return not found or (bucket - int(found[1])) % min(int(found[2]), BUCKETS) == 0
