"""Spark takes and refuses the same texts as the core does, with the same words, whatever the field's options."""

from collections import Counter
from random import Random

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dualpath.admission import refusal, value
from dualpath.field import Field
from dualpath.spark import fields
from parity_tests.written import FIELDS, ODD, texts


@pytest.mark.parametrize("ansi", ["true", "false"])
def test_spark_and_the_core_take_and_refuse_the_same_texts(spark: SparkSession, ansi: str) -> None:
    written = [None, *dict.fromkeys([*ODD, *texts(Random(ansi))])]
    raw, before = F.col("raw"), spark.conf.get("spark.sql.ansi.enabled")
    spark.conf.set("spark.sql.ansi.enabled", ansi)
    try:
        frame = spark.createDataFrame([(each,) for each in written], "raw string")
        wrong, counts = [], Counter[tuple[Field, bool]]()
        for first in range(0, len(FIELDS), 8):
            some = FIELDS[first : first + 8]
            typed = [fields.value(raw, field).alias(f"v{at}") for at, field in enumerate(some)]
            said = [fields.refusal(raw, F.col(f"v{at}"), field).alias(f"r{at}") for at, field in enumerate(some)]
            found = frame.select("raw", *typed).select("*", *said).toArrow()
            for at, field in enumerate(some):
                is_time = field.kind == "timestamp"
                values = found[f"v{at}"].cast("int64") if is_time else found[f"v{at}"]
                cells = zip(written, values.to_pylist(), found[f"r{at}"].to_pylist(), strict=True)
                for each, in_spark, refused in cells:
                    counts[field, refused is None] += 1
                    same = repr(in_spark) == repr(value(each, field)) or refused
                    if not same or refused != refusal(each, field):
                        wrong.append((field, each, in_spark, refused, value(each, field), refusal(each, field)))
    finally:
        spark.conf.set("spark.sql.ansi.enabled", before)
    assert wrong[:20] == []
    loose = [field for field in FIELDS if field.kind != "text" or field.choices]
    assert all(counts[field, False] > 15 and counts[field, True] > 0 for field in loose)
