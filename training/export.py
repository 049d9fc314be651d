"""A run as one ONNX file: the graph, the card inside, and the proof that it computes what torch did."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import onnx
import torch
from onnx import helper
from onnxruntime import InferenceSession

from monitor import __version__
from monitor.core.blocks import Floats
from monitor.core.card import (
    CARD_KEY,
    OUTPUTS,
    SECOND_KEY,
    Card,
    KnownAnswer,
    Stepping,
    Tensor,
    read_card,
    write_card,
)
from monitor.core.errors import ConfigError, ModelError
from monitor.inference import open_session
from training.config import FitConfig, flat
from training.graph import build_graph
from training.leads import hear_both
from training.models import RecurrentModel
from training.patients import read_patients
from training.runs import Outcome, read_run
from training.second import SecondTier, build_second, load_second, prove_second, second_card
from training.stepped import goes_along, is_steppable, lead_samples, state_width

TOLERANCE = 1e-4
STEP_TOLERANCE = 1e-5
BATCHES = (1, 3, 64)


def export(
    run: Path, out: Path | None = None, say: Callable[[str], None] = print, *, hears_both: bool = False
) -> Path:
    """Write the model of a finished run; raises ModelError when onnxruntime does not agree with torch.

    `hears_both`: made to listen to two leads (training.leads), with the run's figures of both. Raises ConfigError
    for a run that cannot be.
    """
    config, outcome, model = read_run(run)
    second = load_second(run, config) if config.second else None
    if hears_both:
        model = hear_both(model)
        config, parameters = model.config, sum(weight.numel() for weight in model.parameters())
        parameters += sum(weight.numel() for weight in second.parameters()) if second else 0
        outcome = msgspec.structs.replace(
            outcome, channels=model.channels, metrics=read_patients(run).figures("both"), parameters=parameters
        )
    return write_model(model, config, outcome, out or run / f"{config.name}.onnx", say, second)


def write_model(
    model: RecurrentModel,
    config: FitConfig,
    outcome: Outcome,
    path: Path,
    say: Callable[[str], None] = print,
    second: SecondTier | None = None,
) -> Path:
    """Write a model and its card as one file, proven; with a `second` tier, both tiers."""
    card = make_card(model, config, outcome)
    told = {}
    if second is not None:
        card = msgspec.structs.replace(card, second=second_card(second), parameters=outcome.parameters)
        content = build_second(second).SerializeToString()
        prove_second(content, second, say)
        told[SECOND_KEY] = base64.b64encode(content).decode()
    told[CARD_KEY] = write_card(card)
    return save_model(model, told, path, say)


def save_model(
    model: RecurrentModel, told: Mapping[str, str], path: Path, say: Callable[[str], None] = print
) -> Path:
    """Write a model, and with it what is `told` of it, as one file, proven."""
    proto = build_graph(model)
    helper.set_model_props(proto, dict(told))
    onnx.checker.check_model(proto, full_check=True)
    content = proto.SerializeToString()
    prove(content, model, say)
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"--out {path}: cannot be written: {error.strerror}") from error
    card = read_card(told[CARD_KEY], path.name)
    say(f"wrote {path}: {card.ident}, {card.parameters} parameters, {len(content) / 1024:.0f} KiB")
    return path


def prove(content: bytes, model: RecurrentModel, say: Callable[[str], None] = print) -> float:
    """The largest difference between torch and onnxruntime, over several batch sizes and lengths of window."""
    session = open_session(content)
    shape = model.config.model
    worst = prove_stepping(session, model, say) if is_steppable(model) else 0.0
    for batch in BATCHES:
        for steps in sorted({shape.window, model.config.train.first_step}):
            window = example_windows(model, batch, steps, seed=batch)
            expected = _ask(model, window)
            got = dict(zip(expected, session.run(list(expected), {"window": window}), strict=True))
            off = max(
                float(np.abs(got[name] - expected[name]).max() / max(np.abs(expected[name]).max(), 1.0))
                for name in expected
            )  # in units of the outputs' size: a signal of 30,000 is not known to a ten thousandth
            say(f"batch {batch:2d}, {steps} steps: torch and onnxruntime differ by at most {off:.1e}")
            if not off <= TOLERANCE:  # NaN fails too
                raise ModelError(
                    f"export of {model.config.name}: batch {batch}, {steps} steps: torch and onnxruntime differ "
                    f"by {off:.1e}, allowed {TOLERANCE:g}",
                )
            worst = max(worst, off)
    return worst


def prove_stepping(session: InferenceSession, model: RecurrentModel, say: Callable[[str], None] = print) -> float:
    """The largest difference, in units of the outputs' size, between windows and the same in pieces."""
    shape, lead = model.config.model, lead_samples(model)
    names = list(OUTPUTS[model.config.task])
    worst = 0.0
    for batch in BATCHES:
        window = example_windows(model, batch, shape.window, seed=batch)
        expected = session.run([*names, "after"], {"window": window})
        # In one call to the middle, from there step by step; of what lies before the window nothing may be told.
        led = np.concatenate((np.full((batch, lead, model.channels), np.nan, np.float32), window), axis=1)
        state = np.zeros((batch, state_width(model)), np.float32)
        for start, end in pairwise([0, *range(shape.window // 2, shape.window + 1)]):
            piece = led[:, start * model.fold : end * model.fold + lead]
            given = {"window": piece, "state": state, "seen": np.array([lead]), "answers": np.array([batch])}
            *got, state = session.run([*names, "after"], given)
        off = max(
            float(np.abs(one - other).max() / max(np.abs(other).max(), 1.0))
            for one, other in zip((*got, state), expected, strict=True)
        )
        say(f"batch {batch:2d}, step by step: the same as the window but for {off:.1e}")
        if not off <= STEP_TOLERANCE:
            raise ModelError(
                f"export of {model.config.name}: batch {batch}: step by step it differs from the window by "
                f"{off:.1e}, allowed {STEP_TOLERANCE:g}"
            )
        worst = max(worst, off)
    return max(worst, _prove_along(session, model)) if goes_along(model) else worst


def _prove_along(session: InferenceSession, model: RecurrentModel) -> float:
    """The same between many steps in one call, with rows forgotten on the way, and one after the other."""
    names, rows, steps = [*OUTPUTS[model.config.task], "after"], 5, model.config.model.window
    window, random = example_windows(model, rows, steps, seed=7), np.random.default_rng(7)
    keep, asked = random.random((steps, rows, 1)) < 0.9, random.permutation(steps * rows)[: 3 * rows]
    *got, last = session.run(names, {"window": window, "keep": keep, "asked": asked})
    state = np.zeros((rows, state_width(model)), np.float32)
    told: list[list[Floats]] = []
    for step, kept in enumerate(keep):
        piece = window[:, step * model.fold : (step + 1) * model.fold]
        *answers, state = session.run(names, {"window": piece, "state": state})
        told.append(answers)
        state = np.where(kept, state, 0).astype(np.float32)
    expected = [np.concatenate(answers)[asked] for answers in zip(*told, strict=True)]
    off = max(
        float(np.abs(one - other).max() / max(np.abs(other).max(), 1.0))
        for one, other in zip((*got, last), (*expected, state), strict=True)
    )
    if not off <= STEP_TOLERANCE:
        raise ModelError(
            f"export of {model.config.name}: many steps in one call differ from one after the other by {off:.1e}, "
            f"allowed {STEP_TOLERANCE:g}"
        )
    return off


def example_windows(model: RecurrentModel, batch: int, steps: int, seed: int) -> Floats:
    """Invented windows (batch, time, channel) of the size of the training data: a wave, a walk and noise."""
    random = np.random.default_rng(seed)
    shape = (batch, steps * model.fold, model.channels)
    time = np.arange(shape[1])[None, :, None]
    wave = np.sin(time * random.uniform(0.05, 0.5, (batch, 1, 1)) + random.uniform(0, 6, (batch, 1, 1)))
    walk = np.cumsum(0.1 * random.standard_normal(shape), axis=1)
    if model.embedding is not None:
        symbols: Floats = random.integers(model.embedding.num_embeddings, size=shape).astype(np.float32)
        return symbols
    unit = wave + walk + 0.1 * random.standard_normal(shape)
    scaled: Floats = (unit * model.scaling.scale.numpy() + model.scaling.offset.numpy()).astype(np.float32)
    return scaled


def telling_windows(model: RecurrentModel, count: int) -> Floats:
    """Windows whose answers tell the most of the weights: a class that is certain stays certain, come what may."""
    windows = example_windows(model, 256, model.config.model.window, seed=0)
    answers = _ask(model, windows)
    if "probabilities" not in answers:
        return windows[:count]
    certainty = answers["probabilities"].max(axis=1)  # (batch,)
    return windows[np.argsort(certainty)[:count]]


def make_card(model: RecurrentModel, config: FitConfig, outcome: Outcome) -> Card:
    """The card of a trained model, its known answer by torch included."""
    shape = config.model
    forecasts, beats = config.task == "forecast", config.task == "beats"
    window = telling_windows(model, 4)
    answers = {name: Tensor.of(value) for name, value in _ask(model, window).items()}
    return Card(
        name=config.name,
        version=config.version,
        task=config.task,
        cell=shape.cell,
        layers=shape.layers,
        hidden=shape.hidden,
        parameters=sum(weight.numel() for weight in model.parameters()),
        rate_hz=outcome.rate_hz,
        window=shape.window,
        samples_per_step=shape.samples_per_step,
        hop=shape.hop,
        horizon=shape.horizon if forecasts else 0,
        channels=outcome.channels,
        unit=outcome.unit,
        conditioning=config.conditioning,
        classes=() if forecasts else shape.classes,
        thresholds=outcome.thresholds,
        delay=shape.delay if beats else 0,
        beat_level=outcome.beat_level,
        label_steps=shape.label_steps if config.task == "classify" else 0,
        coverage=shape.coverage if forecasts else 0.0,
        score_steps=shape.score_steps if forecasts else 0,
        stepping=make_stepping(model, outcome.spread),
        metrics={name: float(f"{value:.5g}") for name, value in outcome.metrics.items()},
        source=outcome.data,
        training=flat(config),
        seed=outcome.seed,
        made=datetime.now(tz=UTC).date().isoformat(),
        code=outcome.code or __version__,
        intended_use=config.intended_use,
        known_answer=KnownAnswer(Tensor.of(window), answers),
    )


def make_stepping(model: RecurrentModel, spread: Sequence[float]) -> Stepping | None:
    """How the model goes step by step, None where it cannot."""
    if not is_steppable(model):
        return None
    return Stepping(
        width=state_width(model),
        lead=lead_samples(model),
        first=model.config.train.first_step,
        spread=tuple(float(f"{factor:.4g}") for factor in spread),
        along=goes_along(model),
    )


def _ask(model: RecurrentModel, window: Floats) -> dict[str, Floats]:
    with torch.no_grad():
        answer = model.outputs(torch.from_numpy(window))
    return {name: answer[name].numpy() for name in OUTPUTS[model.config.task]}
