"""`status`: where every row went, whether the counts add up with what is on disk, and what was never read."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from dualpath.console import live
from dualpath.console.report import Report, table
from dualpath.errors import UnavailableError
from dualpath.instants import iso
from dualpath.log import checks, erasures
from dualpath.log.accounts import Accounts, Total
from dualpath.log.audit import faults
from dualpath.log.outcomes import COUNTS
from dualpath.log.storage import Storage
from dualpath.online import bounds
from dualpath.online.bounds import LargeEntity
from dualpath.online.connection import FAILED, configured, connect, embedded_folder, shown
from dualpath.online.health import HealthReport, check_health
from dualpath.plural import plural
from dualpath.repo import Repo
from dualpath.runtime import redis as embedded
from dualpath.runtime.redis import ANSWER_TIMEOUT_SECONDS
from dualpath.sources.delivery import Delivery, delivery


def unread(found: Delivery) -> list[str]:
    """What was delivered into the landing folder and will not be read, and what to do."""
    said = []
    if found.changed:
        said.append(
            f"changed after the stream had read it, and not read again: {_some(found.changed)}; deliver what is new in "
            "it under a name of its own, and move it away"
        )
    if found.ignored:
        said.append(
            f"not read by the stream, which takes *.jsonl files without a leading underscore: {_some(found.ignored)}; "
            "give it to `dualpath ingest`, or move it away"
        )
    return said


def _some(names: Sequence[str]) -> str:
    more = f" and {plural(len(names) - 5, 'more file')}" if len(names) > 5 else ""
    return ", ".join(f"landing/{name}" for name in names[:5]) + more


@dataclass(frozen=True)
class Served:
    """What the online store says: its health by source, and entities over their bound.

    `silence` is why it says nothing, if it does not.
    """

    reports: dict[str, HealthReport]
    large: tuple[LargeEntity, ...] = ()
    silence: str = ""
    down: bool = False
    """Whether it should answer and does not: an embedded one that has ended comes back with whoever needs it."""

    @property
    def snapshots(self) -> dict[str, str]:
        """The day of each view's snapshot; empty: none yet."""
        manifests = {view: known for each in self.reports.values() for view, known in each.manifests.items()}
        return {view: known.snapshot if known else "" for view, known in sorted(manifests.items())}


def served(repo: Repo) -> Served:
    """Ask the online store."""
    config = repo.store.config
    try:
        address = configured(config) or embedded.running(embedded_folder(config), ANSWER_TIMEOUT_SECONDS)
    except UnavailableError as error:
        return Served({}, silence=error.message, down=True)
    if address is None:
        silence = "The embedded Redis is not running; it starts with the next stream, nightly job or read."
        return Served({}, silence=silence)
    try:
        redis = connect(address, retries=0, timeout=ANSWER_TIMEOUT_SECONDS)
        found = {n: check_health(redis, repo.project, repo.storage(n), repo.views_of(n)) for n in repo.sources}
        return Served(found, tuple(bounds.large_entities(redis, repo.project, repo.parts)))
    except FAILED as error:
        return Served({}, silence=f"Redis at {shown(address)} does not answer: {error}.", down=True)


def report(repo: Repo, *, files: bool = False) -> Report:
    """The account of every source and of all, what is served, and everything that does not add up; with `files`, all of
    these are opened."""
    accounts = {name: repo.storage(name).accounts() for name in repo.sources}
    totals = {name: each.total() for name, each in accounts.items()}
    sources = {name: _source(repo.storage(name), each, totals[name], files) for name, each in accounts.items()}
    total = sum(totals.values(), Total())
    adds_up = all(s["adds_up"] for s in sources.values())
    online = served(repo)
    data = {
        **_numbers(total),
        "adds_up": adds_up,
        "sources": sources,
        "snapshots": online.snapshots,
        "over_bound": [asdict(each) for each in online.large],
        "redis": online.silence or "answers",
        "online_store": {name: each.health.name.lower() for name, each in online.reports.items()},
        "streams": {name: live.numbers(found) for name in repo.sources if (found := live.read(repo.storage(name)))},
    }
    errors = [f"{name}: {each}." for name, s in sources.items() for each in (*s["faults"], *s["unread"])]
    errors += [online.silence] if online.down else []
    shown = _shown(sources, totals, total, online)
    shown += [f"{name}: the online store {each.health.value}." for name, each in online.reports.items()]
    return Report(data, shown, not errors, errors)


