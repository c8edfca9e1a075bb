"""The nightly batch path, for spark-submit: one arrival day of the event log becomes training records and served state.

    spark-submit batch/nightly.py --repo feature_repo --date 2026-03-04

`dualpath nightly` does the same.
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from dualpath.jobs.nightly import nightly
from dualpath.jobs.session import session_of
from dualpath.repo import Repo


def main(
    repo: Annotated[Path, typer.Option(help="The feature repo.")],
    date: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The arrival day to close, UTC.")],
) -> None:
    """Close the day, hold it against the quality gate, build its records, publish the snapshot."""
    opened = Repo(repo)
    spark = session_of(opened, "dualpath-nightly")
    for source in opened.sources.values():
        night = nightly(spark, opened, source, date.date())
        checked, records = night.gate.checked, sum(each.records for each in night.published)
        print(f"{night.source}: {night.day} is closed, {checked} events checked, {records} records published")


if __name__ == "__main__":
    typer.run(main)
