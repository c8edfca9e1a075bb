"""`plan`: what becomes of records and answers if the repo's files are applied as they are now."""

from dataclasses import asdict
from typing import Any

from dualpath.console.report import Report, busy
from dualpath.feast import declared, evolution
from dualpath.repo import Repo


def run(repo: Repo) -> Report:
    """Compare the repo's files with the registry, and both with the logs; nothing is changed."""
    with busy("Reading the declarations"):
        found = evolution.changes(repo.store.config, declared.views(repo.folder))
    refused = [each.refused for each in found if each.refused]
    data: dict[str, Any] = {each.source: asdict(each) | {"rebuilds": each.rebuilds} for each in found}
    return Report({"sources": data}, evolution.lines(found), not refused, refused, "declaration")
