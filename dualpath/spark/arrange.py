"""The order in which records reach the writer: an entity's rows together, by time."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def arrange(rows: DataFrame) -> DataFrame:
    """Rows of `dualpath.stores.append.INPUT`, each entity in one partition and sorted as the writer needs.

    There are as many partitions as the session shuffles into.
    """
    number = int(rows.sparkSession.conf.get("spark.sql.shuffle.partitions") or 4)
    together = rows.coalesce(1) if number == 1 else rows.repartition(number, "view", "entity")
    # Spark compares a number first of all, and the texts only where it is the same.
    owner = F.xxhash64("view", "epoch", "entity")
    return together.sortWithinPartitions(owner, "view", "epoch", "entity", F.element_at("words", 1))
