"""Draws an explanation: the window, the events that count, and by cause those that do not."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from dualpath.parity.candidates import Candidate
from dualpath.parity.explain import Explanation
from dualpath.parity.question import NOT_YET_KNOWN
from dualpath.windows import DAY, SECOND

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COUNTS = "counts"
MARGIN = 0.3
"""How far beyond each edge the picture reaches, as a share of the window's width."""
ALONE = 60 * SECOND
"""Width of a picture of a single instant, microseconds."""


def timeline(found: Explanation) -> "Figure":
    """A row of marks for the events that count and one for each cause, over event time in UTC; the window is shaded.

    A thin line leads from when an event that was not known yet happened to when it arrived. Rows that are too far from
    the window, or have no time, are not drawn; then the label says how many are.
    """
    import matplotlib.pyplot as plt
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    lanes = {COUNTS: found.counted} | {cause: each.nearest for cause, each in found.left_out.items()}
    totals = {COUNTS: len(found.counted)} | {cause: each.total for cause, each in found.left_out.items()}
    first, last = _span(found, lanes.values())
    figure, axes = plt.subplots(figsize=(9, 1.6 + 0.42 * len(lanes)), dpi=110, layout="constrained")
    plt.close(figure)  # a notebook shows the figure that a cell ends with, and would show an open one too
    left = max(found.left, first) if found.bounded else first
    axes.axvspan(_date(left), _date(found.right), color="tab:blue", alpha=0.1, linewidth=0)
    axes.axvline(_date(found.as_of), color="black", linewidth=1)
    axes.text(_date(found.as_of), 1, " as_of", transform=axes.get_xaxis_transform(), va="top", fontsize=8)
    labels = []
    for place, (cause, rows) in enumerate(lanes.items()):
        drawn = [row for row in rows if row.time is not None and first <= row.time <= last]
        _lane(axes, place, drawn, "tab:blue" if cause == COUNTS else "tab:red", with_arrival=cause == NOT_YET_KNOWN)
        some = "" if len(drawn) == totals[cause] else f"{len(drawn):,} of "
        labels.append(f"{cause} ({some}{totals[cause]:,})")
    axes.set_yticks(range(len(lanes)), labels)
    axes.set_ylim(len(lanes) - 0.5, -0.8)
    axes.set_xlim(_date(first), _date(last))
    locator = AutoDateLocator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.set_xlabel("event time, UTC")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    who = ", ".join(f"{key}={value}" for key, value in found.entity.items())
    said = f"{found.view.name}:{found.feature.name} of {who} is {found.value!r}"
    axes.set_title(f"{said}\n{found.feature}, known: {found.known.name}", loc="left", fontsize=10)
    return figure


def _span(found: Explanation, lanes: Iterable[Sequence[Candidate]]) -> tuple[int, int]:
    """The first and the last instant of the picture: the window and something on both sides, or all of it that has
    events, if it is over all time."""
    left = found.left
    if not found.bounded:
        left = min((row.time for rows in lanes for row in rows if row.time is not None), default=found.right)
    last = max(found.right, found.as_of)
    margin = int(max(found.right - left, ALONE) * MARGIN)
    return left - margin, last + margin


def _lane(axes: "Axes", place: int, rows: Sequence[Candidate], color: str, *, with_arrival: bool) -> None:
    """The marks of some rows at a height; a thin line leads to when each arrived."""
    times = [_date(row.event["event_time"]) for row in rows]
    axes.plot(times, [place] * len(rows), "|", color=color, markersize=13, markeredgewidth=1.6)
    for time, row in zip(times, rows, strict=True) if with_arrival else ():
        arrived = _date(row.event["arrival_time"])
        axes.plot([time, arrived], [place] * 2, ".-", color=color, linewidth=0.8, markersize=4, markevery=[1])


def _date(instant: int) -> float:
    """Days since 1970, which is how Matplotlib counts."""
    return instant / DAY
