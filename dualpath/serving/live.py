"""`GET /live` and the page that shows it: one reader, the feed, the experiment, the loop, the health of each part."""

import asyncio
import json
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles

from dualpath.instants import iso
from dualpath.serving.access import allowed
from dualpath.serving.rank import Answer
from dualpath.serving.service import Service

PAGE = Path(__file__).parent / "page"
LISTED = 50
"""Readers that the page offers."""


def router(service: Service) -> APIRouter:
    """The page, which needs no key, and its data, which do: they name readers."""
    found = APIRouter(tags=["live"])

    @found.get("/live", dependencies=[allowed("admin")])
    async def live(user_id: str | None = None) -> dict[str, Any]:
        """What the page shows now; of the reader who was ranked last, unless one is named."""
        readers = [*service.latest][::-1][:LISTED]
        chosen = user_id or (readers[0] if readers else None)
        return {
            "as_of": iso(service.ranker.clock()),
            "reader": None if chosen is None else await _reader(service, chosen),
            "readers": readers,
            "simulation": await asyncio.to_thread(_simulation, service),
            **_learned(service),
            "health": _health(service),
            "stages": service.meters.quantiles(),
            "requests": service.meters.tally["requests"],
            "degraded": {cause: service.meters.tally[cause] for cause in ("features", "journal")},
        }

    @found.get("/", include_in_schema=False)
    async def page() -> RedirectResponse:
        """The page, whose own files are beside it."""
        return RedirectResponse("page/")

    return found


def files() -> StaticFiles:
    """The page with its own files."""
    return StaticFiles(directory=PAGE, html=True)


async def _reader(service: Service, user_id: str) -> dict[str, Any]:
    found = await service.interest(user_id)
    tokens = found.pop("known").get(service.ranking.interest.partition(":")[0])
    shown: dict[str, Any] = {"decision_id": None, "variant": None, "policy": None, "feed": []}
    if user_id in service.latest:
        shown = _feed(*service.latest[user_id])
    return {"user_id": user_id, **found, "known": tokens[0] if tokens else None, **shown}


def _feed(answer: Answer, categories: list[str | None]) -> dict[str, Any]:
    made = answer.decision
    feed = [
        {"article_id": made.candidates[place], "category": categories[place], "score": made.scores[place]}
        for place in made.ranking
    ]
    return {"decision_id": made.decision_id, "variant": made.variant, "policy": made.policy or None, "feed": feed}


def _simulation(service: Service) -> Any:
    name = service.ranking.simulation
    file = service.repo.folder / name if name else None
    return json.loads(file.read_text()) if file and file.exists() else None


def _learned(service: Service) -> dict[str, Any]:
    report = service.policies.report
    if not report:
        return {"experiment": None, "policy": None, "loop": None}
    hashes = report["policies"]
    return {
        "experiment": report["experiment"],
        "loop": report["loop"],
        "policy": {
            "hash": next(iter(hashes.values()), None),
            "age_seconds": round(service.policies.age, 1),
            "decisions": report["decisions"],
            "rewards": report["rewards"],
        },
    }


def _health(service: Service) -> dict[str, Any]:
    staleness = service.staleness
    return {
        "redis": "down" if staleness is None else "up",
        "breaker": service.breaker.state,
        "staleness_seconds": None if staleness is None else round(staleness, 1),
        "kafka": "up" if service.journal.healthy else "down",
        "journal_queue": service.journal.queued(),
    }
