"""The order in which records reach the writer: an entity's rows together, by time."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def arrange(rows: DataFrame) -> DataFrame:
    """Rows of `dualpath.online.append.INPUT`, each entity in one partition and sorted as the writer needs.

    There are as many partitions as the session shuffles into.
    """
    parts = int(rows.sparkSession.conf.get("spark.sql.shuffle.partitions") or 4)
    together = rows.coalesce(1) if parts == 1 else rows.repartition(parts, "view", "entity")
    # Spark is quick to compare one number: of its bits the first say the view, for the writer goes view by view.
    view, owner = F.xxhash64("view"), F.xxhash64("view", "arrival_day", "entity")
    number = F.shiftleft(F.shiftrightunsigned(view, 48), 48).bitwiseOR(F.shiftrightunsigned(owner, 16))
    return together.sortWithinPartitions(number, "view", "arrival_day", "entity", F.element_at("words", 1))
