"""The demo's own feature repo, which the package carries, so that a demo runs in a folder that has none."""

import shutil
from pathlib import Path

TEMPLATE = Path(__file__).with_name("feature_repo")


def write(folder: Path) -> Path:
    """Write the declarations and the configuration, without data, to a folder that is not there yet; answers it."""
    return shutil.copytree(TEMPLATE, folder, ignore=shutil.ignore_patterns("data", "__pycache__"))
