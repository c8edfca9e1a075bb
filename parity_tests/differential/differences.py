"""Where dualpath answers otherwise than stock Feast, on purpose: the case, the reason, and the right answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dualpath.errors import InputError
from parity_tests.differential import online, training, writes
from parity_tests.differential.data import asked
from parity_tests.differential.plain import frame, shown, trained
from parity_tests.differential.sides import Case, Side

ABSENT = (None, "NOT_FOUND")


@dataclass(frozen=True)
class Difference:
    """What is right in a case: `look` at dualpath's side answers `right`, or raises it."""

    look: Case
    right: Any
    reason: str


def request(name: str) -> Callable[[Side], Any]:
    """The readable answer to a request of `online`."""
    features, entities = online.REQUESTS[name]
    return lambda side: shown(side.store.get_online_features(features, entities))


def request_async(name: str) -> Callable[[Side], Any]:
    """The same, awaited."""
    features, entities = online.REQUESTS[name]
    return lambda side: shown(side.run(side.store.get_online_features_async(features, entities)))


NULL = "A null join key means no entity: null and NOT_FOUND, as in training. Stock raises a TypeError."
NEVER = "An entity that was never written is NOT_FOUND. Stock calls its null PRESENT."
EXPIRED = "The view's TTL holds online as in training: null and OUTSIDE_MAX_AGE. Stock serves the old value."
EARLIER = "An `event_timestamp` is the row's instant, and a later value is not served. Stock ignores it."
MISSING = "A missing join key is refused. Stock reads another entity, and answers null."
UNFIT = "A key that is not of its type is refused. Stock turns 1001.5 into 1001, and True into 1."
ALIASED = "An alias reads its own key, whatever other columns a request has. Stock takes the last of both."

ORDERED = "Features have the order of the request, on-demand views' inputs come last. Stock's order differs by process."
HANDED = (
    "Columns of an `entity_df` come back as they were. Stock changes instants to microseconds, categories to texts."
)
COLUMNS = "A column may be a NumPy array or a pandas column too. Stock takes lists and tuples alone."
TWO = {"town": [("Bern", "PRESENT"), ("", "PRESENT")], "rent": [(900.1, "PRESENT"), (2e300, "PRESENT")]}


REQUESTS: dict[str, tuple[Any, str]] = {
    "numpy_keys": (TWO, COLUMNS),
    "column_of_a_frame": (TWO, COLUMNS),
    "empty_columns": (
        {"rent": []},
        "Columns without rows give no rows. Stock demands other views' keys.",
    ),
    "null_key": ({"rent": [ABSENT]}, NULL),
    "null_key_beside_another": ({"rent": [(900.1, "PRESENT"), ABSENT]}, NULL),
    "null_part_of_a_key": ({"orders": [ABSENT]}, NULL),
    "never_written": ({"rent": [(900.1, "PRESENT"), ABSENT]}, NEVER),
    "never_written_in_a_view_with_ttl": ({"conv_rate": [ABSENT]}, NEVER),
    "never_written_composite": ({"spent": [ABSENT]}, NEVER),
    "view_without_entities": ({"degrees": [ABSENT]}, NEVER),
    "on_demand_never_stored": ({"yearly": [ABSENT]}, NEVER),
    "older_than_ttl": ({"grade": [(None, "OUTSIDE_MAX_AGE")]}, EXPIRED),
    "instant_before_the_value": ({"rent": [ABSENT]}, EARLIER),
    "missing_key_of_two": (InputError, MISSING),
    "half_key": (InputError, UNFIT),
    "boolean_key": (InputError, UNFIT),
}
NO_INSTANT = "A row without an instant has no answer, so it is refused. Stock answers nulls."
TRAINED: dict[str, tuple[Any, str]] = {
    "missing_instant": (InputError, NO_INSTANT),
    "missing_text_instant": (InputError, NO_INSTANT),
}


def journey(keys: dict[str, list[int]]) -> Case:
    """Two aliases of one view."""
    return lambda side: shown(
        side.store.get_online_features(side.store.get_feature_service("journey"), keys, full_feature_names=True)
    )


def arrow_is_as_good(side: Side) -> bool:
    """An Arrow `entity_df` gives what the same rows in pandas give."""
    features = training.ORDERS
    given = side.store.get_historical_features(pa.Table.from_pandas(asked()), features)
    return trained(given) == trained(side.store.get_historical_features(asked(), features))


