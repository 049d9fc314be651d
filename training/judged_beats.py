"""Beats that the engine told against annotated ones, as ANSI/AAMI EC57 counts: beat by beat, whole records.

The rules, those of the standard's reference program `bxb`:
- A found and an annotated beat match within 150 ms, one to one, the nearest pairs first. Annotated beats of every
  class count for finding, from the first to the last sample of the record: none is excused while windows warm up.
- In stretches annotated as ventricular flutter nobody can tell beats: what is found there counts for nothing.
- A class counts as called when the monitor would say so: its label is the most probable one and, where the
  model has a threshold for it, reaches that (for V: when an event is raised). What falls short counts as the
  first class, N.
- V: a call on an annotated F or Q beat is no false positive. S and F: a call on an annotated Q beat is none. A
  call that matches no annotated beat is one. A beat of the class that was missed, or called otherwise, is a miss.

Everything is kept beat by beat, so that the total of some records is the figure of their beats together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from monitor.core.blocks import NS, Beat, Kind, State
from monitor.core.card import Card
from monitor.recordings import AAMI
from training.controls import beat_energy, prematurity, qrs_by_slope, without_gaps
from training.judged import Judged
from training.metrics import EXCUSED, MATCH_S, Doubles, Tally, match_beats, ranking, tally_calls

Names = NDArray[np.str_]

FLUTTER_S = 0.5
"""How far flutter reaches beyond its annotation."""

MISSED = "-"
"""In place of a class: an annotated beat that was not found, or a found one that nobody annotated."""


@dataclass(frozen=True)
class BeatEvidence:
    """Beat by beat, what was annotated and what was told."""

    hours: float
    reference: Names
    """(n,) annotated class."""
    called: Names
    """(n,) class it was called; MISSED where it was not found."""
    extra: Names
    """(m,) class called of found beats that match no annotated one."""
    warm_up: int
    """Annotated beats that came before the first one that a window could tell of."""
    delay_s: Doubles
    """(found,) from the annotated beat to the data time at which it was told."""
    offset_s: Doubles
    """(found,) told time of the beat less the annotated one."""
    rate_error_bpm: Doubles
    """(k,) told heart rate less that of the last eight annotated RR intervals."""
    likely: dict[str, Doubles]
    """By class (n,) the probability the model gave it, 0 for a missed beat."""
    energy: Doubles
    """(n,) control: energy around the annotated beat."""
    prematurity: Doubles
    """(n,) control: how early the annotated beat came."""
    by_slope: Tally
    """What the plain detector found."""
    alarms: dict[str, tuple[int, int]]
    """By class, alarms raised, and those of them during which no annotated beat of the class was called."""


def beat_evidence(judged: Judged, card: Card) -> BeatEvidence:
    """Match what was told of one recording with its annotation."""
    recording = judged.recording
    at_s = recording.label_samples / recording.rate_hz
    classes = [AAMI.get(symbol, symbol) for symbol in recording.label_symbols]
    keep = np.array([name in "NSVFQ" for name in classes], np.bool_)
    at_s, reference = at_s[keep], np.array(classes, "<U8")[keep]
    beats = _outside_flutter(judged, at_s)
    told_s = np.array([beat.t_ns / NS for _, beat in beats])
    calls = np.array([called_class(beat.label, beat.score, card) for _, beat in beats], "<U8")
    rows = np.array([row for row, _ in beats], np.int64)
    matches = match_beats(at_s, told_s, MATCH_S)
    hit = matches >= 0
    partner = matches[hit]
    called = np.full(len(reference), MISSED, "<U8")
    called[hit] = calls[partner]
    likely = {name: np.zeros(len(reference)) for name in card.classes}
    if beats:
        probabilities = np.array([beat.likely for _, beat in beats])
        for i, name in enumerate(card.classes):
            likely[name][hit] = probabilities[partner, i]
    lead = recording.channels.index(judged.lead.partition("+")[0])
    values = without_gaps(recording.values[:, lead])
    plain = match_beats(at_s, found := qrs_by_slope(values, recording.rate_hz), MATCH_S) >= 0
    ready_s = judged.t_ns[0] / NS - card.delay * card.samples_per_step / card.rate_hz
    return BeatEvidence(
        hours=judged.seconds / 3600,
        reference=reference,
        called=called,
        extra=np.delete(calls, partner),
        warm_up=int((at_s < ready_s).sum()),
        delay_s=judged.t_ns[rows[partner]] / NS - at_s[hit],
        offset_s=told_s[partner] - at_s[hit],
        rate_error_bpm=_rate_errors(judged, at_s),
        likely=likely,
        energy=beat_energy(values, recording.rate_hz, at_s),
        prematurity=prematurity(at_s),
        by_slope=Tally(int(plain.sum()), int((~plain).sum()), len(found) - int(plain.sum())),
        alarms=_alarms(judged, card, np.array([beat.t_ns for _, beat in beats]), matches, reference),
    )


def _outside_flutter(judged: Judged, at_s: Doubles) -> list[tuple[int, Beat]]:
    """The beats told, less those in ventricular flutter that match no annotated beat: nobody can count there."""
    told_s = np.array([beat.t_ns / NS for _, beat in judged.beats])
    matched = match_beats(at_s, told_s, MATCH_S)
    spare = np.ones(len(told_s), np.bool_)
    spare[matched[matched >= 0]] = False
    inside = np.zeros(len(told_s), np.bool_)
    for start, stop in judged.recording.flutter:
        edges = start / judged.recording.rate_hz - FLUTTER_S, stop / judged.recording.rate_hz + FLUTTER_S
        inside |= (told_s > edges[0]) & (told_s < edges[1])
    return [told for told, out in zip(judged.beats, spare & inside, strict=True) if not out]


def called_class(label: str, probability: float, card: Card) -> str:
    """The class a beat counts as called: its label, or the first class where it falls short of its threshold."""
    return label if probability >= card.thresholds.get(label, 0.0) else card.classes[0]


def _rate_errors(judged: Judged, at_s: Doubles) -> Doubles:
    """Told less annotated heart rate, at each told beat for which both are known."""
    if len(at_s) < 9:
        return np.zeros(0)
    medians = np.median(sliding_window_view(np.diff(at_s), 8), axis=1)  # entry i: up to annotated beat i + 8
    told = [(beat.t_ns / NS, beat.rate_bpm) for _, beat in judged.beats if np.isfinite(beat.rate_bpm)]
    if not told:
        return np.zeros(0)
    when, rate = np.array(told).T
    last = np.searchsorted(at_s, when + MATCH_S) - 1
    known = last >= 8
    errors: Doubles = rate[known] - 60 / medians[last[known] - 8]
    return errors


def _alarms(
    judged: Judged, card: Card, beat_ns: NDArray[np.int64], matches: NDArray[np.int64], reference: Names
) -> dict[str, tuple[int, int]]:
    """Alarms raised by class, and false ones: those without a call on a beat of the class, or an excused one."""
    of_beat = {int(beat_ns[j]): str(reference[i]) for i, j in enumerate(matches) if j >= 0}
    told = {}
    for label in card.thresholds:
        mine = [(told_ns, alarm) for told_ns, alarm in judged.alarms if alarm.label == label]
        raised = {alarm.id: alarm.raised_ns for _, alarm in mine if alarm.kind is Kind.CLASS}
        over = {alarm.id: told_ns for told_ns, alarm in mine if alarm.state is not State.ACTIVE}
        right = np.array(
            [
                told_ns
                for told_ns, event in judged.events
                if event.kind is Kind.CLASS and event.label == label
                if of_beat.get(event.t_ns, MISSED) in label + EXCUSED.get(label, "")
            ]
        )
        false = sum(
            not ((right >= start) & (right <= over.get(alarm_id, 2**62))).any()
            for alarm_id, start in raised.items()
        )
        told[label] = (len(raised), false)
    return told


def pool_beats(parts: Sequence[BeatEvidence]) -> BeatEvidence:
    """All beats of several recordings."""

    def joined(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])

    labels = dict.fromkeys(label for part in parts for label in part.alarms)
    return BeatEvidence(
        hours=sum(part.hours for part in parts),
        reference=joined("reference"),
        called=joined("called"),
        extra=joined("extra"),
        warm_up=sum(part.warm_up for part in parts),
        delay_s=joined("delay_s"),
        offset_s=joined("offset_s"),
        rate_error_bpm=joined("rate_error_bpm"),
        likely={name: np.concatenate([part.likely[name] for part in parts]) for name in parts[0].likely},
        energy=joined("energy"),
        prematurity=joined("prematurity"),
        by_slope=sum((part.by_slope for part in parts), Tally()),
        alarms={
            label: (sum(part.alarms[label][0] for part in parts), sum(part.alarms[label][1] for part in parts))
            for label in labels
        },
    )


def beat_figures(found: BeatEvidence, classes: Sequence[str]) -> dict[str, Any]:
    """The figures of some beats, shares in percent; NaN where there is nothing to divide by."""
    missed = found.called == MISSED
    beats = Tally(int((~missed).sum()), int(missed.sum()), len(found.extra))
    told: dict[str, Any] = {
        "hours": found.hours,
        "beats": {
            **beats.percent,
            "annotated": len(found.reference),
            "found": beats.hit,
            "missed": beats.missed,
            "extra": beats.false,
            "missed_while_warming_up": found.warm_up,
        },
    }
    for name in classes[1:]:
        told[name] = _class_figures(found, name)
    told["delay_s"] = _spread(found.delay_s)
    told["offset_ms"] = _spread(1000 * found.offset_s)
    error = found.rate_error_bpm
    told["heart_rate_bpm"] = {
        "mean_absolute_error": float(np.abs(error).mean()) if len(error) else float("nan"),
        "root_mean_square_error": float(np.sqrt(np.square(error).mean())) if len(error) else float("nan"),
        "bias": float(error.mean()) if len(error) else float("nan"),
    }
    told["confusion"] = _confusion(found, classes)
    told["controls"] = {"slope_detector": found.by_slope.percent, **_rankings(found, classes)}
    return told


def _class_figures(found: BeatEvidence, name: str) -> dict[str, Any]:
    tally = tally_calls(
        found.reference == name,
        np.isin(found.reference, list(EXCUSED.get(name, ""))),
        found.called == name,
        found.extra == name,
    )
    told: dict[str, Any] = {
        **tally.percent,
        "annotated": tally.hit + tally.missed,
        "hit": tally.hit,
        "missed": tally.missed,
        "false": tally.false,
        "false_per_hour": tally.false / found.hours if found.hours else float("nan"),
    }
    if name in found.alarms:
        raised, false = found.alarms[name]
        told["alarms"] = {"raised": raised, "false": false, "false_per_hour": false / found.hours}
    return told


def _rankings(found: BeatEvidence, classes: Sequence[str]) -> dict[str, Any]:
    """For V and S: the model's probability, and what energy and prematurity tell at the annotated places."""
    told = {}
    for name in ("V", "S"):
        if name not in classes:
            continue
        asked = ~np.isin(found.reference, list(EXCUSED[name]))
        events = found.reference[asked] == name
        told[name] = {
            "model": ranking(found.likely[name][asked], events),
            "energy": ranking(found.energy[asked], events),
            "prematurity": ranking(found.prematurity[asked], events),
        }
    return told


def _confusion(found: BeatEvidence, classes: Sequence[str]) -> dict[str, Any]:
    """Counts: a row for each annotated class and one for found beats without an annotation."""
    rows = list(dict.fromkeys([*classes, "Q", MISSED]))
    columns = [*classes, MISSED]
    table = [
        [
            int(((found.reference == row) & (found.called == column)).sum())
            if row != MISSED
            else int((found.extra == column).sum())
            for column in columns
        ]
        for row in rows
    ]
    return {"annotated": rows, "called": columns, "counts": table}


def _spread(values: Doubles) -> dict[str, float]:
    """Middle, spread and tail of `values`."""
    if not len(values):
        return dict.fromkeys(("median", "mean", "sd", "p95", "max"), float("nan"))
    return {
        "median": float(np.median(values)),
        "mean": float(values.mean()),
        "sd": float(values.std()),
        "p95": float(np.quantile(np.abs(values), 0.95)),
        "max": float(np.abs(values).max()),
    }
