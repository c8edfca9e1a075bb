"""What every Python process of the tests does first: it keeps the code of Feast's checked functions.

Typeguard parses and compiles a whole module anew for each of some 240 functions of Feast that check their arguments:
two thirds of `import feast`, and the tests start more than a hundred processes that import it. The code is the same
each time, so it is kept beside Python's own. Python imports a module of this name by itself; `parity_tests.conftest`
names its folder in PYTHONPATH.

Nor does the collector of garbage look at all that is imported again and again: it starts less often.

Processes that some commands are run in are forks of one that has imported all of it (`prepared`).
"""

import gc
import os
import sys
from collections.abc import Callable
from hashlib import sha256
from importlib.util import find_spec
from marshal import dumps, loads
from pathlib import Path
from types import FunctionType

YOUNG, MIDDLE, OLD = 50_000, 20, 100
"""How many new objects, and how many collections of younger ones, start a collection. Python's own: 700, 10, 10."""
COPIED = ("__module__", "__qualname__", "__doc__", "__kwdefaults__", "__annotations__", "__type_params__")


def kept(instrument: Callable[[FunctionType], FunctionType | str], folder: Path) -> Callable[..., FunctionType | str]:
    """Typeguard's `instrument`, which compiles a function once for all processes that have the same source."""

    def instrumented(f: FunctionType) -> FunctionType | str:
        code = getattr(f, "__code__", None)
        if code is None or not Path(code.co_filename).exists():
            return instrument(f)
        changed = [Path(name).stat().st_mtime_ns for name in (code.co_filename, instrument.__code__.co_filename)]
        key = f"{sys.version} {changed} {code.co_filename} {f.__qualname__} {code.co_firstlineno}"
        path = folder / f"{sha256(key.encode()).hexdigest()}.checked"
        if path.exists():
            return like(f, path)
        made = instrument(f)
        if isinstance(made, FunctionType):
            if made.__code__.co_freevars != code.co_freevars:
                raise AssertionError(f"The checks of {f.__qualname__} name a local variable; they cannot be kept.")
            keep(made, path)
        return made

    return instrumented


def like(f: FunctionType, path: Path) -> FunctionType:
    """The function with the code in a file, made as typeguard makes it."""
    made = FunctionType(loads(path.read_bytes()), f.__globals__, f.__name__, f.__defaults__, f.__closure__)
    for name in COPIED:
        if hasattr(f, name):
            setattr(made, name, getattr(f, name))
    return made


def keep(made: FunctionType, path: Path) -> None:
    """Write a function's code; another process may write the same at the same time."""
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    part.write_bytes(dumps(made.__code__))
    part.replace(path)


gc.set_threshold(YOUNG, MIDDLE, OLD)

if find_spec("typeguard"):
    from typeguard import _decorators

    if _decorators.instrument.__module__ == _decorators.__name__:  # not done yet
        _decorators.instrument = kept(_decorators.instrument, Path(__file__).with_name("__pycache__"))

if "DUALPATH_TESTS_PREPARED" in os.environ and sys.orig_argv[1:2] == ["-m"]:
    import prepared

    if kind := prepared.kind_for(sys.orig_argv):
        prepared.ask(os.environ[prepared.ADDRESS], kind)
