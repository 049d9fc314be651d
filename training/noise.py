"""From when on there is too much noise for a beat model: learned from what it gets wrong as noise grows.

Recordings are shown to the model as they are and with noise of growing strength, and every half second it is
asked whether a beat in the window was missed or made up. A logistic regression on
`monitor.core.noisiness.FIGURES` learns that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from scipy.optimize import minimize

from monitor.core.beats import Ask
from monitor.core.blocks import Beat, Block, Floats
from monitor.core.card import Card, Noisiness
from monitor.core.engine import Engine
from monitor.core.errors import ConfigError
from monitor.core.noisiness import DOUBTS, EVERY_S, FIGURES, KEEP, doubt_of, figures
from monitor.core.scoring import Bools, Doubles
from monitor.core.stream import Plan
from monitor.core.windows import seconds_to_samples
from monitor.inference import Model, load_model, second_tiers
from monitor.recordings import AAMI, Recording, read_recording
from training.evaluate import model_path
from training.judged_inputs import Settings, find_sources, read_source
from training.metrics import MATCH_S
from training.records import Raw, noisy_copy

DECIBEL = (12.0, 6.0, 0.0, -6.0, -12.0, -18.0, -30.0)
"""How far the noise lies below the signal: from hardly any to nothing else."""
LEVEL = 0.85
"""How likely it must be that a beat in the window was missed or made up, for noise to be told.

