"""`migrate`: what was brought over from the previous version, source by source."""

from dataclasses import asdict

from dualpath.console.report import Report, busy
from dualpath.files.places import local
from dualpath.migration import records
from dualpath.migration.job import migrate
from dualpath.plural import plural
from dualpath.repo import Repo


def run(repo: Repo) -> Report:
    """Migrate every source of a repo."""
    data, shown, root = {}, [], local(repo.root, "the previous version")
    for name, source in repo.sources.items():
        with busy(f"Migrating {name}") as say:
            found = migrate(repo.storage(name), source, say)
        data[name] = None if found is None else asdict(found.total) | {"files": found.files}
        if found is None:
            shown.append(f"{name}: there is nothing of the previous version.")
        else:
            files = plural(found.files, "file")
            shown.append(f"{name}: {found.total}; all of them were found again, in {files} of a Delta table.")
    with busy("Migrating record files"):
        record_files = records.migrate(root, [repo.storage(name) for name in repo.sources])
    shown.append(f"record files: {plural(record_files, 'file')}.")
    return Report({"sources": data, "record_files": record_files}, shown)
