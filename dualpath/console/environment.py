"""`doctor` and `stop`: what the machine has for dualpath, and the end of the embedded Redis."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.markup import escape

from dualpath.console.report import Report, table
from dualpath.console.repos import FILE
from dualpath.errors import InputError
from dualpath.online.connection import VARIABLE, embedded_folder, named, parse
from dualpath.runtime import redis
from dualpath.runtime.doctor import examine

if TYPE_CHECKING:
    from dualpath.repo import Repo


def doctor(folder: Path | None) -> Report:
    """Look at the machine, and at the Redis of the repo in `folder` if there is one."""
    address, parameters = redis_server(folder, os.environ)
    findings = examine(os.environ, address, folder or Path(), parameters)
    shown = table("", "needed", "found", "where")
    for each in findings:
        shown.add_row("ok" if each.ok else "NO", *map(escape, (each.name, each.found, each.where)))
    missing = [each for each in findings if not each.ok]
    data = {"ok": not missing, "findings": [asdict(each) for each in findings]}
    verdict = [] if missing else ["Everything that is needed is there."]
    return Report(data, [shown, *verdict], not missing, [f"{m.name} ({m.found}): {m.remedy}" for m in missing])


def redis_server(folder: Path | None, environ: Mapping[str, str]) -> tuple[str | None, dict[str, Any]]:
    """The first configured "host:port" and the parameters given with it, read without Feast, whose import takes
    seconds; None for the embedded server."""
    settings: Mapping[str, str] = {}
    if folder is not None:
        try:
            settings = (yaml.safe_load((folder / FILE).read_text()) or {}).get("online_store") or {}
        except (yaml.YAMLError, AttributeError) as error:
            raise InputError(f"{folder / FILE} cannot be read: {' '.join(str(error).split())}.") from None
    connection = settings.get("connection_string") or environ.get(VARIABLE)
    if not connection:
        return None, {}
    nodes, parameters = parse(connection)
    return nodes[0], parameters


def stop(repo: "Repo") -> Report:
    """End the repo's embedded Redis; its data stays."""
    config = repo.store.config
    stopped = redis.stop(embedded_folder(config))
    said = "The embedded Redis has stopped; its data stays." if stopped else "No embedded Redis is running."
    if not stopped and named(config):
        said = "The repo uses a Redis of its own configuration, which dualpath does not stop."
    return Report({"stopped": stopped}, [said])
