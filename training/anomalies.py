"""Series with known anomalies: a forecaster learned from the beginning of each, then the monitor over all of it.

Two kinds of files say where their anomalies lie: those of the UCR Anomaly Archive in their names
(..._LEARN_BEGIN_END.txt: learn from so many samples; one anomaly, Wu & Keogh 2021), those of the Numenta Anomaly
Benchmark in a windows.json beside them (Lavin & Ahmad 2015), of which the first 15 % are for learning.

What is asked of each: where the monitor's score is highest, and what its alarms are worth at a budget. Beside it
stand controls that know no network, treated the same way: their distance averaged over as many samples.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from monitor.core.blocks import NS, State
from monitor.core.card import Card
from monitor.core.errors import ConfigError, RecordingError
from monitor.core.stream import Plan
from monitor.inference import load_model
from monitor.recordings import Recording, read_recording
from training.baselines import fit_autoregression
from training.controls import jumps, without_gaps
from training.judged import Judged, drive

Doubles = NDArray[np.float64]

NAB_SHARE = 0.15
WINDOWS = ("windows.json", "combined_windows.json")
ORDER = 20
_UCR = re.compile(r"_(\d+)_(\d+)_(\d+)$")


@dataclass(frozen=True)
class Case:
    """One series, and what is known of it."""

    path: Path
    recording: Recording
    learn: int
    """Samples at its beginning that may be learned."""
    spans: tuple[tuple[int, int], ...]
    """First and last sample of each anomaly, or of the window that holds it."""


def find_cases(paths: Sequence[Path], rate_hz: float) -> list[Case]:
    """The series that `paths`, files or folders, hold; `rate_hz` is for those without times.

    Raises ConfigError for a file that does not say where its anomalies are.
    """
    files = []
    for path in paths:
        if not path.exists():
            raise ConfigError(f"{path}: expected a series or a folder of them, got no such file; check the path")
        found = sorted([*path.glob("*.txt"), *path.glob("*.csv")]) if path.is_dir() else [path]
        if not found:
            raise ConfigError(f"{path}: expected .txt or .csv files, got none")
        files += found
    return [_case(path, rate_hz) for path in files]


def _case(path: Path, rate_hz: float) -> Case:
    if (told := _UCR.search(path.stem)) is not None:
        learn, begin, end = (int(group) for group in told.groups())
        recording = read_recording(path, rate_hz)
        if not 0 < learn <= begin <= end < len(recording.values):
            raise ConfigError(f"{path}: its name says {told.group()}, of {len(recording.values)} samples")
        return Case(path, recording, learn, ((begin, end),))
    beside = next((path.parent / name for name in WINDOWS if (path.parent / name).is_file()), None)
    if beside is None:
        raise ConfigError(f"{path}: expected a name that ends in _LEARN_BEGIN_END, or a windows.json beside it")
    try:
        windows = msgspec.json.decode(beside.read_bytes(), type=dict[str, list[tuple[str, str]]])
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{beside}: expected windows by file name, as NAB has them: {error}") from error
    mine = next((spans for name, spans in windows.items() if Path(name).name == path.name), None)
    if mine is None:
        raise ConfigError(f"{beside}: it has no windows of {path.name}")
    recording = read_recording(path)
    learn = round(NAB_SHARE * len(recording.values))
    spans = [(_sample(recording, begin), _sample(recording, end)) for begin, end in mine]
    return Case(path, recording, learn, tuple(span for span in spans if span[0] >= learn))


def _sample(recording: Recording, when: str) -> int:
    moment = datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp()
    return round((moment - recording.start_ns / NS) * recording.rate_hz)


def judge_case(case: Case, out: Path, *, seed: int, tolerance: int, budget_per_hour: float) -> dict[str, Any]:
    """Learn from the beginning of a series, watch all of it, and tell what was found."""
    from training.config import load_config
    from training.export import export
    from training.fit import fit
    from training.series import series_config

    began = time.monotonic()
    rate_hz = case.recording.rate_hz
    base = series_config(case.recording, str(case.path), rate_hz, case.learn)
    run = fit(load_config(None, [f"seed={seed}"], base), None, out, quiet=True)
    model = load_model(export(run, None, lambda _: None))
    learned_s = time.monotonic() - began
    # A series that stands still is odd or not as it was learned; it is no lead that has come off.
    plan = Plan(quality=False, budget_per_hour=budget_per_hour)
    (judged,) = drive(model, [case.recording], plan=plan)
    score = _score_of(judged, case, model.card)
    span = model.card.score_steps * model.card.samples_per_step
    controls = {name: top_of(values, case, tolerance) for name, values in _controls(case, span).items()}
    return {
        "name": case.path.stem,
        "samples": len(case.recording.values),
        "learned": case.learn,
        "learned_s": round(learned_s, 1),
        "anomalies": [list(one) for one in case.spans],
        "rate_hz": rate_hz,
        "model": {"cell": model.card.cell, "hidden": model.card.hidden, "parameters": model.card.parameters,
                  "samples_per_step": model.card.samples_per_step, "run": str(run)},
        "highest_score": top_of(score, case, tolerance),
        "controls": controls,
        "alarms": _alarms(judged, case, budget_per_hour),
    }  # fmt: skip


def _score_of(judged: Judged, case: Case, card: Card) -> Doubles:
    """The monitor's score by sample, at the middle of what it speaks of; -inf where there is none."""
    rate_hz = case.recording.rate_hz
    middle = card.score_steps * card.samples_per_step / card.rate_hz / 2 if card.score_steps else 0.0
    at = np.rint((judged.t_ns / NS - middle) * rate_hz).astype(np.int64)
    score = np.full(len(case.recording.values), -np.inf)
    known = ~np.isnan(judged.scores[:, 0]) & (at >= 0)
    score[at[known]] = judged.scores[known, 0]
    return score


