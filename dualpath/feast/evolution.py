"""What a changed declaration may be, and what it makes of the records: what `feast plan`, `feast apply` and `dualpath
plan` say before it is taken."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from feast import FeatureStore, RepoConfig

from dualpath.declare import view_of
from dualpath.errors import DeclarationError
from dualpath.field import Field
from dualpath.files import objects
from dualpath.files.places import Place
from dualpath.limits import Limits
from dualpath.log import forms
from dualpath.log.evolution import described
from dualpath.log.storage import Storage
from dualpath.offline.history import view_version
from dualpath.parts import parts
from dualpath.plural import plural
from dualpath.repo import root
from dualpath.schema import EventSource
from dualpath.view import View

BUILT, PUBLISHED, AS_IT_IS, REMOVED = "built anew", "published again", "as it is", "removed"
"""What becomes of a view's records. Those that are published again are those of before; they go into the new namespace
too, because all views of a source share one."""
REBUILD = (
    "After `feast apply`, stop the stream and run `dualpath stream --from-snapshot`, which fills a new namespace; "
    "servers that have the registry of before serve the old state until then."
)
RESTART = "After `feast apply`, start the stream again, so that it goes by the new declaration; no record changes."
NOTHING = "The repo's files declare what is applied."


@dataclass(frozen=True)
class Change:
    """What the new declaration makes of a source: of each field that differs, a sentence; of each view, what becomes of
    it. `events` and `days` are in the log; `refused` says why the declaration will not be taken, if it will not."""

    source: str
    events: int
    days: int
    fields: tuple[str, ...]
    views: Mapping[str, str]
    refused: str = ""

    @property
    def rebuilds(self) -> bool:
        """Whether records are built."""
        return self.events > 0 and BUILT in self.views.values()


def check(config: RepoConfig, source: EventSource) -> None:
    """Raise `DeclarationError`, one sentence, unless the source's log can be read as `source` declares it."""
    before = _sources(_applied(config))
    if not isinstance(place := root(config), Path):
        objects.check(place)
    forms.check(Storage(place, source.name), source, before.get(source.name))


def changes(config: RepoConfig, declared: Mapping[str, View]) -> list[Change]:
    """What it makes of each source if these views replace those of the registry."""
    before, after = _applied(config), _parts(declared.values())
    return [_change(root(config), name, before, after) for name in sorted({*_sources(before), *_sources(after)})]


def _applied(config: RepoConfig) -> dict[str, View]:
    """The parts of the windowed views that the registry has, by name; none before the first `feast apply`."""
    store = FeatureStore(repo_path=str(config.repo_path or "."), config=config)
    return _parts(view for fv in store.list_feature_views() if (view := view_of(fv)))


def _parts(views: Iterable[View]) -> dict[str, View]:
    return {part.name: part for view in views for part in parts(view)}


def lines(found: Sequence[Change]) -> list[str]:
    """The changes that will be taken, in sentences."""
    taken = [each for each in found if not each.refused]
    said = []
    for each in taken:
        said += [f"{each.source}: {field}" for field in each.fields]
        for what in (BUILT, PUBLISHED, REMOVED):
            names = ", ".join(view for view, of_view in each.views.items() if of_view == what)
            source = (
                f" from {plural(each.events, 'event')} of {plural(each.days, 'arrival day')}" if what == BUILT else ""
            )
            said += [f"{each.source}: records of {names} are {what}{source}."] if names and each.events else []
    if any(each.rebuilds for each in taken):
        return [*said, REBUILD]
    if any(each.fields for each in taken):
        return [*said, RESTART]
    return said or [NOTHING] * (len(taken) == len(found))


def _sources(views: Mapping[str, View]) -> dict[str, EventSource]:
    return {view.source.name: view.source for view in views.values()}


def _change(place: Place, name: str, before: Mapping[str, View], after: Mapping[str, View]) -> Change:
    storage, refused = Storage(place, name), ""
    old, new = _sources(before).get(name), _sources(after).get(name)
    if new:
        try:
            forms.check(storage, new, old)
        except DeclarationError as error:
            refused = error.message
    both = {each: (before.get(each), after.get(each)) for each in sorted({*before, *after})}
    views = {
        each: _of_view(was, is_, name)
        for each, (was, is_) in both.items()
        if name in {view.source.name for view in (was, is_) if view}
    }
    if BUILT in views.values():
        views = {each: PUBLISHED if said == AS_IT_IS else said for each, said in views.items()}
    fields = tuple(_of_fields(old, new)) if old and new else ()
    events = storage.accounts().total().accepted
    return Change(name, events, len(storage.arrival_days()), fields, views, refused)


def _of_view(was: View | None, is_: View | None, source: str) -> str:
    if is_ is None or is_.source.name != source:
        return REMOVED
    return AS_IT_IS if was and view_version(was) == view_version(is_) else BUILT


def _of_fields(old: EventSource, new: EventSource) -> Iterator[str]:
    """A sentence for each field whose stored values are declared in another way."""
    former = {name for field in new.fields for name in field.former}
    for field in new.fields:
        was = next((old.by_name[n] for n in (field.name, *field.former) if n in old.by_name), None)
        if was is None:
            yield f"{field.name} is new; it is null in stored events."
        elif said := _differences(was, field):
            yield f"{field.name} {said}; stored events are read exactly."
        elif field != was:
            yield f"{field.name} is read from payloads in another way; stored events are as they are."
    for name in old.by_name.keys() - new.by_name.keys() - former:
        yield f"{name} is gone; its stored values stay in the files, and nobody reads them."
    # Limits are a night's, and of changed `changes` the views say enough.
    alike = [replace(each, fields=(), limits=Limits(), changes=None) for each in (old, new)]
    if alike[0] != alike[1]:
        yield "what it says of all events differs; events to come go by it, and stored ones are as they are."


def _differences(was: Field, field: Field) -> str:
    name = f"was {was.name}" if was.name != field.name else ""
    kind = f"was {described(was)} and is {described(field)}" if described(was) != described(field) else ""
    return " and ".join(filter(None, (name, kind)))
