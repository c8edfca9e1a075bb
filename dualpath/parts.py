"""Parts: a view of several sources is computed as one view of each, and its answers are folds of all their records.

All parts of a view have the same cells, so a record is read without asking whose it is. A field that a source lacks is
null in its part. Streams, builds, nights and rebuilds write parts, each for its own source and at its own time; what
reads an answer reads the records of all parts, and folds them together. A view of one source is its only part.
"""

from collections.abc import Mapping
from functools import cached_property, lru_cache

from dualpath.field import Field
from dualpath.union import seen_from
from dualpath.view import View, mark

OF = "@"
"""Between the view and the source in the name of a part; no declared view has it in its name."""


class Part(View):
    """The share that a source has in a view of several; `others` are the other sources."""

    def _check_name(self, where: str) -> None:
        """The view has been checked."""

    @cached_property
    def fields(self) -> Mapping[str, Field]:
        return seen_from(self.source, self.others)

    @property
    def mark(self) -> int:
        return mark(self.source.name)


def whole(name: str) -> str:
    """The name of the view that a view or a part of this name is of.

    >>> whole("actions@orders"), whole("actions")
    ('actions', 'actions')
    """
    return name.partition(OF)[0]


def parts(view: View) -> tuple[View, ...]:
    """The views that are written for a view, one for each source in the order of their declaration.

    >>> from dualpath.aggregates import Count
    >>> from dualpath.schema import EventSource, text
    >>> from dualpath.view import Feature
    >>> from dualpath.windows import minutes
    >>> clicks, orders = (EventSource(name, (text("user"),)) for name in ("clicks", "orders"))
    >>> actions = View("actions", ("user",), clicks, (Feature("n", Count(), minutes(30)),), others=(orders,))
    >>> [part.name for part in parts(actions)]
    ['actions@clicks', 'actions@orders']
    """
    return _parts(view) if view.others and not isinstance(view, Part) else (view,)


@lru_cache(maxsize=512)
def _parts(view: View) -> tuple[Part, ...]:
    return tuple(
        Part(
            f"{view.name}{OF}{source.name}",
            view.keys,
            source,
            view.features,
            view.resolution,
            view.description,
            view.max_records,
            tuple(other for other in view.sources if other != source),
        )
        for source in view.sources
    )
