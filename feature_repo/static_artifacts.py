"""What `feast serve` loads at its start."""

from pathlib import Path

from fastapi import FastAPI

from dualpath.feast.health import answer_truly


def load_artifacts(app: FastAPI) -> None:
    """Let `/health` say whether Redis answers."""
    answer_truly(app, Path(__file__).parent)
