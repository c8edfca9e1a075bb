"""A dozen payloads that must not become features, one for each way in which shop events go wrong."""

import json
from datetime import datetime, timedelta


def lines(at: datetime) -> list[str]:
    """JSON lines as if they arrived at `at` (UTC); every one is refused, each for another reason or place."""
    stamp = at.isoformat()
    good = {"user_id": "mallory", "action": "purchase", "event_time": stamp, "arrival_time": stamp, "amount": "9.99"}

    def but(**changes: object) -> str:
        return json.dumps({k: v for k, v in {**good, **changes}.items() if v is not None})

    return [
        but(user_id=None),
        but(user_id=""),
        but(action=None),
        but(event_time=None),
        but(event_time="yesterday"),
        but(event_time="1970-01-01T00:00:00Z"),
        but(event_time=(at + timedelta(days=400)).isoformat()),
        but(amount="NaN"),
        but(amount="9.999"),
        but(amount="1e30"),
        but(quantity="three"),
        but()[:40],
        "not JSON",
    ]
