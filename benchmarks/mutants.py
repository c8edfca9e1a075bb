"""The mutation run: of small faults put into the core, how many its tests notice.

`python -m benchmarks.mutants [MODULE ...]`, in the checkout, prints each fault that no test noticed, then the score
of every module. The faults are cosmic-ray's, at most one for every place and kind (annotations and decorators are
left alone), drawn with a fixed seed. No file is changed: a mutant is imported in a fork that has the libraries
loaded already. The kernel and the decay run interpreted. A crash or an endless loop counts as noticed.
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

import hypothesis
import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

MODULES = (
    *("kernel", "windows", "record", "plan", "expression", "values", "numbers", "words", "cells", "decay", "view"),
    *(
        "paths",
        "admission",
        "leniency",
        "times",
        "clock",
        "payloads",
        "changes",
        "row_versions",
        "dimension",
        "versions",
    ),
)
CORE = [*(Path("dualpath", f"{n}.py") for n in MODULES), *sorted(Path("dualpath/aggregates").glob("[a-z]*.py"))]
PLACES = {"kernel": 50, "windows": 30, "record": 20, "cells": 20, "aggregates": 3}
"""Most places of a module, or of each in a package, that are tried; of one not named here, 10."""
FOLDS = "Sum-integer or Min-decimal or First-text or LastK-text or Distinct-integer or DecayedCount-rows"
TESTS = {
    "kernel": ("kernel sketch", "oracle", FOLDS),
    "windows": ("windows", "oracle", "Count-"),
    "record": (
        "kernel sketch",
        "oracle packing damaged compaction folded_bucket",
        f"{FOLDS} or SumBy-integer",
    ),
    "plan": ("kernel", "oracle", f"{FOLDS} or SumBy-integer"),
    "expression": ("expression declare", "", ""),
    "values": ("kernel", "oracle", "text or SumBy- or TopK-"),
    "numbers": ("kernel", "oracle", "double or Sum-decimal or Ratio- or Mean-"),
    "words": ("kernel", "oracle", "double or Sum-decimal or text"),
    "cells": (
        "cells kernel sketch",
        "oracle packing damaged compaction folded_bucket",
        f"{FOLDS} or SumBy-integer",
    ),
    "decay": ("decay", "oracle", "Decayed"),
    "view": ("kernel windows declare", "", ""),
    "paths": ("paths preview", "", ""),
    "admission": ("leniency", "", ""),
    "leniency": ("leniency", "", ""),
    "times": ("times", "", ""),
    "clock": ("preview declare", "", ""),
    "payloads": ("preview paths leniency times dimensions", "", ""),
    "changes": ("declare", "oracle", FOLDS),
    "row_versions": ("kernel", "oracle duplicate compaction", FOLDS),
    "dimension": ("dimensions", "", ""),
    "versions": ("dimensions", "", ""),
    "meaning": ("kernel", "oracle", FOLDS),
    "base": ("kernel declare", "empty_values", FOLDS),
    "aggregates": ("kernel declare", "oracle empty_values", ""),
}
"""The tests of a module: files, words in the names of laws, and what the laws are held against (in the package of
aggregates, the module's own). Others may notice a fault as well, so the score is a lower bound."""
CPU, MEMORY = 40, 2**33
"""Seconds and bytes that a mutant may take."""


@dataclass(frozen=True)
class Mutant:
    """One fault: `kind` names it, `line` is where, `code` the whole module with it."""

    path: Path
    kind: str
    line: int
    code: str

    @property
    def module(self) -> str:
        return ".".join(self.path.with_suffix("").parts)

    def __str__(self) -> str:
        pairs = zip(self.path.read_text().splitlines(), self.code.splitlines(), strict=False)
        changed = next((new.strip() for old, new in pairs if new != old), "")
        return f"{self.path}:{self.line}  {self.kind}  {changed}"


def spared(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Spans, as (line, column), of annotations and decorators."""
    nodes: list[Any] = []
    for node in ast.walk(ast.parse(source)):
        nodes += [getattr(node, "annotation", None), getattr(node, "returns", None)]
        nodes += getattr(node, "decorator_list", [])
    return [((n.lineno, n.col_offset), (n.end_lineno, n.end_col_offset)) for n in nodes if n]


def mutants(path: Path) -> list[Mutant]:
    """One mutant for every place and kind of fault, of as many places as `PLACES` says."""
    source = path.read_text()
    tree, spans = get_ast(source), spared(source)
    places: dict[tuple, list[tuple[str, int]]] = {}
    for name in sorted(operator_names()):
        operator = get_operator(name)
        if operator.arguments() or name == "core/RemoveDecorator":
            continue
        found = (each for node in ast_nodes(tree) for each in operator().mutation_positions(node))
        for occurrence, (start, end) in enumerate(found):
            if not any(low <= start < high for low, high in spans):
                places.setdefault((start, end, name.partition("_")[0]), []).append((name, occurrence))
    draw = random.Random(f"1 {path}")
    most = PLACES.get(path.stem, PLACES.get(path.parent.name, 10))
    made = []
    for place in sorted(draw.sample(sorted(places), min(len(places), most))):
        name, occurrence = draw.choice(places[place])
        code = mutate_code(source, get_operator(name)(), occurrence)
        made.append(Mutant(path, name.removeprefix("core/"), place[0][0], code))
    return made


class Replaced(MetaPathFinder, SourceFileLoader):
    """Imports one module with the code of a mutant."""

    def __init__(self, mutant: Mutant) -> None:
        super().__init__(mutant.module, str(mutant.path.resolve()))
        self.code = mutant.code

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        return spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, name: str) -> Any:
        return compile(self.code, self.path, "exec", dont_inherit=True)


def runs(path: Path) -> Iterator[list[str]]:
    """The tests that look at a module, after its doctests: arguments of pytest."""
    files, laws, over = TESTS.get(path.stem) or TESTS[path.parent.name]
    yield [str(path), *(f"parity_tests/algebra/test_{name}.py" for name in files.split())]
    if path.stem not in TESTS:
        classes = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
        over = " or ".join(f"{name}-" for name in classes)
    if laws:
        held = import_module("parity_tests.algebra.test_laws").LAWS
        held[:] = [law for law in held if any(word in law.__name__ for word in laws.split())]
        yield ["parity_tests/algebra/test_laws.py", "-k", over]


def noticed(mutant: Mutant) -> bool:
    """Whether a test fails, in a process of its own."""
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU, CPU))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        failed = True
        try:
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
                sys.meta_path.insert(0, Replaced(mutant))
                import_module(mutant.module)  # before pytest, which reads what its arguments name from disk
                # A failure need not be made small.
                hypothesis.settings.register_profile("found", phases=[hypothesis.Phase.generate])
                hypothesis.settings.load_profile("found")
                common = ["--noconftest", "-p", "no:cacheprovider", "-x", "-W", "ignore"]
                failed = any(pytest.main([*tests, *common]) for tests in runs(mutant.path))
        finally:
            os._exit(failed)
    return os.waitpid(child, 0)[1] != 0


def main(names: list[str]) -> None:
    """Print survivors as they are found, then the score."""
    os.environ["NUMBA_DISABLE_JIT"] = "1"
    for library in ("numba", "pyarrow.compute", "duckdb", "feast", "sqlglot"):
        import_module(library)
    scores = {}
    for path in [path for path in CORE if not names or path.stem in names]:
        made = mutants(path)
        if made and noticed(Mutant(path, "none", 0, path.read_text())):
            sys.exit(f"{path}: its tests fail without a fault.")
        found = 0
        for mutant in made:
            if noticed(mutant):
                found += 1
            else:
                print(mutant, flush=True)
        scores[path] = found, len(made)
    for path, (found, tried) in scores.items():
        print(f"{path!s:50} {found:4} of {tried:4}")
    found, tried = (sum(column) for column in zip(*scores.values(), strict=True))
    print(f"{'noticed':50} {found:4} of {tried:4}  {found / tried:.1%}")


if __name__ == "__main__":
    main(sys.argv[1:])
