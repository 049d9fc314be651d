"""What the daemon counts, in the text format of Prometheus (version 0.0.4)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from monitor.core.blocks import Alarm
from monitor.core.published import Status, StreamState
from monitor.telemetry import Telemetry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metric(NamedTuple):
    """A name, what it means, and its values by labels."""

    name: str
    kind: Literal["counter", "gauge", "summary"]
    help: str
    values: list[tuple[Mapping[str, str], float]]


def exposition(metrics: Iterable[Metric]) -> str:
    """The text that Prometheus scrapes; values that are no number are left out."""
    lines = []
    for metric in metrics:
        name = f"foretrace_{metric.name}"
        lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}"]
        lines += [
            f"{name}{_labels(labels)} {value:.17g}" for labels, value in metric.values if not math.isnan(value)
        ]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    inner = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items())
    return f"{{{inner}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def daemon_metrics(
    status: Status,
    telemetry: Telemetry,
    alarms: Sequence[Alarm],
    *,
    waiting: int,
    storage_ok: bool,
    connected: Mapping[str, bool],
    dropped: Mapping[str, int],
    refused_connections: int,
) -> list[Metric]:
    """What there is to say of the daemon as a whole."""

    def one(name: str, kind: Literal["counter", "gauge"], text: str, value: float) -> Metric:
        return Metric(name, kind, text, [({}, value)])

    by_priority = {p: sum(a.priority == p for a in alarms) for p in ("low", "medium", "high")}
    latency: list[tuple[Mapping[str, str], float]] = [
        ({"quantile": f"{share:g}"}, telemetry.latency.quantile_ms(share) / 1000) for share in (0.5, 0.9, 0.99)
    ]
    return [
        Metric("info", "gauge", "Which daemon this is.", [({"name": status.name, "version": status.version}, 1)]),
        Metric(
            "model_info", "gauge", "Models that are loaded.", [({"model": model}, 1) for model in status.models]
        ),
        one("start_time_seconds", "gauge", "When it started.", status.started_ns / 1e9),
        one("streams", "gauge", "Streams that are known.", status.streams),
        one("windows_total", "counter", "Windows inferred.", status.windows),
        one("windows_waiting", "gauge", "Windows that wait for inference.", waiting),
        one("events_total", "counter", "Events flagged.", status.events),
        one("blocks_refused_total", "counter", "Messages that could not be used.", status.refused),
        one("connections_refused_total", "counter", "Clients without a key that may.", refused_connections),
        one("alarm_log_writable", "gauge", "0 while the alarm log cannot be written.", storage_ok),
        Metric("latency_seconds", "summary", "From receipt of a block to what its window gave.", latency),
        Metric(
            "alarms_open",
            "gauge",
            "Alarms that are not over.",
            [({"priority": p}, n) for p, n in by_priority.items()],
        ),
        Metric(
            "source_connected",
            "gauge",
            "Whether it can receive.",
            [({"source": k}, v) for k, v in connected.items()],
        ),
        Metric(
            "feed_dropped_total",
            "counter",
            "Messages that a feed had no room for.",
            [({"feed": k}, v) for k, v in dropped.items()],
        ),
    ]


_LEDGER = {
    "received": "Samples received.",
    "missing": "Samples that never came in time.",
    "before_first": "Of the missing, those sent before the first block that came.",
    "duplicated": "Samples that came again.",
    "late": "Of the missing, those that came after all, too late.",
    "invalid": "Received samples without a value.",
}


def stream_metrics(states: Sequence[StreamState]) -> list[Metric]:
    """What there is to say of each stream."""

    def each(name: str, kind: Literal["counter", "gauge"], text: str, values: Iterable[float]) -> Metric:
        rows: list[tuple[Mapping[str, str], float]] = [
            ({"stream": state.stream}, value) for state, value in zip(states, values, strict=True)
        ]
        return Metric(name, kind, text, rows)

    metrics = [
        each(f"samples_{field}_total", "counter", text, [getattr(s.ledger, field) for s in states])
        for field, text in _LEDGER.items()
    ]
    return [
        *metrics,
        each(
            "stream_blocks_refused_total",
            "counter",
            "Its blocks that could not be used.",
            [s.ledger.refused for s in states],
        ),
        each("stream_gaps_total", "counter", "Gaps within a run.", [s.ledger.gaps for s in states]),
        each("stream_runs_total", "counter", "Runs of its sender.", [s.ledger.runs for s in states]),
        each("stream_windows_total", "counter", "Its windows inferred.", [s.windows for s in states]),
        each("stream_hops_skipped_total", "counter", "Hops left out under overload.", [s.skipped for s in states]),
        each("stream_events_total", "counter", "Its events.", [s.events for s in states]),
        each(
            "stream_newest_seconds",
            "gauge",
            "Data time of its newest sample.",
            [s.newest_ns / 1e9 for s in states],
        ),
        each(
            "stream_warming",
            "gauge",
            "1 while some model has not seen a whole window.",
            [s.warming for s in states],
        ),
    ]
