"""`serve`: the serving application in the foreground, until a signal."""

import gc
import os
from collections.abc import Mapping
from pathlib import Path

import uvicorn

from dualpath.console.report import Report
from dualpath.console.signals import asked_to_stop
from dualpath.errors import InputError, UnavailableError
from dualpath.repo import Repo
from dualpath.serving import ranking
from dualpath.serving.app import create_app
from dualpath.serving.journal import Journal, KafkaJournal, NoJournal
from dualpath.serving.metrics import Metrics
from dualpath.serving.service import Service
from dualpath.serving.settings import PREFIX, read


def run(repo: Repo, *, host: str, port: int, settings: Path | None, kafka: Mapping[str, str] | None) -> Report:
    """Serve the repo over HTTP until SIGINT or SIGTERM; requests under way are answered first.

    A repo with a `ranking.yaml` decides too, and keeps its decisions in Kafka if `kafka` has a client's settings.
    """
    chosen = read(settings, os.environ)
    if not chosen.keys and not chosen.anonymous:
        raise InputError(
            f"nobody may ask: the settings have no keys; add [[keys]] or [anonymous] to a file for --settings, or set "
            f"{PREFIX}KEYS (docs/serving.md says how)."
        )
    metrics, declared, service = Metrics(), ranking.read(repo.folder), None
    if declared:
        journal: Journal = KafkaJournal(kafka, declared.topic) if kafka else NoJournal()
        service = Service(repo, declared, journal, metrics.registry)
    app = create_app(chosen, repo.store, metrics=metrics, service=service)
    server = uvicorn.Server(uvicorn.Config(app, host, port, loop="uvloop", access_log=False, log_level="warning"))
    gc.collect()
    gc.freeze()  # else requests wait for full collections of everything that is imported
    try:
        with asked_to_stop():  # uvicorn raises a signal once more when it has ended; then it is only noted
            server.run()
    except SystemExit:  # uvicorn has logged why
        raise UnavailableError(f"{host}:{port} cannot be listened on; choose another --host or --port.") from None
    return Report(
        {"host": host, "port": port}, [f"Served {repo.folder.name} on {host}:{port} until it was asked to end."]
    )