def _source(storage: Storage, accounts: Accounts, total: Total, files: bool) -> dict[str, Any]:
    wrong, landing = faults(storage, accounts, opened=files), delivery(storage)
    finished, begun = storage.reached()
    return {
        **_numbers(total),
        "adds_up": not wrong,
        "faults": wrong,
        "unfinished_batches": int(begun != finished),
        "erasure_under_way": erasures.under_way(storage.folder("ledger")) is not None,
        "closed_through": storage.closed_through,
        "last_arrival_day": max(accounts.arrival_days(), default=""),
        "dead_letter_reasons": accounts.reasons(),
        "gate": checks.last(storage),
        "unread": unread(landing),
        "changed_in_landing": landing.changed,
        "ignored_in_landing": landing.ignored,
        "waiting_in_landing": len(landing.waiting),
    }


def _numbers(each: Total) -> dict[str, Any]:
    newest = iso(each.newest_arrival) if each.newest_arrival else None
    spelled = {"latest_by": str(timedelta(microseconds=each.latest_by)), "newest_arrival": newest}
    return asdict(each) | {"messages": each.messages} | spelled | {"latest_by_us": each.latest_by}


def _shown(
    sources: dict[str, dict[str, Any]],
    totals: dict[str, Total],
    total: Total,
    online: Served,
) -> list[Any]:
    # Only a source with `each` or `where`, or an erasure, has other numbers than 0 for them.
    rare = {"messages": total.further, "skipped": total.skipped, "erased": total.erased}
    names = {
        name: name.replace("_", " ")
        for name in ("messages", *COUNTS, "erased")
        if name != "further" and rare.get(name, 1)
    }
    heads = tuple(names.values())
    outcomes = table("source", *heads, "latest by", "adds up", numbers=heads)
    for name, each in [*totals.items(), ("total", total)]:
        ok = sources[name]["adds_up"] if name in sources else all(s["adds_up"] for s in sources.values())
        latest = str(timedelta(microseconds=each.latest_by)) if each.late else "-"
        outcomes.add_row(name, *(f"{getattr(each, n):,}" for n in names), latest, "yes" if ok else "NO")
    days = table("source", "batches", "closed through", "last arrival day", numbers=("batches",))
    for name, s in sources.items():
        days.add_row(name, f"{s['batches']:,}", s["closed_through"] or "-", s["last_arrival_day"] or "-")
    shown: list[Any] = [outcomes, days]
    for name, s in sources.items():
        if s["erasure_under_way"]:
            shown.append(f"{name}: an erasure was cut off; run the same `dualpath erase` again.")
        if s["unfinished_batches"]:
            shown.append(f"{name}: a batch is under way, or was cut off; the stream finishes it when it runs.")
        if s["dead_letter_reasons"]:
            why = table("rows", f"why {name} refused them", numbers=("rows",))
            for reason, rows in s["dead_letter_reasons"].items():
                why.add_row(f"{rows:,}", reason)
            shown.append(why)
        if gate := s["gate"]:
            verdict = "passed" if gate["passed"] else f"FAILED, {plural(len(gate['failures']), 'rule')}"
            rows = plural(gate["checked"], "row")
            shown.append(f"{name}: the last quality gate, of {gate['day']}, {verdict}; {rows} checked; {gate['page']}.")
        if waiting := s["waiting_in_landing"]:
            shown.append(f"{name}: {plural(waiting, 'landed file')} not read yet.")
    if online.silence:
        return shown if online.down else [*shown, online.silence]
    views = table("view", "snapshot served")
    for view, day in online.snapshots.items():
        views.add_row(view, day or "none yet; the stream's arrival days alone")
    shown.append(views)
    if online.large:
        numbers = ("records", "max_records")
        large = table("view", "entity over its bound", *numbers, numbers=numbers)
        for entity in online.large:
            large.add_row(entity.view, entity.entity, f"{entity.records:,}", f"{entity.bound:,}")
        shown.append(large)
    return shown
