"""`learn`: the learner in the foreground. `replay`: decisions made again, and what they have taught learned again."""

from contextlib import ExitStack

from dualpath import instants
from dualpath.console.report import Report, busy, table
from dualpath.console.signals import asked_to_stop
from dualpath.errors import InputError, UnavailableError
from dualpath.online.connection import FAILED, connect, shown
from dualpath.plural import plural
from dualpath.repo import Repo
from dualpath.runtime.prometheus import exposed
from dualpath.serving import ranking, replay
from dualpath.serving.learner import Learner
from dualpath.serving.loop import Loop
from dualpath.serving.ranking import Ranking

NAMED = 10
"""Differing decisions that are named."""


def run(repo: Repo, *, every: float | None, metrics_port: int | None) -> Report:
    """Learn and publish every so many seconds until a signal; without it, once."""
    chosen = declared(repo)
    loop, report = Loop(repo, chosen, connect(repo.redis_address)), dict[str, object]()
    with ExitStack() as held, asked_to_stop() as stop, busy("Learning from the log") as say:
        if metrics_port is not None:
            held.enter_context(exposed(loop.meters.registry, metrics_port))
        while True:
            try:
                report = loop.step()
            except FAILED as error:
                if every is None:
                    where = shown(repo.redis_address)
                    raise UnavailableError(f"the policies cannot be published: Redis at {where}: {error}.") from None
                say(f"Redis does not answer; what was learned is published when it does ({error})")
            else:
                say(f"{report['decisions']:,} decisions and {report['rewards']:,} rewards learned; Ctrl-C stops")
            if every is None or stop.wait(every):
                break
    return Report(
        report, [f"{report.get('decisions', 0):,} decisions and {report.get('rewards', 0):,} rewards learned."]
    )


def replayed(repo: Repo, since: str) -> Report:
    """Make the decisions since an instant again; well only if no bit differs, and what was learned neither."""
    ranked = declared(repo)
    with busy("Reading the log"):
        made = replay.decisions(repo, ranked.decisions)
        chosen = [each for each in made if each.decided_at >= int(instants.parse([since])[0])]
    with busy("Making the decisions again"):
        found = replay.replay(repo, ranked, chosen)
    with busy("Learning again"):
        same = _learned(repo, ranked) == replay.rebuilt(repo, ranked, made).key()
    errors = [f"decision {name}: {what} differs" for name, what in [*found.differing.items()][:NAMED]]
    if not found.decisions:
        errors.append("no decision with features was made since then, so nothing was compared")
    if not same:
        errors.append("the rewards of a training set teach something else than the learner has learned from the log")
    shown_ = table("decisions", "candidates", "differing", "without features", "learned again")
    counts = (found.decisions, found.candidates, len(found.differing), found.without_features)
    shown_.add_row(*(f"{count:,}" for count in counts), "the same bits" if same else "DIFFERENT")
    data = {
        "passed": found.passed and same,
        "decisions": found.decisions,
        "candidates": found.candidates,
        "differing": found.differing,
        "without_features": found.without_features,
        "learned_the_same": same,
    }
    return Report(data, [shown_, f"{plural(len(made), 'decision')} in the log."], found.passed and same, errors)


def _learned(repo: Repo, ranked: Ranking) -> str:
    learner = Learner.declared(repo, ranked)
    learner.step()
    return learner.state.key()


def declared(repo: Repo) -> Ranking:
    """The ranking that a repo declares; raises `InputError` if it declares none."""
    found = ranking.read(repo.folder)
    if found is None:
        raise InputError(f"{repo.folder} has no {ranking.FILE}, so it ranks nothing; see docs/serving.md.")
    return found
