"""The order in which records reach the writer: an entity's rows together, by time."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def arrange(rows: DataFrame) -> DataFrame:
    """Rows of `dualpath.stores.append.INPUT`, each entity in one partition and sorted as the writer needs."""
    partitions = int(rows.sparkSession.conf.get("spark.sql.shuffle.partitions") or 4)
    return rows.repartition(partitions, "view", "entity").sortWithinPartitions(
        "view", "epoch", "entity", F.element_at("words", 1)
    )
