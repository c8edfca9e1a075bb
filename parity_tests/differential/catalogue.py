"""Cases of the registry: plans, versions, lists."""

from collections.abc import Iterable
from typing import Any

from feast import FeatureView, Field
from feast.repo_contents import RepoContents
from feast.types import Int64

from parity_tests.differential.plain import served
from parity_tests.differential.sides import Case, Side, declared


def contents(objects: Iterable[Any]) -> RepoContents:
    """Objects as `feast plan` sorts them."""
    kinds: dict[str, list[Any]] = {}
    for each in objects:
        kinds.setdefault(type(each).__name__, []).append(each)
    views = kinds.get("FeatureView", [])
    sources = [source for view in views for source in (view.batch_source, view.stream_source) if source]
    sources += [s for odfv in kinds.get("OnDemandFeatureView", []) for s in odfv.source_request_sources.values()]
    return RepoContents(
        projects=[],
        data_sources=list({source.name: source for source in sources}.values()),
        feature_views=views,
        on_demand_feature_views=kinds.get("OnDemandFeatureView", []),
        stream_feature_views=[],
        label_views=[],
        entities=kinds.get("Entity", []),
        feature_services=kinds.get("FeatureService", []),
        permissions=[],
    )


def changes(side: Side, objects: Iterable[Any]) -> Any:
    """What a plan would change: each object and how, and each table of the online store."""
    registry, infra, _ = side.store.plan(contents(objects))
    diffs = [d for d in [*registry.feast_object_diffs, *infra.infra_object_diffs] if d.name != side.store.project]
    return sorted(f"{diff.transition_type.name} {diff.name}" for diff in diffs)


def plan_of_nothing(side: Side) -> Any:
    """The repo as it was applied."""
    return changes(side, declared(side))


def plan_of_a_change(side: Side) -> Any:
    """A view with one feature more, and a view less."""
    objects = [each for each in declared(side) if each.name != "weather"]
    for each in objects:
        if isinstance(each, FeatureView) and each.name == "zone_traffic":
            each.features.append(Field(name="lorries", dtype=Int64))
    return changes(side, objects)


def everything_declared(side: Side) -> Any:
    """Names, features and keys of all that is declared."""
    store = side.store
    views = [(v.name, sorted(f"{f.name} {f.dtype}" for f in v.features), v.ttl) for v in store.list_feature_views()]
    on_demand = [(v.name, sorted(f.name for f in v.features), v.mode) for v in store.list_on_demand_feature_views()]
    entities = [(e.name, e.join_key, e.value_type.name) for e in store.list_entities()]
    sources = [(type(s).__name__, s.name) for s in store.list_data_sources()]
    services = [(s.name, [p.name_to_use() for p in s.feature_view_projections]) for s in store.list_feature_services()]
    return [sorted(each) for each in (views, on_demand, entities, sources, services)]


def versions_of_a_view(side: Side) -> Any:
    """Every version that a view had."""
    return [each["version"] for each in side.store.list_feature_view_versions("driver_home")]


def a_view_switched_off(side: Side) -> Any:
    """A disabled view is not served."""
    side.store.disable_feature_view("zone_traffic")
    side.store.refresh_registry()
    try:
        return served(side.store.get_online_features(["zone_traffic:cars"], {"zone_id": [7]}))
    finally:
        side.store.enable_feature_view("zone_traffic")
        side.store.refresh_registry()


def a_view_switched_on_again(side: Side) -> Any:
    """It is served again once it is enabled."""
    side.store.disable_feature_view("zone_traffic")
    side.store.enable_feature_view("zone_traffic")
    side.store.refresh_registry()
    return served(side.store.get_online_features(["zone_traffic:cars"], {"zone_id": [7]}))


SWITCHED = [a_view_switched_off, a_view_switched_on_again]
CASES: dict[str, Case] = {
    f"catalogue {case.__name__}": case
    for case in (plan_of_nothing, plan_of_a_change, everything_declared, versions_of_a_view, *SWITCHED)
}
