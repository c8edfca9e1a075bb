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
from dualpath.files import checkpoint_place
from dualpath.files.places import place
from dualpath.online.connection import VARIABLE, embedded_folder, named, parse
from dualpath.runtime import redis
from dualpath.runtime.doctor import examine

if TYPE_CHECKING:
    from dualpath.repo import Repo


def doctor(folder: Path | None) -> Report:
    """Look at the machine, and at the Redis of the repo in `folder` if there is one."""
    settings = _settings(folder)
    address, parameters = redis_server(settings, os.environ)
    kept = place(settings.get("offline_store", {}).get("path") or "data", folder or Path())
    chosen = settings.get("offline_store", {}).get("checkpoints")
    checkpoints = checkpoint_place.named(chosen, kept) if chosen else None
    findings = examine(os.environ, address, folder or Path(), parameters, kept, checkpoints)
    shown = table("", "needed", "found", "where")
    for each in findings:
        shown.add_row("ok" if each.ok else "NO", *map(escape, (each.name, each.found, each.where)))
    missing = [each for each in findings if not each.ok]
    data = {"ok": not missing, "findings": [asdict(each) for each in findings]}
    verdict = [] if missing else ["Everything that is needed is there."]
    return Report(data, [shown, *verdict], not missing, [f"{m.name} ({m.found}): {m.remedy}" for m in missing])


def _settings(folder: Path | None) -> Mapping[str, Any]:
    """What a repo's file says, read without Feast, whose import takes seconds."""
    if folder is None:
        return {}
    try:
        found = yaml.safe_load((folder / FILE).read_text()) or {}
        return {name: found.get(name) or {} for name in ("online_store", "offline_store")}
    except (yaml.YAMLError, AttributeError) as error:
        raise InputError(f"{folder / FILE} cannot be read: {' '.join(str(error).split())}.") from None


def redis_server(settings: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[str | None, dict[str, Any]]:
    """The first configured "host:port" and the parameters given with it; None for the embedded server."""
    connection = settings.get("online_store", {}).get("connection_string") or environ.get(VARIABLE)
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
