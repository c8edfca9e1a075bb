"""What is installed: the library, and nothing beside it."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from parity_tests.conftest import CHECKOUT

BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"


def test_the_wheel_has_one_package_its_data_and_no_test(tmp_path: Path) -> None:
    for name in ("dualpath", "batch", "streaming", "parity_tests"):
        shutil.copytree(CHECKOUT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, tmp_path)
    built = subprocess.run([sys.executable, "-c", BUILD, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"dualpath"}
    assert {"dualpath/online/append.lua", "dualpath/spark/log4j2.properties", "dualpath/py.typed"} <= set(names)
    assert not [name for name in names if "test" in name]
