"""The Grafana boards of the news example: a table of panels here, the JSON in `dashboards/`.

After a change run `python -m examples.news.boards`, which writes the files anew; Grafana imports them as they are.
"""

import json
from pathlib import Path

from examples.news.grafana import Board, Panel

FOLDER = Path(__file__).parent / "dashboards"
RATE = "[$__rate_interval]"


def rate(counter: str, by: str = "") -> str:
    """PromQL: a counter's rate, of all labels but `by`."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({counter}{RATE}))"


def share(part: str, whole: str, by: str = "") -> str:
    """PromQL: a counter's rate over another's."""
    return f"{rate(part, by)} / {rate(whole, by)}"


def quantile(q: float, histogram: str, *by: str, where: str = "") -> str:
    """PromQL: a quantile of a histogram by labels, of the series that have others."""
    return f"histogram_quantile({q}, {rate(f'{histogram}_bucket{where}', ', '.join(('le', *by)))})"


def stat(title: str, unit: str, expr: str, red: float | None = None, tells: str = "") -> Panel:
    """A single number, red from a limit on."""
    return Panel(title, unit, {title: expr}, tells, kind="stat", red=red)


PHASES, ENTERED = "dualpath_batch_phase_seconds_sum", "dualpath_batch_phase_seconds_count"
REFUSED = 'dualpath_rows_total{outcome="dead_letter"}'
REQUEST, STAGE = "dualpath_serving_request_seconds", "dualpath_serving_stage_seconds"
FAILED = 'dualpath_serving_requests_total{status=~"5.."}'

INGESTION = Board(
    "ingestion",
    "ingestion",
    (
        stat("Rows waiting", "short", "sum(dualpath_lag_rows)"),
        stat("Age of the newest row while others wait", "s", "max(dualpath_lag_seconds)", red=60),
        stat("Dead letters", "percentunit", share(REFUSED, "dualpath_rows_total"), red=0.01),
        stat("Stream last heard of", "s", "time() - min(dualpath_reported_timestamp_seconds)", red=60),
        Panel(
            "Lag",
            "short",
            {
                "{{source}}": "sum by (source) (dualpath_lag_rows)",
                "{{source}}, most behind": "max by (source) (dualpath_lag_rows_of_a_partition)",
            },
            "Rows the last micro-batch left behind, in total and of the partition that is most behind.",
        ),
        Panel("Rows by outcome", "cps", {"{{source}} {{outcome}}": rate("dualpath_rows_total", "source, outcome")}),
        Panel(
            "Dead letters, share of rows",
            "percentunit",
            {"{{source}}": share(REFUSED, "dualpath_rows_total", "source")},
            red=0.01,
        ),
        Panel(
            "Late and out of retention",
            "cps",
            {
                "{{source}} late": rate("dualpath_late_rows_total", "source"),
                "{{source}} out of retention": rate("dualpath_out_of_retention_rows_total", "source"),
            },
            "Accepted rows that came later than late_after, and those that no window could reach any more.",
        ),
        Panel("Ids in the deduplication store", "short", {"{{source}}": "sum by (source) (dualpath_state_rows)"}),
        Panel("Size of the deduplication store", "bytes", {"{{source}}": "sum by (source) (dualpath_state_bytes)"}),
    ),
)

PROCESSING = Board(
    "processing",
    "processing",
    (
        stat("Arrival to servable, p50", "s", quantile(0.5, "dualpath_arrival_to_servable_seconds")),
        stat("Arrival to servable, p99", "s", quantile(0.99, "dualpath_arrival_to_servable_seconds")),
        stat("Streams that wait for Redis", "short", "sum(dualpath_redis_away)", red=1),
        stat("Large entities", "short", "sum(dualpath_entities_over_bound)", red=1, tells="Over max_records."),
        Panel(
            "Freshness from arrival",
            "s",
            {
                "{{source}} p50": quantile(0.5, "dualpath_arrival_to_servable_seconds", "source"),
                "{{source}} p99": quantile(0.99, "dualpath_arrival_to_servable_seconds", "source"),
            },
            "From an event's arrival until Redis has acknowledged it.",
        ),
        Panel(
            "Freshness from event time",
            "s",
            {
                "{{source}} p50": quantile(0.5, "dualpath_event_to_servable_seconds", "source"),
                "{{source}} p99": quantile(0.99, "dualpath_event_to_servable_seconds", "source"),
            },
        ),
        Panel(
            "Phases of a micro-batch",
            "s",
            {"{{phase}}": share(f'{PHASES}{{phase!~"addBatch/.*"}}', f'{ENTERED}{{phase!~"addBatch/.*"}}', "phase")},
            "Means. triggerExecution is all of them.",
        ),
        Panel(
            "Steps within addBatch",
            "s",
            {"{{phase}}": share(f'{PHASES}{{phase=~"addBatch/.*"}}', f'{ENTERED}{{phase=~"addBatch/.*"}}', "phase")},
            "Means. docs/stream.md draws the steps.",
        ),
        Panel("Micro-batches", "cps", {"{{source}}": rate("dualpath_batches_total", "source")}),
        Panel("Records appended to Redis", "cps", {"{{view}}": rate("dualpath_records_total", "view")}),
        Panel(
            "A write to Redis",
            "s",
            {"{{view}}": share("dualpath_redis_write_seconds_total", "dualpath_redis_writes_total", "view")},
            "Mean duration of a call, as the writers see it.",
        ),
        Panel(
            "Redis away, and rebuilds",
            "cps",
            {
                "{{source}} failed attempts": rate("dualpath_redis_retries_total", "source"),
                "{{source}} rebuilt, {{state}}": rate("dualpath_rebuilds_total", "source, state"),
            },
        ),
    ),
)

SERVING = Board(
    "serving",
    "serving",
    (
        stat("Requests", "reqps", rate("dualpath_serving_requests_total")),
        stat("A ranking, p99", "s", quantile(0.99, REQUEST, where='{route="/rank"}'), red=0.05),
        stat("Errors", "percentunit", f"({share(FAILED, 'dualpath_serving_requests_total')}) or vector(0)", red=0.01),
        stat("Breakers open", "short", "sum(dualpath_serving_breaker_open)", red=1),
        Panel(
            "Requests by route",
            "s",
            {"{{route}} p50": quantile(0.5, REQUEST, "route"), "{{route}} p99": quantile(0.99, REQUEST, "route")},
            red=0.05,
        ),
        Panel("Stages of a decision, p99", "s", {"{{stage}}": quantile(0.99, STAGE, "stage")}),
        Panel("Requests by status", "reqps", {"{{status}}": rate("dualpath_serving_requests_total", "status")}),
        Panel(
            "Degraded answers",
            "cps",
            {
                "without {{cause}}": rate("dualpath_serving_degraded_total", "cause"),
                "stale": rate("dualpath_serving_stale_total"),
            },
            "Answers that lacked features or the journal, and answers from a stream that was behind.",
        ),
        Panel(
            "Redis",
            "short",
            {
                "breakers open": "sum(dualpath_serving_breaker_open)",
                "streams that wait for Redis": "sum(dualpath_redis_away)",
            },
        ),
        Panel("Staleness of the stream", "s", {"staleness": "max(dualpath_serving_staleness_seconds)"}, red=60),
        Panel("Decisions", "cps", {"{{variant}}": rate("dualpath_serving_decisions_total", "variant")}),
        Panel(
            "Decisions that explored",
            "percentunit",
            {"{{variant}}": share("dualpath_serving_explored_total", "dualpath_serving_decisions_total", "variant")},
            "The share of decisions that did not take the best candidate.",
        ),
        Panel("Waiting in the journal", "short", {"waiting": "sum(dualpath_serving_journal_queue)"}),
        Panel(
            "Failures of what decisions need",
            "cps",
            {
                "journal": rate("dualpath_serving_journal_failures_total"),
                "{{error}}": rate("dualpath_serving_dependency_failures_total", "error"),
            },
            "Kafka's, and by the class of the error: Redis, the state in it, published policies that cannot be used.",
        ),
    ),
)

LOOP = Board(
    "loop",
    "loop",
    (
        stat("Age of the policy", "s", "max(dualpath_serving_policy_age_seconds)", red=300),
        stat("Effective sample size", "short", "min(dualpath_loop_effective_sample_size)"),
        stat("Sample ratio, p", "none", "min(dualpath_loop_sample_ratio_p_value)", tells="Below 0.001: a mismatch."),
        stat("Decay", "none", "max(dualpath_loop_decay_alarm)", red=1, tells="1: the policy earns less than it says."),
        Panel(
            "From click to learned",
            "s",
            {
                "p50": quantile(0.5, "dualpath_loop_join_delay_seconds"),
                "p99": quantile(0.99, "dualpath_loop_join_delay_seconds"),
            },
        ),
        Panel(
            "Age of the policy",
            "s",
            {
                "in use": "max(dualpath_serving_policy_age_seconds)",
                "published": "time() - max(dualpath_loop_policy_published_timestamp_seconds)",
            },
            red=300,
        ),
        Panel(
            "Rewards per decision",
            "percentunit",
            {"{{variant}}": share("dualpath_loop_rewards_total", "dualpath_loop_decisions_total", "variant")},
        ),
        Panel(
            "Events that teach nothing",
            "cps",
            {
                "late clicks": rate("dualpath_loop_late_clicks_total"),
                "no decisions": rate("dualpath_loop_refused_decisions_total"),
            },
            "Clicks that came too late, and events among the decisions that are none.",
        ),
        Panel("Stability index by coordinate", "none", {"{{coordinate}}": "dualpath_loop_psi"}, red=0.2),
        Panel(
            "Rewards against the prediction",
            "none",
            {"standard errors": "min(dualpath_loop_reward_gap_z)"},
            "Far below zero, what was learned does not hold any more.",
        ),
        Panel(
            "Effective sample size",
            "short",
            {"of the newest decisions": "min(dualpath_loop_effective_sample_size)"},
            "Kish's: how many decisions of a uniform policy tell as much.",
        ),
        Panel("Sample ratio, p", "none", {"p": "min(dualpath_loop_sample_ratio_p_value)"}),
    ),
)

BOARDS = (INGESTION, PROCESSING, SERVING, LOOP)


def written() -> dict[str, str]:
    """The files of `dashboards/`: their text by name."""
    return {f"{board.name}.json": json.dumps(board.json(), indent=2) + "\n" for board in BOARDS}


if __name__ == "__main__":
    for name, text in written().items():
        (FOLDER / name).write_text(text)
