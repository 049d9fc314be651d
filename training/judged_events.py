"""Labelled events (spikes, artefacts) against what a score flagged, event by event and never point-adjusted.

- An event is found when a flagged window speaks of its first sample; the delay runs from there to that window's
  end.
- A run of flagged windows that touches no event is one false alarm; what is flagged of an event's tail is excused.
- AUROC and AUPRC are over windows: positive are those that speak of an event's first sample; windows that only
  reach the tail of one, which may or may not be over, are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from monitor.core.blocks import NS, Ints, Kind, State
from monitor.core.card import Card
from training.controls import bends, jumps, matched_boxes, without_gaps
from training.judged import Judged
from training.metrics import Doubles, Tally, count_events, ranking

TAIL_SAMPLES = 4
"""What an event may last after its first sample, in samples of the recording (see training.datasets)."""


@dataclass(frozen=True)
class EventEvidence:
    """How the events of one class fared."""

    hours: float
    tally: Tally
    """Events found and missed, and false runs of flags."""
    delay_s: Doubles
    """(found,)"""
    truth: NDArray[np.bool_]
    """(window,) whether it speaks of an event's first sample."""
    scores: dict[str, Doubles]
    """(window,) by name: the model's, and the controls'."""
    alarms: tuple[int, int]
    """Raised, and false ones among them."""


def class_evidence(judged: Judged, card: Card) -> dict[str, EventEvidence]:
    """For each class that the model flags, its events in one recording."""
    reach = (card.label_steps or card.window) * card.samples_per_step
    return {
        label: event_evidence(judged, card, track, event_samples(judged, card, label), reach)
        for track, (kind, label, _) in enumerate(judged.kinds)
        if kind is Kind.CLASS
    }


def event_samples(judged: Judged, card: Card, label: str) -> Ints:
    """Where labels of this class stand; a label that names no class means the only flagged one, if it is."""
    only = len(card.thresholds) == 1
    return np.array(
        [
            at
            for at, symbol in zip(
                judged.recording.label_samples.tolist(), judged.recording.label_symbols, strict=True
            )
            if symbol == label or (only and symbol not in card.classes)
        ],
        np.int64,
    )


def event_evidence(judged: Judged, card: Card, track: int, at: Ints, reach: int) -> EventEvidence:
    """Judge column `track` of the scores, each speaking of the last `reach` samples, against events `at`.

    `reach` counts samples at the model's rate, `at` those of the recording.
    """
    recording, (kind, label, threshold) = judged.recording, judged.kinds[track]
    rate = card.rate_hz / recording.rate_hz
    begin = np.round(at * rate).astype(np.int64)
    ends = np.round(judged.t_ns / NS * card.rate_hz).astype(np.int64) + 1
    score = np.nan_to_num(judged.scores[:, track])
    flags = score >= threshold
    tail = max(round(TAIL_SAMPLES * rate), 1)
    count = count_events(flags, ends, begin, reach, tail, card.rate_hz)
    near = np.searchsorted(begin, ends, side="left")
    latest = begin[np.maximum(near - 1, 0)] if len(begin) else np.zeros(len(ends), np.int64)
    age = np.where(near > 0, ends - latest, 2**40)  # from the newest event to the window's end
    found, first = np.unique(latest[flags & (age <= reach)], return_index=True)
    delay = (ends[flags & (age <= reach)][first] - 1 - found) / card.rate_hz
    clear = (age <= reach) | (age > reach + tail)
    controls = _controls(judged, reach / card.rate_hz)
    return EventEvidence(
        hours=count.hours,
        tally=Tally(count.found, count.events - count.found, count.false_alarms),
        delay_s=delay,
        truth=(age <= reach)[clear],
        scores={name: values[clear] for name, values in {"model": score, **controls}.items()},
        alarms=_alarms(judged, kind, label, at / recording.rate_hz, (reach + tail) / card.rate_hz),
    )


def _controls(judged: Judged, reach_s: float) -> dict[str, Doubles]:
    """For each window the largest answer of each plain detector in the part of the signal it speaks of."""
    recording = judged.recording
    lead = recording.channels.index(judged.lead.partition("+")[0])
    values = without_gaps(recording.values[:, lead])
    span = max(round(reach_s * recording.rate_hz), 1)
    last = np.clip(np.round(judged.t_ns / NS * recording.rate_hz).astype(np.int64), 0, len(values) - 1)
    told = {
        "derivative": jumps(values),
        "second_derivative": bends(values),
        "matched_filter": matched_boxes(values),
    }
    padded = {name: np.concatenate([np.zeros(span - 1), answer]) for name, answer in told.items()}
    return {name: sliding_window_view(answer, span)[last].max(axis=1) for name, answer in padded.items()}


def _alarms(judged: Judged, kind: Kind, label: str, at_s: Doubles, reach_s: float) -> tuple[int, int]:
    """Alarms raised, and those during which (or `reach_s` before which) no event began."""
    mine = [(told_ns, alarm) for told_ns, alarm in judged.alarms if alarm.kind is kind and alarm.label == label]
    raised = {alarm.id: alarm.raised_ns / NS for _, alarm in mine}
    over = {alarm.id: told_ns / NS for told_ns, alarm in mine if alarm.state is not State.ACTIVE}
    false = sum(
        not ((at_s >= start - reach_s) & (at_s <= over.get(alarm_id, np.inf))).any()
        for alarm_id, start in raised.items()
    )
    return len(raised), false


def pool_events(parts: Sequence[EventEvidence]) -> EventEvidence:
    """The events of several recordings."""
    return EventEvidence(
        hours=sum(part.hours for part in parts),
        tally=sum((part.tally for part in parts), Tally()),
        delay_s=np.concatenate([part.delay_s for part in parts]),
        truth=np.concatenate([part.truth for part in parts]),
        scores={name: np.concatenate([part.scores[name] for part in parts]) for name in parts[0].scores},
        alarms=(sum(part.alarms[0] for part in parts), sum(part.alarms[1] for part in parts)),
    )


def event_figures(found: EventEvidence) -> dict[str, Any]:
    """The figures of some events, shares in percent."""
    delay = found.delay_s
    nothing = float("nan")
    raised, false = found.alarms
    hours = found.hours or nothing
    rankings: Mapping[str, Any] = {name: ranking(scores, found.truth) for name, scores in found.scores.items()}
    return {
        **found.tally.percent,
        "events": found.tally.hit + found.tally.missed,
        "found": found.tally.hit,
        "missed": found.tally.missed,
        "false": found.tally.false,
        "false_per_hour": found.tally.false / hours,
        "delay_s": {
            "median": float(np.median(delay)) if len(delay) else nothing,
            "mean": float(delay.mean()) if len(delay) else nothing,
            "max": float(delay.max()) if len(delay) else nothing,
        },
        "alarms": {"raised": raised, "false": false, "false_per_hour": false / hours},
        **rankings["model"],
        "controls": {name: told for name, told in rankings.items() if name != "model"},
    }
