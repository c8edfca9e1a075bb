"""What the live page shows for a document."""

from typing import Any

MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


def expected(made: dict[str, Any]) -> dict[str, str]:
    """What the page shows for single values of a document."""
    reader, policy, loop, trial = made["reader"], made["policy"], made["loop"], made["experiment"]
    return {
        "reader.clicks_5min": f"{reader['clicks_5min']:,}",
        "reader.known": reader["known"],
        "reader.variant": reader["variant"],
        "reader.decision_id": reader["decision_id"],
        "reader.policy": reader["policy"],
        "experiment.name": trial["name"],
        "experiment.difference": f"+{100 * trial['difference']:.1f} points",
        "experiment.sentence": trial["sentence"],
        "experiment.sample_ratio_p": f"{trial['sample_ratio_p']:.3f}",
        "loop.z": f"{loop['z']:+.1f}".replace("-", MINUS),
        "loop.join_delay_p50": f"{loop['join_delay_p50']:.1f} s",
        "loop.ess": f"{loop['ess']:,.0f}",
        "health.redis": made["health"]["redis"],
        "health.breaker": made["health"]["breaker"],
        "health.kafka": made["health"]["kafka"],
        "health.staleness_seconds": f"{made['health']['staleness_seconds']:.1f} s",
        "health.journal_queue": str(made["health"]["journal_queue"]),
        "requests": f"{made['requests']:,}",
        "degraded.features": str(made["degraded"]["features"]),
        "degraded.journal": str(made["degraded"]["journal"]),
        "policy.hash": policy["hash"],
        "policy.age_seconds": f"{policy['age_seconds']:.1f} s",
        "policy.decisions": f"{policy['decisions']:,}",
        "policy.rewards": str(policy["rewards"]),
    }


def expected_rows(made: dict[str, Any]) -> dict[str, list[str]]:
    """What the page shows in its lists and tables, by the selector of their cells."""
    variants = made["experiment"]["variants"].items()
    regret = made["simulation"]["regret"].items()
    loop = made["loop"]
    return {
        "#interest li > :not(.track)": [t for k, v in made["reader"]["interest"].items() for t in (k, f"{v:.2f}")],
        "#feed td": [
            text
            for rank, each in enumerate(made["reader"]["feed"], start=1)
            for text in (str(rank), each["article_id"], each["category"], f"{each['score']:.3f}")
        ],
        "#variants td": [
            text
            for name, n in variants
            for text in (
                name,
                f"{n['decisions']:,}",
                f"{n['clicks']:,}",
                f"{100 * n['clicks'] / n['decisions']:.1f} %",
            )
        ],
        "#legend span, #legend b": [text for name, values in regret for text in (name, f"{values[-1]:.1f}")],
        "#clicks .value": [f"{loop['predicted']:.3f}", f"{loop['observed']:.3f}"],
        "#psi li > :not(.track)": [text for name, psi in loop["psi"].items() for text in (name, f"{psi:.3f}")],
        "#stages td:not(.picture)": [
            text for name, each in made["stages"].items() for text in (name, f"{each['p50']:.1f}", f"{each['p99']:.1f}")
        ],
    }
