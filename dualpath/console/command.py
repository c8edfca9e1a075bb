"""What every command does: offers `--repo` and `--json`, opens the repo, reports, and exits with 0 or 1."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from dualpath import extras
from dualpath.console import repos
from dualpath.console.options import JsonOption, RepoOption
from dualpath.console.report import Report, finish

SHARED = [
    inspect.Parameter("repo", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=RepoOption),
    inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=JsonOption),
]


def command(
    app: typer.Typer, *, extra: str | None = None, opens: bool = True
) -> Callable[[Callable[..., Report]], Callable[..., None]]:
    """Make a function a command of `app`, with `--repo` and `--json` beside its own options.

    The function gets the opened repo first, or with `opens=False` the folder that was chosen, if any. It returns the
    report, or raises an error that says what is wrong. One with a parameter `as_json` is told of `--json`.

    `extra` names the optional packages that the command needs (`dualpath.extras`).
    """

    def register(function: Callable[..., Report]) -> Callable[..., None]:
        _, *own = [p.replace(kind=p.KEYWORD_ONLY) for p in inspect.signature(function).parameters.values()]
        asks = any(p.name == "as_json" for p in own)
        needed = [p for p in own if p.default is p.empty]
        chosen = [p for p in own if p not in needed and p.name != "as_json"]
        signature = inspect.Signature([*needed, *SHARED, *chosen])

        def run(*, repo: Path | None, as_json: bool, **options: Any) -> None:
            def report() -> Report:
                if extra:
                    extras.require(extra)
                told = {"as_json": as_json} if asks else {}
                return function(repos.opened(repo) if opens else repo, **options, **told)

            raise typer.Exit(0 if finish(report, as_json) else 1)

        run.__name__, run.__doc__ = function.__name__, function.__doc__
        run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        run.__signature__ = signature  # type: ignore[attr-defined]
        return app.command()(run)

    return register
