"""What warnings of a heart rate's limits are worth, on ECGs as they come: see training.early_warning.

Simulated hearts that speed up or slow down beyond a limit, or come back before it, with premature beats; and the
records of the MIT-BIH Arrhythmia Database, whose range is what the record itself keeps to for 98 % of its time.
What is true is told by the beats as simulated or annotated, what is warned of by the model that finds beats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monitor.core.beat_judge import BeatJudge
from monitor.core.blocks import NS, Alarm, Floats, Ints, Kind, State
from monitor.core.ecg import Ecg
from monitor.core.rate_ahead import HORIZON, RateOutlook
from monitor.inference import Model, find_models, load_model, second_tiers
from training.answers import Played, answers, open_engine
from training.early_warning import OUTER, Doubles, Say, Series, judge
from training.quiet_ecgs import records_of

MODEL = "ecg-beats"
RANGE_BPM = (40.0, 130.0)
SECONDS, RATE_HZ = 1800, 128.0
HORIZON_S = round(HORIZON * 60 / 72)
_INTERVALS = 8
"""Of which a rate is the median, as the monitor has it."""


class StraightLine(RateOutlook):
    """Believes the line as it is."""

    def _learn(self, slots: Ints, error: Doubles) -> None:
        super()._learn(slots, error)
        self._usual[slots] = 0.0


@dataclass(frozen=True)
class Heart:
    """An ECG (time, 1), when its beats come in s, and the range its rate should keep to."""

    name: str
    values: Floats
    rate_hz: float
    unit: str
    beats_s: Doubles
    range_bpm: tuple[float, float]

    @property
    def seconds(self) -> int:
        """Whole ones."""
        return int(len(self.values) / self.rate_hz)


def drifting_hearts(count: int, seed: int) -> list[Heart]:
    """Half an hour each: half leave the range at 6 to 40 beats a minute a minute, a quarter turn back before."""
    hearts = []
    for i in range(count):
        random = np.random.default_rng([seed, i])
        usual, at_s, per_s = random.uniform(60, 90), random.uniform(300, 900), random.uniform(6, 40) / 60
        low, high = RANGE_BPM
        end = high + 15 if random.uniform() < 0.7 else low - 8
        pace = [(at_s, usual)]
        if i % 2 == 0:
            pace.append((at_s + abs(end - usual) / per_s, end))
        elif i % 4 == 1:
            turn = usual + 0.7 * ((high if end > high else low) - usual)
            takes_s = abs(turn - usual) / per_s
            pace += [(at_s + takes_s, turn), (at_s + 2 * takes_s, usual)]
        ecg = Ecg(
            rate_hz=RATE_HZ, seed=1000 * seed + i, heart_rate_bpm=pace, variability=random.uniform(0.02, 0.08),
            pvcs_per_minute=random.choice([0, 3, 6]), svcs_per_minute=random.choice([0, 2]),
        )  # fmt: skip
        values, labels = ecg.next(round(SECONDS * RATE_HZ))
        beats_s = np.array([at for at, label in labels if label in "NVA"]) / RATE_HZ
        hearts.append(Heart(f"heart/{i}", values, RATE_HZ, "mV", beats_s, RANGE_BPM))
    return hearts


def recorded_hearts(folder: Path) -> list[Heart]:
    """The first lead of every record in a folder."""
    hearts = []
    for record in records_of(folder):
        beats_s = record.label_samples / record.rate_hz
        rates = rates_of(beats_s, int(len(record.values) / record.rate_hz))
        low, high = np.percentile(rates, [OUTER, 100 - OUTER]).tolist()
        unit = record.unit.split(", ")[0]
        hearts.append(Heart(record.name, record.values[:, :1], record.rate_hz, unit, beats_s, (low, high)))
    return hearts


def rates_of(beats_s: Doubles, seconds: int) -> Doubles:
    """The heart rate at each second; before it is known, the first one that is."""
    median_s = np.median(np.lib.stride_tricks.sliding_window_view(np.diff(beats_s), _INTERVALS), axis=1)
    last = np.searchsorted(beats_s[_INTERVALS:], np.arange(seconds), side="right") - 1
    rates: Doubles = 60 / median_s[np.maximum(last, 0)]
    return rates


def warned_of(hearts: Sequence[Heart], model: Model) -> list[list[list[tuple[int, int]]]]:
    """By what is believed of the trend, and by the straight line: for each heart, from and to when each lasted."""
    engine = open_engine(model, len(hearts))
    ask = second_tiers({"": model}).get("")
    judges = [BeatJudge(model.card, (), len(hearts), engine.name_of, ask) for _ in range(2)]
    judges[1].outlook = StraightLine(len(hearts))
    for one in judges:
        for slot, heart in enumerate(hearts):
            one.outlook.limit(slot, *heart.range_bpm)  # all begin in their first second, in this order
    number = {heart.name: i for i, heart in enumerate(hearts)}
    found: list[list[list[tuple[int, int]]]] = [[[] for _ in hearts] for _ in judges]
    streams = {heart.name: Played(heart.values, heart.rate_hz, heart.unit) for heart in hearts}
    for part, outputs in answers(engine, model, streams):
        for told, one in zip(found, judges, strict=True):
            for _, notice in one.step(part, outputs).notices:
                if isinstance(notice, Alarm) and notice.kind is Kind.LIMIT_AHEAD:
                    _keep(told[number[notice.stream]], notice, hearts[number[notice.stream]].seconds)
    return found


def _keep(spans: list[tuple[int, int]], alarm: Alarm, seconds: int) -> None:
    """A warning began, or is over."""
    at = alarm.changed_ns // NS
    if alarm.state is State.CLEARED:
        spans[-1] = spans[-1][0], at
    elif alarm.times == 1:
        spans.append((at, seconds))


def evaluate_rates(data: Path | None, say: Say, *, streams: int = 100, seed: int = 0) -> list[dict[str, Any]]:
    """On simulated hearts, and on the records of `data`/mitdb where there are any."""
    model = load_model(find_models(None)[MODEL])
    say("warnings on simulated heart rates")
    rows = _judged("heart rates that drift", drifting_hearts(streams, seed + 1), model)
    folder = None if data is None else data / "mitdb"
    if folder is not None and folder.is_dir():
        say("warnings on recorded heart rates")
        rows += _judged("heart rates of MIT-BIH", recorded_hearts(folder), model)
    return rows


def _judged(name: str, hearts: Sequence[Heart], model: Model) -> list[dict[str, Any]]:
    """Rows as training.early_warning.judge has them, for both forecasts; a range is 0 to 1 of itself."""
    scaled = []
    for heart in hearts:
        low, high = heart.range_bpm
        scaled.append(Series((rates_of(heart.beats_s, heart.seconds) - low) / (high - low), 1.0))
    labels = ("trend less its usual error", "straight line")
    return [
        judge(name, label, scaled, told, 0.0, 1.0, HORIZON_S)
        for label, told in zip(labels, warned_of(hearts, model), strict=True)
    ]
