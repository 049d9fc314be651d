"""What the first tier of a beat model finds in whole series, by the very code that picks beats in the monitor.

The first tier is asked as leapfrog asks it: on 26 to 50 steps of windows that begin every 25 steps, which costs a
twenty-fifth of asking it on every window, and differs as little as `training evaluate` says.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from monitor.core.beats import BeatPicker, Picked, SecondTier
from monitor.core.blocks import NS, Floats, Ints
from monitor.core.card import Card, KnownAnswer, Second, Source, Tensor
from monitor.core.rhythm import AFTER, BEFORE, FEATURES
from training.config import FitConfig
from training.datasets import Series, cut_windows
from training.metrics import MATCH_S, match_beats
from training.models import BeatFinder, RecurrentModel
from training.second import UNASKED, Candidates

Doubles = NDArray[np.float64]

_HALF_SECOND = 36


def find_candidates(first: RecurrentModel, config: FitConfig, series: Sequence[Series]) -> list[Candidates]:
    """The candidates in each of `series`, in rows for the second tier, and what they are.

    The second tier sees what a beat looks like in their first channel.
    """
    tracks = [evidence(first, config, one) for one in series]
    card = _card(config)
    picker, tier = BeatPicker(card, len(series)), SecondTier(card, len(series), lambda rows: rows)
    rows: list[list[Floats]] = [[] for _ in series]
    when: list[list[int]] = [[] for _ in series]
    rate_hz, fold = config.model.rate_hz, config.model.samples_per_step
    lengths = np.array([len(heat) for _, heat, _ in tracks])
    slots = np.arange(len(series))
    tier.start(slots)
    for step in range(int(lengths.max(initial=0))):
        mine = slots[lengths > step]
        begins = tracks[int(mine[0])][0]
        end = begins + step * fold  # of every row: one past its last sample
        t_ns = np.full(len(mine), round((end - 1) / rate_hz * NS))
        outputs = {
            "beat": np.stack([tracks[i][1][step] for i in mine])[:, None],
            "probabilities": np.stack([tracks[i][2][step] for i in mine]),
        }
        picked = picker.step(mine, np.full(len(mine), step > 0), t_ns, outputs)
        if not len(picked.rows):
            continue
        values = tier.rows(mine, picked, t_ns, _windows(series, mine, picked, end, config))
        for at, told_ns, row in zip(picked.rows.tolist(), picked.when.tolist(), values, strict=True):
            rows[int(mine[at])].append(row)
            when[int(mine[at])].append(told_ns)
    told = []
    for one, times, found, (begins, _, _) in zip(series, when, rows, tracks, strict=True):
        known = np.stack(found) if found else np.zeros((0, FEATURES), np.float32)
        told.append(_labelled(one, np.array(times) / NS * rate_hz, known, begins, config))
    return told


def evidence(first: RecurrentModel, config: FitConfig, series: Series) -> tuple[int, Floats, Floats]:
    """Samples up to the first answer, then the probability of a beat (n,) and of its classes (n, class)."""
    if not isinstance(first, BeatFinder):
        raise TypeError(f"expected a model that finds beats, got {type(first).__name__}")
    fold, steps, asked = config.model.samples_per_step, config.model.window, config.train.first_step
    hop = steps - asked + 1
    windows, _, _ = cut_windows(series, config, hop * fold)
    heat, kinds = [], []
    with torch.no_grad():
        for start in range(0, len(windows), 512):
            scaled, _, _ = first.scaling(torch.from_numpy(np.ascontiguousarray(windows[start : start + 512])))
            states, _ = first.states(scaled, asked)  # (batch, asked step, hidden)
            heat.append(torch.sigmoid(first.beat(states)).flatten().numpy())
            kinds.append(torch.softmax(first.kind(states), dim=-1).flatten(0, 1).numpy())
    return asked * fold, np.concatenate(heat), np.concatenate(kinds)


def _windows(series: Sequence[Series], mine: Ints, picked: Picked, end: int, config: FitConfig) -> Floats:
    """The windows of the rows that tell of something; zeros for the others, which nobody looks at."""
    span = config.model.window * config.model.samples_per_step
    windows = np.zeros((len(mine), span, 1), np.float32)
    for row in picked.rows.tolist():
        values = series[int(mine[row])].values[max(end - span, 0) : end, :1]
        windows[row, span - len(values) :] = values
    return windows


def _labelled(series: Series, at: Doubles, rows: Floats, begins: int, config: FitConfig) -> Candidates:
    """What each candidate, at sample `at` (n,), is."""
    classes, rate_hz = len(config.model.classes), config.model.rate_hz
    delay = (config.model.delay + 1) * config.model.samples_per_step
    judged = series.at >= begins - delay  # before that nothing could be told of
    order = np.argsort(at, kind="stable")
    matches = match_beats(series.at[judged].astype(np.float64), at[order], MATCH_S * rate_hz)
    kinds = np.full(len(at), classes)
    kinds[order[matches[matches >= 0]]] = series.kinds[judged][matches >= 0]
    for start, stop in series.flutter:
        inside = (at > start - _HALF_SECOND) & (at < stop + _HALF_SECOND)
        kinds[inside & (kinds == classes)] = UNASKED
    missed = np.bincount(series.kinds[judged][matches < 0], minlength=classes)
    return Candidates(rows, kinds, missed, series.noisy)


def _card(config: FitConfig) -> Card:
    """A card that says what the picker and the second tier want to know, and nothing else."""
    if config.second is None:
        raise ValueError("the configuration has no second tier")
    none = KnownAnswer(Tensor.of(np.zeros((1, BEFORE + AFTER, 1), np.float32)), {})
    shape, second = config.model, config.second
    return Card(
        name=config.name, version=config.version, task="beats", cell=shape.cell, layers=shape.layers,
        hidden=shape.hidden, parameters=0, rate_hz=shape.rate_hz, window=shape.window,
        samples_per_step=shape.samples_per_step, hop=shape.hop, classes=shape.classes, delay=shape.delay,
        source=Source(config.name), seed=config.seed, made="", code="", known_answer=none,
        second=Second(
            cell=second.cell, hidden=second.hidden, parameters=0, window=second.window, features=FEATURES,
            candidate_level=second.candidate_level, known_answer=none,
        ),
    )  # fmt: skip
