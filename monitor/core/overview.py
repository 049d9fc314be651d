"""How every stream is doing: told of many at once, for there may be thousands and somebody looks every second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from monitor.core.beat_judge import BeatJudge
from monitor.core.judge import Judge
from monitor.core.judging import ForecastJudge
from monitor.core.lanes import Lane
from monitor.core.published import StreamState
from monitor.core.scoring import Doubles
from monitor.core.stream import Stream


def stream_states(streams: Sequence[Stream], judges: Mapping[str, Judge], silent_s: Doubles) -> list[StreamState]:
    """The state of each of `streams`; `judges` by the name of their lane, `silent_s` by slot."""
    n, own = len(streams), np.array([stream.slot for stream in streams], np.int64)
    windows, forecasts, skipped = (np.zeros(n, np.int64) for _ in range(3))
    warming = np.zeros(n, np.bool_)
    rate_bpm, skill = np.full(n, np.nan), np.full(n, np.nan)
    newest_ns = streams[0].places.newest_ns(own) if n else warming
    members: dict[Lane, list[int]] = {}
    for i, stream in enumerate(streams):
        for lane in stream.lanes:
            members.setdefault(lane, []).append(i)
    for lane, rows in members.items():
        at = np.array(rows)
        slots = np.array([streams[i].slot for i in rows])
        judge = judges[lane.name]
        windows[at] += lane.inferred[slots]
        skipped[at] += lane.skipped[slots]
        warming[at] |= lane.warming(slots) | judge.budgets.warming(slots)
        if isinstance(judge, BeatJudge):
            rate_bpm[at] = judge.rate_bpm(slots, newest_ns[at])
        elif isinstance(judge, ForecastJudge):
            skill[at] = judge.scorer.skill(slots)
            forecasts[at] += lane.inferred[slots]
    columns = (newest_ns, windows, forecasts, skipped, warming, rate_bpm, skill, silent_s[own])
    numbers = zip(*(column.tolist() for column in columns), strict=True)
    idents: dict[tuple[Lane, ...], tuple[str, ...]] = {}
    found = []
    for stream, (newest, made, ahead, left_out, short, rate, better, silent) in zip(streams, numbers, strict=True):
        key = tuple(stream.lanes)
        if key not in idents:
            idents[key] = tuple(lane.card.ident for lane in key)
        found.append(
            StreamState(
                stream=stream.name,
                rate_hz=stream.rate_hz,
                channels=stream.channels,
                unit=stream.unit,
                models=idents[key],
                newest_ns=newest,
                warming=short,
                ledger=stream.ledger.counts,
                windows=made,
                forecasts=ahead,
                skipped=left_out,
                events=stream.events,
                heart_rate_bpm=rate,
                skill=better,
                silent_s=silent,
            )
        )
    return found