def as_handed_in(name: str) -> Case:
    """Whether columns of `entity_df` come back as they were, beside the features of the same rows in UTC."""

    def look(side: Side) -> bool:
        mine = training.FRAMES[name]()
        answer = side.store.get_historical_features(mine, training.ORDERS).to_df()
        plain = side.store.get_historical_features(asked(), training.ORDERS).to_df()
        features = ["orders", "spent"]
        return frame(answer[[*mine.columns]]) == frame(mine) and frame(answer[features]) == frame(plain[features])

    return look


def reads_both_keys(side: Side) -> bool:
    """Whether a view with one of two keys renamed is read as it is with none renamed."""
    service = side.store.get_feature_service("theirs")
    renamed = side.store.get_historical_features(training.theirs(), service).to_df()
    plain = side.store.get_historical_features(asked(), training.ORDERS).to_df()
    return frame(renamed[["orders", "spent"]]) == frame(plain[["orders", "spent"]])


def as_in_training(side: Side) -> bool:
    """Whether lists and instants of a frame are of the same types as in a training set."""
    served = side.store.get_online_features(online.STATS, online.FRESH).to_df()
    trained = side.store.get_historical_features(asked(), online.STATS).to_df()
    lists = all(type(served[name][0]) is type(trained[name][0]) for name in ("tags", "scores"))
    return lists and bool(served["seen"].dtype == trained["seen"].dtype)


def reads_back(case: Case) -> Case:
    """Whether a saved dataset reads back in both forms."""
    return lambda side: bool(case(side))


JOURNEY = {"origin__cars": [(1, "PRESENT"), (2, "PRESENT")], "origin__speed": [(1.5, "PRESENT"), (2.5, "PRESENT")]}
JOURNEY |= {"destination__cars": [(3, "PRESENT"), (1, "PRESENT")]}
JOURNEY |= {"destination__speed": [(3.5, "PRESENT"), (1.5, "PRESENT")]}
RENT = {"rent": [(900.1, "PRESENT"), (-0.0, "PRESENT"), (900.1, "PRESENT")]}

DIFFERENCES: dict[str, Difference] = {
    **{f"online {name}": Difference(request(name), *right) for name, right in REQUESTS.items()},
    **{f"async {name}": Difference(request_async(name), *right) for name, right in REQUESTS.items()},
    **{f"training {name}": Difference(training.CASES[f"training {name}"], *r) for name, r in TRAINED.items()},
    **{
        f"training {name}": Difference(as_handed_in(name), True, HANDED)
        for name in ("nanoseconds", "seconds", "iso_texts", "iso_texts_of_a_zone", "categorical_keys")
    },
    "training in_the_order_of_the_service": Difference(
        training.in_the_order_of_the_service,
        [
            *(reference.split(":")[1] for reference in online.STATS),
            *("rent", "orders", "spent", "trips_and_bonus", "rate_twice", "address", "dear", "town"),
        ],
        ORDERED,
    ),
    "online aliases_in_the_other_order": Difference(journey({**online.JOURNEY, "zone_id": [8, 8]}), JOURNEY, ALIASED),
    "online alias_without_its_key": Difference(online.alias_without_its_key, InputError, ALIASED),
    "online as_a_frame": Difference(
        as_in_training,
        True,
        "Lists and instants of a frame are as in training: arrays and microseconds. Stock's are lists and nanoseconds.",
    ),
    "online in_the_order_asked": Difference(
        lambda side: [name for name in online.in_the_order_asked(side) if name != "driver_id"],
        [reference.split(":")[1] for reference in online.OTHER_ORDER],
        ORDERED,
    ),
    "online one_loop_after_another": Difference(
        lambda side: len(online.one_loop_after_another(side)),
        2,
        "Every event loop has its own client. Stock's client fails in a second loop.",
    ),
    "write precomputed_for_an_earlier_instant": Difference(
        writes.precomputed_for_an_earlier_instant,
        InputError,
        "Precomputed vectors have no instants, so a request with one is refused. Stock serves later values.",
    ),
    "training one_of_two_keys_renamed": Difference(
        reads_both_keys,
        True,
        "A view with one key renamed is read by all of its keys. Stock reads it by that one alone.",
    ),
    "training arrow_entity_df": Difference(
        arrow_is_as_good, True, "An `entity_df` may be an Arrow table. Stock's DuckDB store takes pandas alone."
    ),
    "training dataset_in_a_new_folder": Difference(
        reads_back(training.dataset_in_a_new_folder),
        True,
        "A saved dataset's folder is created. Stock's must exist.",
    ),
    "training dataset_of_a_service": Difference(
        reads_back(training.dataset_of_a_service),
        True,
        "On-demand features are saved with the others. Stock saves a dataset without them, and cannot read it back.",
    ),
}
