"""What Spark needs to read and write an object store, beside the usual variables of the environment.

`s3://` goes through Hadoop's client of S3, which dualpath fetches. For `gs://` and `abfss://` the session must be given
their connector: `spark.jars.packages`, or jars of the cluster's image.
"""

from collections.abc import Mapping

from pyspark.sql import SparkSession

from dualpath.errors import UnavailableError
from dualpath.files import objects
from dualpath.files.objects import ObjectPath
from dualpath.files.places import Place
from dualpath.runtime import jars

S3 = "spark.hadoop.fs.s3.impl"
CLIENT = "org.apache.hadoop.fs.s3a.S3AFileSystem"
CHECKPOINTS = "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
REGION = "us-east-1"
"""That of a store with an endpoint of its own, which has no regions."""


def settings(data: Place | None, also: Place | None, environ: Mapping[str, str]) -> dict[str, str]:
    """The settings of a session that keeps data in one place, and reads what is in the other too; fetches the client of
    S3 if it is not there yet.

    Raises `UnavailableError` if it cannot be fetched, and if the store of data cannot be used.
    """
    if isinstance(data, ObjectPath):
        objects.check(data)
    if not (_is_s3(data) or _is_s3(also)):
        return {}
    found = {S3: CLIENT, "spark.jars": ",".join(map(str, jars.fetch("s3", environ)))}
    # What is put is buffered in files, and the client asks for this file system, with checksums, by its name.
    found["spark.hadoop.fs.file.impl"] = "org.apache.hadoop.fs.LocalFileSystem"
    # On a cluster, Spark would look for another interface of the store first, and warn that there is none.
    found["spark.sql.streaming.checkpointFileManagerClass"] = CHECKPOINTS
    # Files are moved once, not twice, which copies them; what a job has left that did not end is never read.
    found["spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version"] = "2"
    endpoint = environ.get("AWS_ENDPOINT_URL")
    if region := environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or (REGION if endpoint else ""):
        found["spark.hadoop.fs.s3a.endpoint.region"] = region
    if endpoint:
        found |= {"spark.hadoop.fs.s3a.endpoint": endpoint, "spark.hadoop.fs.s3a.path.style.access": "true"}
    return found


def require(active: SparkSession, data: Place | None) -> None:
    """Raise `UnavailableError` if a session that is active cannot read what is in a place."""
    if _is_s3(data) and active.sparkContext.getConf().get(S3) != CLIENT:
        raise UnavailableError(
            f"A Spark session is already active without a client of S3, which {data} is read with. Stop it, or start "
            "it with dualpath.spark.session.session(..., data=...)."
        )


def _is_s3(place: Place | None) -> bool:
    return isinstance(place, ObjectPath) and place.protocol == "s3"