At lower ones, beats would be hidden in recordings without noise that are mostly right: at 0.65 one in 650 of the
four hardest records of MIT-BIH, at 0.85 one in 2600.
"""
_RIDGE = 1e-4


@dataclass(frozen=True)
class Shown:
    """What a model made of one recording with one noise."""

    recording: str
    noise: str
    decibel: float
    figures: Doubles
    """(n, figure), a row every half second."""
    is_wrong: Bools
    """(n,) whether a beat in the window was missed or made up."""


def learn_noise(
    model: str,
    data: str,
    noises: Sequence[str],
    records: Sequence[str] = (),
    seconds: float = 300.0,
    say: Callable[[str], None] = print,
) -> tuple[Model, Noisiness]:
    """The model (a file, or a shipped one's name) and what is too much noise for it.

    `data` is a labelled recording or a folder of such (see sources_for), of which the first `seconds` are used,
    `noises` are recordings of noise. Raises ConfigError for a model that finds no beats.
    """
    asked = load_model(model_path(model))
    card = msgspec.structs.replace(asked.card, noise=None)
    if card.task != "beats" or card.second is None:
        raise ConfigError(f"model {card.ident}: expected one of task beats with two tiers, got {card.task}")
    settings = Settings(limit_s=seconds)
    shown: list[Shown] = []
    for source in sources_for(card, data, records):
        recording = read_source(source, settings, card)
        shown.append(_show(asked, card, recording, "none", np.inf, recording.values))
        for path in noises:
            for decibel in DECIBEL:
                noise = read_recording(path)
                values = _mixed(recording, noise, decibel)
                shown.append(_show(asked, card, recording, noise.name, decibel, values))
        say(f"{recording.name}: {sum(len(one.is_wrong) for one in shown)} windows")
    learned = _fit(shown, sorted({Path(path).name for path in noises}))
    for line in table(shown):
        say(line)
    return asked, learned


def sources_for(card: Card, data: str, records: Sequence[str] = ()) -> list[str]:
    """The recordings that `data` holds: those named in `records`, else those that the model learned from.

    All others are other patients, and for judging; only where it learned from none of them are all taken.
    """
    there = find_sources(data, records, card)
    learned = card.source.train.split()
    return there if records else [one for one in there if Path(one).stem in learned] or there


def _mixed(recording: Recording, noise: Recording, decibel: float) -> Floats:
    clean = Raw(
        recording.name, recording.rate_hz, recording.unit, recording.values, recording.label_samples[:0], ()
    )
    return noisy_copy(clean, [noise], (decibel, decibel), np.random.default_rng(1)).values


def _show(model: Model, card: Card, recording: Recording, noise: str, decibel: float, values: Floats) -> Shown:
    """Run the model as the daemon does, and look at its windows and its doubts."""
    rate_hz = recording.rate_hz
    plan = Plan(models=("m",), quality=False)
    asked: list[float] = []

    def listened(ask: Ask) -> Ask:
        def answer(windows: Floats) -> Floats:
            answers = ask(windows)
            asked.extend(doubt_of(1 - answers[:, -1].astype(np.float64)).tolist())
            return answers

        return answer

    seconds = {name: listened(ask) for name, ask in second_tiers({"m": model}).items()}
    engine = Engine({"m": card}, lambda _: plan, max_streams=1, seconds=seconds)
    turn = max(round(EVERY_S * card.rate_hz / card.hop_samples), 1)
    size = seconds_to_samples(10.0, rate_hz)
    doubt, found, seen, when = np.nan, list[Doubles](), list[float](), list[float]()
    for at in range(0, len(values), size):
        piece = np.asarray(values[at : at + size, : card.channels], np.float32)
        engine.push(Block("s", piece, "r", at, round(at * 1e9 / rate_hz), rate_hz), 0, 0)
        while (batch := engine.ready("m", turn)) is not None:
            asked.clear()
            told = engine.conclude(*engine.infer(batch, model)).notices
            seen += [notice.t_ns / 1e9 for _, notice in told if isinstance(notice, Beat)]
            for one in asked:
                doubt = one if np.isnan(doubt) else doubt + DOUBTS * (one - doubt)
            if batch.ends[-1] >= card.window_samples and not np.isnan(doubt):
                found.append(figures(batch.windows[-1:, :, 0], np.array([doubt])))
                when.append(batch.t_ns[-1] / 1e9)
    wrong_s = _wrong_s(recording, np.array(seen))
    late_s = (card.delay + 0.5) * card.samples_per_step / card.rate_hz
    ends = np.array(when)[:, None] - late_s
    inside = (wrong_s > ends - card.window_samples / card.rate_hz) & (wrong_s < ends)  # (window, wrong beat)
    rows_of = np.concatenate(found) if found else np.zeros((0, len(FIGURES)))
    return Shown(recording.name, noise, decibel, rows_of, np.any(inside, axis=1))


def _wrong_s(recording: Recording, seen_s: Doubles) -> Doubles:
    """Times of beats that were missed or made up."""
    kinds = np.array([AAMI.get(symbol, symbol) in "NSVFQ" for symbol in recording.label_symbols], np.bool_)
    true_s = recording.label_samples[kinds] / recording.rate_hz
    apart = np.abs(seen_s[:, None] - true_s)  # (seen, true)
    made_up = apart.min(axis=1, initial=np.inf) > MATCH_S
    missed = apart.min(axis=0, initial=np.inf) > MATCH_S
    wrong: Doubles = np.concatenate((seen_s[made_up], true_s[missed]))
    return wrong


def _fit(shown: Sequence[Shown], noises: Sequence[str]) -> Noisiness:
    weights, bias = _regression(shown)
    names = ", ".join(sorted({one.recording for one in shown}))
    said = f"{names}; noise {', '.join(noises)} at {DECIBEL[0]:g} to {DECIBEL[-1]:g} dB"
    return Noisiness(weights=weights, bias=bias, level=LEVEL, learned_from=said)


def _regression(shown: Sequence[Shown]) -> tuple[tuple[float, float, float, float, float, float], float]:
    """Logistic regression with a little ridge."""
    x, y = np.concatenate([one.figures for one in shown]), np.concatenate([one.is_wrong for one in shown])
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-9
    scaled = np.concatenate(((x - mean) / spread, np.ones((len(x), 1))), axis=1)
    sign = np.where(y, 1.0, -1.0)

    def loss(w: Doubles) -> tuple[float, Doubles]:
        odds = sign * (scaled @ w)
        slope = -sign / (1 + np.exp(np.clip(odds, -500, 500)))
        ridge = np.append(w[:-1], 0.0)
        return (
            float(np.logaddexp(0, -odds).mean() + _RIDGE * (ridge**2).sum()),
            scaled.T @ slope / len(x) + 2 * _RIDGE * ridge,
        )

    w = minimize(loss, np.zeros(scaled.shape[1]), jac=True).x
    weights = tuple((w[:-1] / spread).tolist())
    return weights, float(w[-1] - (w[:-1] * mean / spread).sum())


def _smooth(odds: Doubles) -> Doubles:
    """As NoiseMeter does."""
    smooth = odds.copy()
    for i in range(1, len(odds)):
        smooth[i] = KEEP * smooth[i - 1] + (1 - KEEP) * odds[i]
    return smooth


def table(shown: Sequence[Shown]) -> list[str]:
    """By noise and strength: share of half seconds in which it is told, and in which the model is wrong.

    Each recording is judged by what was learned from all others.
    """
    level = float(np.log(LEVEL / (1 - LEVEL)))
    told: dict[tuple[str, float], list[tuple[Bools, Bools]]] = {}
    for name in sorted({one.recording for one in shown}):
        weights, bias = _regression([one for one in shown if one.recording != name] or shown)
        for one in shown:
            if one.recording == name:
                odds = _smooth(one.figures @ np.array(weights) + bias)
                told.setdefault((one.noise, one.decibel), []).append((odds >= level, one.is_wrong))
    lines = ["noise   dB    told   wrong"]
    for (kind, decibel), some in sorted(told.items(), key=lambda item: (item[0][0], -item[0][1])):
        says, wrong = (np.concatenate(part) for part in zip(*some, strict=True))
        lines.append(f"{kind:6s}{decibel:5.0f} {says.mean():7.2%} {wrong.mean():7.2%}")
    return lines
