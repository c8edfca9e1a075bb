"""Buckets of record files: a file has the records of some entities alone, so a read opens few files or few at a time.

The bucket is the last bits of Spark's `xxhash64` of the entity. A file's partition has it, and how many buckets there
were when it was written: `bucket=3-of-8/`. One of `bucket=all/` has records of all entities, as small days have.
"""

import re

import numpy as np
import pyarrow as pa
import xxhash

from dualpath.words import SEED

BUCKETS = 8
"""A power of two, as every number of buckets that a file was ever written with."""
ALL = "all"
"""Instead of a bucket, of records of all entities."""
NAME = re.compile(r"/bucket=(\d+)-of-(\d+)/")


def of(entities: pa.Array) -> np.ndarray:
    """The bucket of each entity, int64[n]; nulls are refused.

    >>> of(pa.array(["ann", "cid", "zoe"])).tolist()
    [3, 2, 6]
    """
    digests = [xxhash.xxh64_intdigest(entity, seed=SEED) % BUCKETS for entity in entities.cast(pa.binary()).to_pylist()]
    return np.array(digests, dtype=np.int64)


def partition(bucket: str) -> str:
    """What a partition of a bucket, or of `ALL`, is called.

    >>> partition("3"), partition(ALL)
    ('3-of-8', 'all')
    """
    return ALL if bucket == ALL else f"{bucket}-of-{BUCKETS}"


def is_whole(path: str) -> bool:
    """Whether a file has records of all entities."""
    return not NAME.search(path)


def has(path: str, bucket: int) -> bool:
    """Whether a file may have records of a bucket.

    >>> has("d/bucket=3-of-8/0.parquet", 3), has("d/bucket=3-of-8/0.parquet", 4), has("d/bucket=all/0.parquet", 4)
    (True, False, True)
    >>> has("d/bucket=1-of-2/0.parquet", 3), has("d/bucket=11-of-16/0.parquet", 3)
    (True, True)
    """
    found = NAME.search(path)
    return not found or (bucket - int(found[1])) % min(int(found[2]), BUCKETS) == 0
