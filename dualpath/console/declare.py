"""`declare`: a streaming SQL query becomes a feature repo."""

from pathlib import Path

from dualpath.console.report import Report
from dualpath.errors import InputError
from dualpath.plural import plural
from dualpath.sql.read import read
from dualpath.sql.write import files


def run(sql: Path, folder: Path) -> Report:
    """Read the query and write the repo's files; nothing that is there is replaced."""
    try:
        query = read(sql.read_text())
        made = files(query)
    except OSError as error:
        raise InputError(f"{sql} cannot be read: {error.strerror}.") from None
    except InputError as error:
        raise InputError(f"{sql}: {error.message}") from None
    if there := [name for name in made if (folder / name).exists()]:
        raise InputError(f"{folder} has {', '.join(there)} already; choose another folder with --repo.")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in made.items():
        (folder / name).write_text(text)
    differs = {name: each.of_nothing for name, each in query.features.items() if each.of_nothing}
    said = [f"{plural(len(query.output), 'feature')} of {', '.join(query.keys)} written to {folder}."]
    said += [f"{name}: for no event it is {told}." for name, told in differs.items()]
    if query.source.event_id is None:
        said.append(f"{query.source.name} has no ids, so events of equal content count once.")
    data = {"folder": str(folder), "files": sorted(made), "features": [*query.output], "of_nothing": differs}
    return Report(data, [*said, f"Next: feast --chdir {folder} apply"])
