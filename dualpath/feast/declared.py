"""The windowed views that the files of a feature repo declare now, applied or not.

They are read in a process of their own, because modules of two repos have the same names: this module's `main`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from feast.repo_operations import parse_repo

from dualpath.declare import TAG, is_windowed
from dualpath.errors import DeclarationError, DualpathError
from dualpath.view import View


def views(folder: Path) -> dict[str, View]:
    """The views by name. Raises `DeclarationError` with the last line that Python says if a file cannot be imported."""
    command = [sys.executable, "-m", __name__, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["the repo's files cannot be imported"]
        raise DeclarationError(said[-1])
    # What the repo's own files print comes before.
    found = json.loads(done.stdout.splitlines()[-1])
    return {name: View.from_dict(json.loads(declared)) for name, declared in sorted(found.items())}


def main(folder: str) -> None:
    """Print the declarations as one line of JSON."""
    os.chdir(folder)
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = parse_repo(Path.cwd()).feature_views
    except DualpathError as error:
        sys.exit(error.message)
    print(json.dumps({view.name: view.tags[TAG] for view in found if is_windowed(view)}))


if __name__ == "__main__":
    main(sys.argv[1])
