"""How the demo speaks: numbered steps, what each has to tell, and the time it took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table

from dualpath.console.report import output


@dataclass
class Story:
    """Numbered steps on the terminal; `steps` keeps the title and the seconds of each."""

    steps: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Print the title before a step and its time after it."""
        number = len(self.steps) + 1
        output().print(f"[bold]{number}. {title}[/bold]")
        began = time.perf_counter()
        yield
        took = time.perf_counter() - began
        self.steps.append({"step": title, "seconds": round(took, 1)})
        output().print(f"   [dim]{took:.1f} s[/dim]\n")

    def say(self, *parts: RenderableType) -> None:
        """Print what a step has to tell, indented."""
        for part in parts:
            edge = (1, 0, 1, 3) if isinstance(part, Table) else (0, 0, 0, 3)
            output().print(Padding(part, edge, expand=False))