def _controls(case: Case, span: int) -> dict[str, Doubles]:
    """By sample: how far an autoregression is off, and how far the last value is, averaged over `span` samples."""
    values = without_gaps(case.recording.values[:, 0])
    told = {"last value": jumps(values)}
    if case.learn > 4 * ORDER:
        fitted = fit_autoregression(values[: case.learn], ORDER)
        steps = np.lib.stride_tricks.sliding_window_view(values, ORDER)[:-1]
        off = np.zeros(len(values))
        off[ORDER:] = np.abs(fitted.forecast(steps)[:, 0] - values[ORDER:])
        told[f"AR({ORDER})"] = off
    return {name: np.convolve(off, np.ones(span) / span, "same") for name, off in told.items()}


def top_of(score: Doubles, case: Case, tolerance: int) -> dict[str, Any]:
    """Where a score (time,) is highest after what was learned, and whether that is an anomaly."""
    after = np.where(np.arange(len(score)) >= case.learn, score, -np.inf)
    near = np.zeros(len(score), np.bool_)
    for begin, end in case.spans:
        near[max(begin - tolerance, 0) : end + tolerance + 1] = True
    at = int(after.argmax())
    best, other = (float(after[where].max(initial=-np.inf)) for where in (near, ~near))
    margin = best / other if other > 0 and np.isfinite(best) else None
    return {"at": at, "found": bool(near[at]), "over_next_best": margin}


def _alarms(judged: Judged, case: Case, budget_per_hour: float) -> dict[str, Any]:
    """Alarms after what was learned: which anomalies they speak of, and how many speak of none."""
    rate_hz = case.recording.rate_hz
    raised = {alarm.id: alarm.raised_ns / NS * rate_hz for _, alarm in judged.alarms}
    over = {
        alarm.id: told_ns / NS * rate_hz for told_ns, alarm in judged.alarms if alarm.state is not State.ACTIVE
    }
    lasted = [(at, over.get(name, np.inf)) for name, at in raised.items() if at >= case.learn]
    found = [any(at <= end and until >= begin for at, until in lasted) for begin, end in case.spans]
    false = [at for at, until in lasted if not any(at <= end and until >= begin for begin, end in case.spans)]
    quiet = len(case.recording.values) - case.learn - sum(end - begin for begin, end in case.spans)
    hours = quiet / rate_hz / 3600
    return {
        "budget_per_hour": budget_per_hour,
        "anomalies": len(case.spans),
        "found": sum(found),
        "raised": len(lasted),
        "false": len(false),
        "hours": hours,
        "false_per_hour": len(false) / hours if hours else None,
        "allowed": budget_per_hour * hours,
    }


def judge_all(
    cases: Sequence[Case],
    out: Path,
    say: Callable[[str], None] = lambda _: None,
    *,
    seed: int = 0,
    tolerance: int = 100,
    budget_per_day: float = 1.0,
) -> dict[str, Any]:
    """Every series, one after the other, and what they come to together."""
    told = []
    for case in cases:
        try:
            told.append(judge_case(case, out, seed=seed, tolerance=tolerance, budget_per_hour=budget_per_day / 24))
        except RecordingError as error:
            raise ConfigError(f"{case.path}: {error}") from error
        say(f"{case.path.name}: learned in {told[-1]['learned_s']:.0f} s")
    names = list(dict.fromkeys(name for one in told for name in one["controls"]))
    with_one = [one for one in told if one["anomalies"]]
    return {
        "series": told,
        "total": {
            "series": len(told),
            "with_anomalies": len(with_one),
            "highest_score_found": sum(one["highest_score"]["found"] for one in with_one),
            "controls_found": {name: sum(one["controls"].get(name, {}).get("found", False) for one in with_one)
                               for name in names},
            "anomalies": sum(one["alarms"]["anomalies"] for one in told),
            "anomalies_with_alarm": sum(one["alarms"]["found"] for one in told),
            "false_alarms": sum(one["alarms"]["false"] for one in told),
            "false_alarms_allowed": sum(one["alarms"]["allowed"] for one in told),
        },
        "seed": seed,
        "tolerance": tolerance,
    }  # fmt: skip
