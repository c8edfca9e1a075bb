"""The mutation run: of small faults put into the core, how many its tests notice.

`python -m benchmarks.mutants [MODULE ...]`, in the checkout, prints the score of every module and each mutant that
no test noticed. The faults are those of cosmic-ray, one for every place and kind of fault in the code (annotations
and decorators apart), drawn with a fixed seed; no file is changed. The kernel and the decay run interpreted, and
each mutant in a fork that has the libraries loaded already. A crash or an endless loop is noticed.
"""

import ast
import os
import random
import resource
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

os.environ["NUMBA_DISABLE_JIT"] = "1"

import duckdb  # noqa: F401
import feast  # noqa: F401
import hypothesis
import numba  # noqa: F401
import pyarrow.compute
import pytest
import sqlglot  # noqa: F401
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

CORE = [
    *(Path("dualpath", f"{n}.py") for n in "kernel windows record plan expression values numbers decay view".split()),
    *sorted(Path("dualpath/aggregates").glob("[a-z]*.py")),
]
PLACES = {"kernel": 50, "windows": 30, "record": 20, "aggregates": 3}
"""Most places of a module, or of each in a package, that are tried; of one not named here, 10."""
FOLDS = "Sum-integer or Min-decimal or First-text or LastK-text or Distinct-integer or DecayedCount-rows"
TESTS = {
    "kernel": ("kernel sketch", f"oracle and ({FOLDS})"),
    "windows": ("windows", "oracle and Count-"),
    "record": ("kernel sketch", f"(oracle or packing or damaged or compaction or folded_bucket) and ({FOLDS} or SumBy-integer)"),
    "plan": ("kernel", f"oracle and ({FOLDS} or SumBy-integer)"),
    "expression": ("expression declare", ""),
    "values": ("kernel", "oracle and (text or SumBy- or TopK-)"),
    "numbers": ("kernel", "oracle and (double or Sum-decimal or Ratio- or Mean-)"),
    "decay": ("decay", "oracle and Decayed"),
    "view": ("kernel windows declare", ""),
    "base": ("kernel declare", f"empty_values and ({FOLDS})"),
    "aggregates": ("kernel declare", "oracle or empty_values"),
}
"""The tests of a module: files, then laws (of the module's own aggregates, in the package of aggregates)."""
CPU, MEMORY = 40, 2**33
"""Seconds and bytes that a mutant may take."""


@dataclass(frozen=True)
class Mutant:
    """One fault: `kind` names it, `line` is where, `code` the whole module with it."""

    path: Path
    kind: str
    line: int
    code: str

    def __str__(self) -> str:
        before, after = self.path.read_text().splitlines(), self.code.splitlines()
        changed = [b.strip() for a, b in zip(before, after, strict=False) if a != b]
        return f"{self.path}:{self.line}  {self.kind}  {changed[0] if changed else '(gone)'}"


def spared(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Spans (line, column) of annotations and decorators."""
    nodes: list[Any] = []
    for node in ast.walk(ast.parse(source)):
        nodes += [getattr(node, "annotation", None), getattr(node, "returns", None)]
        nodes += getattr(node, "decorator_list", [])
    return [((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset)) for n in nodes if n]


def mutants(path: Path) -> list[Mutant]:
    """One mutant for every place and kind of fault, as many places as `PLACES` says."""
    source = path.read_text()
    tree, spans = get_ast(source), spared(source)
    places: dict[tuple, list[tuple[str, int]]] = {}
    for name in sorted(operator_names()):
        operator = get_operator(name)
        if operator.arguments() or "RemoveDecorator" in name:
            continue
        found = (each for node in ast_nodes(tree) for each in operator().mutation_positions(node))
        for occurrence, (start, end) in enumerate(found):
            if not any(low <= start < high for low, high in spans):
                kind = name.removeprefix("core/").partition("_")[0]
                places.setdefault((start, end, kind), []).append((name, occurrence))
    draw = random.Random(f"1 {path}")
    chosen = draw.sample(sorted(places), min(len(places), PLACES.get(path.stem, PLACES.get(path.parent.name, 10))))
    made = []
    for place in sorted(chosen):
        name, occurrence = draw.choice(places[place])
        made.append(Mutant(path, name.removeprefix("core/"), place[0][0], mutate_code(source, get_operator(name)(), occurrence)))
    return made


class Replaced(MetaPathFinder, SourceFileLoader):
    """Imports one module with the code of a mutant."""

    def __init__(self, mutant: Mutant) -> None:
        module = ".".join(mutant.path.with_suffix("").parts).removesuffix(".__init__")
        SourceFileLoader.__init__(self, module, str(mutant.path.resolve()))
        self.code = mutant.code

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        return spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, name: str) -> Any:
        return compile(self.code, self.path, "exec", dont_inherit=True)


def runs(path: Path) -> Iterator[list[str]]:
    """The tests that look at a module, after its doctests: arguments of pytest."""
    files, laws = TESTS.get(path.stem) or TESTS[path.parent.name]
    yield [str(path), *(f"parity_tests/test_{name}.py" for name in files.split())]
    if path.stem not in TESTS:
        classes = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
        laws = f"({laws}) and ({' or '.join(f'{name}-' for name in classes)})"
    if laws:
        yield ["parity_tests/test_laws.py", "-k", laws]


def noticed(mutant: Mutant) -> bool:
    """Whether a test fails, in a process of its own."""
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU, CPU))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        replaced = Replaced(mutant)
        sys.meta_path.insert(0, replaced)
        # A failure need not be made small.
        hypothesis.settings.register_profile("found", phases=[hypothesis.Phase.generate])
        hypothesis.settings.load_profile("found")
        status = 1
        try:
            import_module(replaced.name)  # before pytest, which reads modules named in its arguments from disk
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
                status = any(
                    pytest.main([*tests, "--noconftest", "-p", "no:cacheprovider", "-x", "-W", "ignore"])
                    for tests in runs(mutant.path)
                )
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] != 0


def main(names: list[str]) -> None:
    """Print survivors as they are found, then the score."""
    core = [path for path in CORE if not names or path.stem in names]
    scores, survivors = {}, []
    for path in core:
        if noticed(Mutant(path, "none", 0, path.read_text())):
            sys.exit(f"{path}: its tests fail without a fault.")
        made = mutants(path)
        left = []
        for mutant in made:
            if not noticed(mutant):
                left.append(mutant)
                print(mutant, flush=True)
            if "PROG" in os.environ: print("#", mutant.path, mutant.line, mutant.kind, file=sys.stderr, flush=True)
        scores[path], survivors = (len(made) - len(left), len(made)), survivors + left
    for path, (killed, tried) in scores.items():
        print(f"{path!s:50} {killed:4} of {tried:4}")
    killed, tried = (sum(column) for column in zip(*scores.values(), strict=True))
    print(f"{'noticed':50} {killed:4} of {tried:4}  {killed / tried:.1%}")


if __name__ == "__main__":
    main(sys.argv[1:])
