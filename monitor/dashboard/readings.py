"""The numbers that are shown large: heart rate or frequency, anomaly, forecast skill and error."""

from __future__ import annotations

import math
from collections import Counter
from typing import NamedTuple

import numpy as np

from monitor.core.blocks import NS, Alarm
from monitor.dashboard.palette import Ink
from monitor.dashboard.scale import number_text
from monitor.dashboard.stream import StreamView
from monitor.dashboard.trace import Trace

NONE = "--"
FREQUENCY_SAMPLES = 2048
FRESH_BEAT_S = 5.0
INKS = (Ink.TECHNICAL, Ink.LOW, Ink.MEDIUM, Ink.HIGH)
"""By rank."""


class Reading(NamedTuple):
    """One large number."""

    title: str
    unit: str
    value: str
    note: str
    ink: Ink


def readings(view: StreamView | None, *, is_live: bool = True, is_heart: bool = False) -> list[Reading]:
    """What is to be read of one stream, the most wanted first; dashes for what is not known now.

    `is_heart`: some model looks for beats in it, though it may have found none.
    """
    if view is None:
        return [Reading(title, "", NONE, "", Ink.FAINT) for title in ("ANOMALY", "SKILL", "ERROR")]
    found = [_pace(view, is_heart=is_heart), _anomaly(view), *_forecast(view)]
    why = "not live" if not is_live else fault_name(view.fault) if view.fault is not None else ""
    return [reading._replace(value=NONE, note=why, ink=Ink.OLD) for reading in found] if why else found


def fault_name(fault: Alarm) -> str:
    """What is wrong with a signal, in a word or two."""
    return fault.label.replace("-", " ")


def _pace(view: StreamView, *, is_heart: bool) -> Reading:
    rate_bpm = heart_rate(view)
    if is_heart or view.beats or math.isfinite(rate_bpm):
        since = view.newest_ns - 60 * NS
        odd = Counter(beat.label for beat in view.beats if beat.t_ns >= since and beat.label != "N")
        usual = "regular" if math.isfinite(rate_bpm) else ""
        note = "  ".join(f"{label} {count}/min" for label, count in odd.most_common(2)) or usual
        heart = "♥" if view.beats and _just_beat(view) else "♡"
        return Reading(f"{heart} HR", "bpm", _whole(rate_bpm), note, Ink.GOOD)
    frequency_hz = dominant_frequency(view.trace) if view.trace else math.nan
    note = f"period {number_text(1 / frequency_hz)} s" if frequency_hz > 0 else ""
    return Reading("FREQUENCY", "Hz", number_text(frequency_hz), note, Ink.GOOD)


def heart_rate(view: StreamView) -> float:
    """In beats a minute; NaN while it is not known, because there is none or the signal is at fault."""
    if view.faults:
        return math.nan
    if view.beats and view.newest_ns - view.beats[-1].t_ns < FRESH_BEAT_S * NS:
        return view.beats[-1].rate_bpm
    return view.state.heart_rate_bpm if view.state else math.nan


def _just_beat(view: StreamView) -> bool:
    return view.newest_ns - view.beats[-1].t_ns < 0.35 * NS


def _whole(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else NONE


def _anomaly(view: StreamView) -> Reading:
    score = view.top_score
    if score is None:
        warming = view.state is not None and view.state.warming
        return Reading("ANOMALY", "", NONE, "warming up" if warming else "", Ink.FAINT)
    is_over = score.value >= score.threshold
    ink = INKS[view.rank_of(score.kind, score.label)] if is_over else Ink.TECHNICAL
    limit = number_text(score.threshold, 2)
    note = f"≥ {limit} {score.label}" if is_over else f"of {limit} {score.label}"
    return Reading(
        "ANOMALY", "score", f"{score.value:.2f}" if score.value < 10 else f"{score.value:.0f}", note, ink
    )


def _forecast(view: StreamView) -> list[Reading]:
    skill = view.skill()
    known = skill.against_persistence
    if view.state is not None and math.isfinite(view.state.skill):
        known = view.state.skill
    inside = f"{skill.inside:.0%} in interval" if math.isfinite(skill.inside) else ""
    percent = f"{max(100 * known, -999):+.0f}" if math.isfinite(known) else NONE
    error, unit = skill.error, view.unit
    if unit in ("mV", "V") and error < 0.1:
        error, unit = 1000 * error, "µV" if unit == "mV" else "mV"
    value = _whole(error) if error >= 10 else number_text(error, 2)
    ink = Ink.FORECAST if math.isfinite(known) or math.isfinite(error) else Ink.FAINT
    return [
        Reading("SKILL", "%", percent, inside, ink),
        Reading("ERROR", f"MAE {unit}".strip(), value, "over the last minute" if value != NONE else "", ink),
    ]


def dominant_frequency(trace: Trace) -> float:
    """The strongest frequency of the last samples of the first channel, in Hz; NaN when it cannot be told."""
    span_ns = round(FREQUENCY_SAMPLES * trace.period_ns)
    _, values = trace.between(trace.newest_ns - span_ns, trace.newest_ns)
    signal = values[-FREQUENCY_SAMPLES:, 0]
    known = np.isfinite(signal)
    if known.sum() < 64:
        return math.nan
    signal = np.where(known, signal, signal[known].mean())
    slope = np.linspace(-0.5, 0.5, len(signal))
    signal = signal - signal.mean()
    signal -= slope * (signal @ slope) / (slope @ slope)
    power = np.abs(np.fft.rfft(signal * np.hanning(len(signal)))) ** 2
    if not power[1:].sum() > 0:
        return math.nan
    peak = int(power[1:].argmax()) + 1
    before, at, after = np.sqrt(power[[peak - 1, peak, min(peak + 1, len(power) - 1)]])
    bend = before - 2 * at + after
    shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float((peak + shift) * trace.rate_hz / len(signal))
