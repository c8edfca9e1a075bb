"""`experiment`: what the experiment of a repo's ranking says, from the event log."""

from dualpath.console.learn import declared
from dualpath.console.report import Report, busy, table
from dualpath.plural import plural
from dualpath.repo import Repo
from dualpath.serving import outcomes, replay
from dualpath.serving.analysis import SUSPECT, Difference


def run(repo: Repo) -> Report:
    """Read the log, the rewards and the covariate; not well if readers were not shared out as declared."""
    ranking = declared(repo)
    with busy("Reading the log"):
        made = replay.decisions(repo, ranking.decisions)
    with busy("Asking what decisions have earned"):
        readers = outcomes.readers(repo, ranking, made)
        found = outcomes.findings(repo, ranking, readers)
    experiment = ranking.experiment
    one, other = experiment.compared
    shown = table("reading", "difference", "95 % interval", numbers=("difference",))
    for name, each in (("one look", found.plain), (f"one look, given {experiment.covariate}", found.adjusted)):
        if each is not None:
            low, high = each.interval
            shown.add_row(name, f"{each.difference:+.4f}", f"{low:+.4f} to {high:+.4f}")
    if found.at_any_time is not None:
        each_time = found.at_any_time
        shown.add_row(
            "any number of looks", f"{each_time.difference:+.4f}", f"{each_time.low:+.4f} to {each_time.high:+.4f}"
        )
    wrong = found.sample_ratio_p < SUSPECT
    errors = ["readers were not shared out as declared; trust no figure until the reason is found"] if wrong else []
    data = {
        "experiment": experiment.name,
        "readers": readers.units,
        "compared": len(readers.names),
        "sample_ratio_p": found.sample_ratio_p,
        "one_look": _plain(found.plain),
        "with_covariate": _plain(found.adjusted),
        "any_time": found.at_any_time and {**vars(found.at_any_time), "decided": found.at_any_time.decided},
    }
    said = f"{experiment.name}: {one} against {other}, {plural(len(readers.names), 'reader')} with more than "
    said += f"{plural(experiment.first_decisions, 'feed')}; sample ratio p = {found.sample_ratio_p:.3f}."
    return Report(data, [said, shown], not wrong, errors)


def _plain(found: Difference | None) -> dict[str, object] | None:
    return None if found is None else {**vars(found), "interval": [*found.interval]}
