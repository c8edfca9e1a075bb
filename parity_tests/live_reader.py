"""One reader of `parity_tests.live`, in a process of its own, as a server is one."""

import json
import random
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from dualpath.repo import Repo

SERVICE = "audited_profile"


def main(
    folder: Path,
    requests: int,
    every: Annotated[float, typer.Argument(help="Seconds between two requests.")],
    users: int,
    seed: int,
) -> None:
    """Ask about random users at now, one a request.

    Prints, as JSON, the seconds of the system's clock at the first request and at the last answer.
    """
    store, draw = Repo(folder).store, random.Random(seed)
    service, began = store.get_feature_service(SERVICE), time.monotonic()
    for number in range(requests):
        time.sleep(max(0.0, began + number * every - time.monotonic()))
        store.get_online_features(service, [{"user_id": f"u{draw.randrange(users)}"}])
    ended = time.monotonic()
    online: Any = store._get_provider().online_store
    online.served_log.flush()
    print(json.dumps([began, ended]))


if __name__ == "__main__":
    typer.run(main)
