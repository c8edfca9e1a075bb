"""Looks up Spark's functions in the JVM once.

PySpark asks the JVM what `functions` is, and what `functions.col` is, with every call of `F.col`: two fifths of what a
stream says to the JVM when it starts and makes a batch. Names without a package are searched in all jars each time.
"""

from typing import Any

from pyspark.sql import SparkSession

CLASSES = ("org.apache.spark.sql.functions", "functions", "PythonUtils")
"""As PySpark spells them."""


class Members:
    """A class of the JVM, of which each static member is looked up at its first use."""

    def __init__(self, found: Any) -> None:
        self._found = found

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._found, name)
        setattr(self, name, member)
        return member


def remember(spark: SparkSession) -> None:
    """Let this process keep what it has looked up; what is kept already stays."""
    view: Any = spark._jvm
    for name in CLASSES:
        if name not in vars(view):
            setattr(view, name, Members(getattr(view, name)))
