"""Messages of streams as a cluster stores them."""

from __future__ import annotations

import itertools

import msgspec

from monitor.cluster.shard import Entry
from monitor.config import Config
from monitor.core.ecg import Ecg
from monitor.core.ecg_rhythm import Episode
from monitor.core.signals import NoisySine
from monitor.core.wire import encode_block
from monitor.senders import blocks_of, signal_values

START_NS = 1_700_000_000 * 10**9


def config_of(**sections) -> Config:
    cluster = {"partitions": 4, "partition_streams": 64, "replicas": 1, **sections.pop("cluster", {})}
    return msgspec.convert({"cluster": cluster, **sections}, Config)


def blocks(stream: str, seconds: float, seed: int = 0, block_s: float = 0.2):
    """An ECG with premature beats and a fault, or a sine with spikes, by the stream's name."""
    if stream.startswith("ecg"):
        faults = [Episode("lead-off", 20.0, 1.5), Episode("noise", 30.0, 3.0)]
        signal, rate_hz, unit = Ecg(seed=seed, pvcs_per_minute=12.0, episodes=faults), 360.0, "mV"
    else:
        signal, rate_hz, unit = NoisySine(seed=seed, spikes_per_minute=40.0), 50.0, ""
    pieces = signal_values(signal, round(block_s * rate_hz))
    return blocks_of(
        pieces, stream=stream, rate_hz=rate_hz, channels=(), unit=unit, t0_ns=START_NS,
        samples=round(seconds * rate_hz),
    )  # fmt: skip


def entries(streams: list[str], seconds: float, *, drop=()) -> list[Entry]:
    """Blocks of all streams in turns; those whose number is in `drop` never come."""
    turns = zip(*(blocks(stream, seconds, seed) for seed, stream in enumerate(streams)), strict=True)
    flat = [block for turn in turns for block in turn]
    return [
        Entry(2 * n + 1, block.stream, encode_block(block), START_NS + n * 10**7)
        for n, block in enumerate(itertools.chain(flat))
        if n not in drop
    ]


def told(outcomes) -> list[dict]:
    """What was said, in the order of data time; not of silence, which is as long as this machine is slow."""
    rows = [msgspec.to_builtins(n) for o in outcomes for n in (*o.notices, *o.beats) if n.label != "stale"]
    return sorted(
        rows, key=lambda r: (r.get("changed_ns", r.get("t_ns")), r["stream"], r.get("what", ""), r["label"])
    )


def rounded(rows: list[dict]) -> list[str]:
    """The same without what rounding changes: an alarm's id comes from its time, which lies between samples."""

    def plain(key, value):
        return f"{value:.3g}" if isinstance(value, float) else round(value, -5) if key.endswith("_ns") else value

    return [repr({k: plain(k, v) for k, v in row.items() if k not in ("id", "likely")}) for row in rows]
