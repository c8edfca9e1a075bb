"""What Python asks the JVM."""

import pytest
from py4j.java_gateway import JavaClass, JVMView
from pyspark.sql import SparkSession
from pyspark.sql import functions as F


def test_a_function_of_spark_is_looked_up_once(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    def expression() -> str:
        return str(F.coalesce(F.col("a"), F.upper("b"), F.lit(1)))

    def look_up(owner: object, name: str) -> None:
        raise AssertionError(f"the JVM is asked for {name} again")

    first = expression()
    for owner in (JVMView, JavaClass):
        monkeypatch.setattr(owner, "__getattr__", look_up)
    assert expression() == first == "Column<'coalesce(a, upper(b), 1)'>"
