"""Reading ten features online: state folded at the read, beside stock Feast that holds finished numbers.

Both answer through `FeatureStore.get_online_features`, from the same embedded Redis, in turns within one run,
and every pair of answers is compared. dualpath's clock stands still, so that what stock Feast holds (written
once, from dualpath's own answers) stays right. MGET of dualpath's keys alone is the floor under its reads.
"""

import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from feast import FeatureStore, FeatureView, FileSource, RepoConfig
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from benchmarks import shop
from benchmarks.measure import Figure, take_turns
from dualpath.aggregates import Count, Distinct, Max, Mean, Sum
from dualpath.declare import feature, feature_view, own_features, view_of
from dualpath.online import keys, manifest
from dualpath.online.connection import connect
from dualpath.online.extent import Publication
from dualpath.online.manifest import Manifest
from dualpath.online.writer import Destination, FencedWrite
from dualpath.record import Fence
from dualpath.runtime import redis as embedded
from dualpath.windows import DAY, days, hours, lifetime, minutes, today

USERS = 2_000
LOADS = {"29 records a user": (1, 57), "350 records a user": (200, 500)}
"""Fewest and most records of a user; 29 is the mean of the web shop's export (`DUALPATH_DATA`)."""
CALLS = {1: 2_000, 100: 500}
"""How many counted calls for how many entities."""
PROJECT, NAMESPACE, SNAPSHOT, EPOCH = "bench", "n1", "2025-06-13", "2025-06-14"
NIGHT = shop.AS_OF - 2 * DAY
"""Events up to here are in the snapshot, later ones in the arrival day."""

activity = feature_view(
    "activity",
    entity=shop.user,
    source=shop.events,
    features=[
        feature("actions_5min", Count(), over=minutes(5)),
        feature("actions_30min", Count(), over=minutes(30)),
        feature("views_1h", Count(where="action = 'view_item'"), over=hours(1)),
        feature("carts_24h", Count(where="action = 'add_to_cart'"), over=hours(24)),
        feature("spend_24h", Sum("amount"), over=hours(24)),
        feature("spend_today", Sum("amount"), over=today()),
        feature("mean_amount_7d", Mean("amount"), over=days(7)),
        feature("max_amount_7d", Max("amount"), over=days(7)),
        feature("interests_1h", Distinct("category"), over=hours(1)),
        feature("last_active", Max("event_time"), over=lifetime()),
    ],
)


def run() -> Iterator[Figure]:
    """One figure for each load and number of entities."""
    for load, per_user in LOADS.items():
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            address = embedded.ensure(root / "redis")
            try:
                yield from _compare(root, address, load, per_user)
            finally:
                embedded.stop(root / "redis")


def _compare(root: Path, address: str, load: str, per_user: tuple[int, int]) -> Iterator[Figure]:
    write_state(address, per_user)
    ours = opened(root, PROJECT, "dualpath.feast.online.DualpathRedisOnlineStore", address)
    ours.apply([shop.user, activity])
    ours._get_provider().online_store.clock = lambda: shop.AS_OF
    stock = opened(root, "stock", "redis", address)
    finished = write_finished(ours, stock)
    # Feast resolves feature names once per process and registry: two of different age would undo each other's work.
    stock.registry.cached_registry_proto_created = ours.registry.cached_registry_proto_created
    client = connect(address)
    prefixes = [keys.prefix(PROJECT, NAMESPACE, activity.name, part) for part in ("s" + SNAPSHOT, "e" + EPOCH)]
    declared = view_of(activity)
    assert declared is not None, "it is windowed"
    features = [f"{activity.name}:{f.name}" for f in declared.features]
    own = [f"{activity.name}:{name}" for name in own_features(declared)]
    finished_features = [f"{finished.name}:{f.name}" for f in declared.features]
    rng = np.random.default_rng(1)

    def drawn(entities: int, calls: int) -> Iterator[list[str]]:
        for _ in range(calls):
            yield [shop.name(n) for n in rng.choice(USERS, entities, replace=False).tolist()]

    def compare(names: list[str], answers: Mapping[str, Any]) -> None:
        one, other = answers["dualpath"].to_dict(), answers["stock Feast"].to_dict()
        if one != other:
            raise AssertionError(f"the stores disagree on {names}:\n{one}\n{other}")

    for entities, calls in CALLS.items():
        warm_up = calls // 10
        yield take_turns(
            f"{entities} entit{'y' if entities == 1 else 'ies'} x {len(features)} features, online, {load}",
            {
                "dualpath": lambda names: ours.get_online_features(features, [{"user_id": n} for n in names]),
                "dualpath, with what it knew": lambda names: ours.get_online_features(
                    [*features, *own], [{"user_id": n} for n in names]
                ),
                "stock Feast": lambda names: stock.get_online_features(
                    finished_features, [{"user_id": n} for n in names]
                ),
                "Redis MGET alone": lambda names: client.mget(
                    [keys.manifest(PROJECT, activity.name), *(p + keys.tagged(n) for n in names for p in prefixes)]
                ),
            },
            drawn(entities, calls + warm_up),
            compare,
            warm_up,
        )


def opened(root: Path, project: str, online: str, address: str) -> FeatureStore:
    """A Feast repo whose registry is read once."""
    config = RepoConfig(
        project=project,
        provider="local",
        registry={"path": str(root / f"{project}.db"), "cache_ttl_seconds": 0},
        online_store={"type": online, "connection_string": address},
        entity_key_serialization_version=3,
    )
    return FeatureStore(config=config)


def write_state(address: str, per_user: tuple[int, int]) -> None:
    """The records of every user, by the writer the jobs use, as a snapshot and an arrival day."""
    view = view_of(activity)
    assert view is not None, "it is windowed"
    events = shop.Events.draw(USERS, per_user, days=8)
    words = events.words(view)
    old = events.time <= NIGHT
    snapshot = Destination(NAMESPACE, view, publication=Publication(1, SNAPSHOT))
    for part, arrival_day, chosen in ((snapshot, SNAPSHOT, old), (Destination(NAMESPACE, view), EPOCH, ~old)):
        target = FencedWrite(address, PROJECT, {view.name: part}, Fence(1, 1))
        list(target.write(shop.rows(view, arrival_day, events.user[chosen], words[chosen])))
    list(FencedWrite(address, PROJECT, {}, Fence(1, 1)).write([shop.texts(shop.CATEGORIES)]))
    manifest.place(connect(address), PROJECT, view.name, Manifest(NAMESPACE, SNAPSHOT, (EPOCH,)))


def write_finished(ours: FeatureStore, stock: FeatureStore) -> FeatureView:
    """The same features as finished numbers, taken from dualpath's answers, in stock Feast's store."""
    source = FileSource(name="finished", path="finished.parquet", timestamp_field="event_time")
    view = FeatureView(name="finished", entities=[shop.user], ttl=timedelta(0), schema=activity.schema, source=source)
    stock.apply([shop.user, view])
    features = [f"{activity.name}:{f.name}" for f in activity.features]
    names = [shop.name(n) for n in range(USERS)]
    answer = ours.get_online_features(features, {"user_id": names}).proto
    columns = dict(zip(answer.metadata.feature_names.val, (v.values for v in answer.results), strict=True))
    written = datetime.fromtimestamp(shop.AS_OF / 1e6, UTC)
    data = []
    for i, name in enumerate(names):
        key = EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=name)])
        data.append((key, {f.name: columns[f.name][i] for f in activity.features}, written, None))
    stock._get_provider().online_write_batch(stock.config, view, data, None)
    return view
