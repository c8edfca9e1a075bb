"""Spark reads and refuses the same texts as the core does, cell by cell, whatever the declared time."""

from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from dualpath.spark import times
from dualpath.times import POWERS, Time

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
TIMES = (
    Time(),
    Time(truncate=True),
    *(Time(zone=zone) for zone in (BERLIN, NEW_YORK, "Asia/Kolkata", "Australia/Lord_Howe")),
    *(Time(unit=unit) for unit in POWERS),
    *(Time(unit=unit, truncate=True) for unit in POWERS),
    Time(format="dd/MM/yyyy HH:mm:ss", zone=BERLIN),
    Time(format="d.M.yyyy H:mm", zone=NEW_YORK),
    Time(format="yyyyMMddHHmmssSSS"),
    Time(format="yyyyMMdd"),
    Time(format="HH'h'mm, d-MM-yyyy X"),
    Time(format="yyyy-MM-dd HH:mm:ss.SSSSSSSSS XX"),
    Time(format="yyyy-MM-dd'T'HH:mm:ss.SSSSSSSSSXXX", truncate=True),
)
ODD = (
    *("", " ", "now", "today", "epoch", "NaN", "nan", "Infinity", "-inf", "None", "true", "null", "[1]", "{}"),
    *("2026-06-30T23:59:60Z", "2016-12-31 23:59:60", "2026-03-01T24:00:00Z", "2026-03-01T24:00", "24:00"),
    *("2026-02-29T10:00:00", "2024-02-29T10:00:00", "2100-02-29T00:00", "29/02/2100 10:00:00", "31.4.2026 1:00"),
    *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59.999999Z"),
    *("9999-12-31T23:59:59-00:01", "10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "+2026-01-01T00:00:00Z"),
    *("0001-01-01T00:00", "9999-12-31T23:59", "01/01/0001 00:00:00", "31/12/9999 23:59:59", "31.12.9999 23:59"),
    *("00h00, 1-01-0001 +01", "00h00, 1-01-0001 -01", "23h59, 31-12-9999 -01", "23h59, 31-12-9999 +01"),
    *("0001-01-01 00:00:00.000000000 +0001", "9999-12-31T23:59:59.999999999-00:01", "2026-01-01T00:00:00.999900010Z"),
    *("2026-03-01T10:00:00Z\n", "\n2026-03-01T10:00:00Z", " 2026-03-01T10:00:00Z", "2026-03-01t10:00:00z"),
    *("2026-03-01T10:00:00+18:00", "2026-03-01T10:00:00+18:01", "2026-03-01T10:00:00-1800", "2026-03-01T10:00:00-19"),
    *("2026-03-01T10:00:00.Z", "2026-03-01T10:00:00,5Z", "2026-03-01T10Z", "2026-03-01T", "2026-03-01Z", "2026-03-01"),
    *("2026-03-01T10:00:00 Z", "2026-03-01T10:00:00UTC", "2026-03-01T10:00:00 Europe/Berlin", "2026-W10-1", "2026-060"),
    *("٢٠٢٦-03-01T10:00:00Z", "\u0661\u0667\u0660", "2026-02-30T10:00:00.123456789Z", "20260230", "00000301"),
    *("0", "-0", "+0", "-0.0", "0e999", "0e-999", "1e999", "-1e-999", "1e9999", "1e", "1e+", "e9", ".5", "5.", "-"),
    *("1.7e9", "1.7E+9", "17e8", "1700000000123456e-6", "1.700000000123456E9", "1.7000000001234567E9", "--1", "+-1"),
    *("0e19", "-0e5", "1e19", "-1e19", "1e20", "99999999999999999999.9", "9" * 20 + "." + "9" * 18, "1." + "0" * 19),
    *("253402300799.999999", "253402300800", "-62135596800", "-62135596801", "-62135596800.0000001", "-0.0000001"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "999999999999999999", "1" + "0" * 18),
    *("1" * 40, "9" * 400, "0" * 400 + "1", "0." + "0" * 400 + "1", "1_000", "1,5", "0x10", "1 ", " 1", "1\n", "1d"),
)


def texts(random: Random) -> Iterator[str]:
    """Times in every spelling that the declared ones have, some of them damaged; then numbers."""
    for _ in range(3000):
        year, month, day = random.randint(1999, 2100), random.randint(1, 12), random.randint(1, 31)
        if random.random() < 0.5:  # a Sunday on which a clock changes, or the like
            month, day = random.choice(((3, random.randint(8, 31)), (10, random.randint(25, 31)), (11, day % 7 + 1)))
        hour = random.choice((random.randint(0, 24), random.randint(0, 3), 2))
        minute, second = random.choice((0, 30, random.randint(0, 59))), random.choice((0, 59, random.randint(0, 60)))
        digits = "".join(random.choices("0123456789", k=random.randint(1, 10)))
        digits = random.choice((digits, digits[:6] + "000", digits.ljust(9, "0")[:9], digits[:3]))
        sign, east = random.choice("+-"), (random.choice((0, 1, 5, 14, 18, 19)), random.choice((0, 30, 45, 60)))
        offset = f"{sign}{east[0]:02}"
        offset = random.choice(("", "Z", offset, f"{offset}{east[1]:02}", f"{offset}:{east[1]:02}"))
        date, clock = f"{year}-{month:02}-{day:02}", f"{hour:02}:{minute:02}"
        text = random.choice(
            (
                f"{date}{random.choice('T ')}{clock}{random.choice(('', f':{second:02}'))}{offset}",
                f"{date}{random.choice('T ')}{clock}:{second:02}.{digits}{offset}",
                f"{date} {clock}:{second:02}.{digits:0<9} {offset}",
                f"{date}T{clock}:{second:02}.{digits:0<9}{offset}",
                f"{day:02}/{month:02}/{year} {clock}:{second:02}",
                f"{day}.{month}.{year} {hour}:{minute:02}",
                f"{year}{month:02}{day:02}{hour:02}{minute:02}{second:02}{digits[:3]}",
                f"{year}{month:02}{day:02}",
                f"{hour:02}h{minute:02}, {day}-{month:02}-{year} {offset}",
            )
        )
        if random.random() < 0.1:
            at = random.randrange(len(text))
            text = text[:at] + random.choice(("", *"09:-TZ .")) + text[at + 1 :]
        yield text
    for _ in range(1000):
        number = str(random.randint(0, 10 ** random.randint(1, 21)))
        number += random.choice(("", "", f".{random.randint(0, 10 ** random.randint(0, 12))}"))
        exponent = random.choice("eE") + random.choice(("", "+", "-")) + str(random.randint(0, 21))
        number += random.choice(("", "", exponent))
        yield random.choice(("", "", "-", "+")) + number


@pytest.mark.parametrize("ansi", ["true", "false"])
def test_spark_and_the_core_read_and_refuse_the_same_texts(spark: SparkSession, ansi: str) -> None:
    given = [*ODD, *dict.fromkeys(texts(Random(ansi)))]
    text, before = F.col("text"), spark.conf.get("spark.sql.ansi.enabled")
    cells = [
        F.struct(F.unix_micros(times.instant(text, time)).alias("micros"), times.refusal(text, time).alias("refusal"))
        for time in TIMES
    ]
    spark.conf.set("spark.sql.ansi.enabled", ansi)
    try:
        frame = spark.createDataFrame([(each,) for each in given], "text string")
        found = frame.select(*(cell.alias(str(number)) for number, cell in enumerate(cells))).toArrow()
    finally:
        spark.conf.set("spark.sql.ansi.enabled", before)
    wrong, counts = [], Counter[tuple[Time, bool]]()
    for time, column in zip(TIMES, found.columns, strict=True):
        for each, cell in zip(given, column.to_pylist(), strict=True):
            micros = time.micros(each)
            counts[time, micros is None] += 1
            if micros != cell["micros"] or (micros is None and time.refusal(each) != cell["refusal"]):
                wrong.append((time, each, micros, time.refusal(each), cell))
    assert wrong == []
    assert all(counts[time, refused] > 15 for time in TIMES for refused in (False, True)), counts
