"""The second tier of a beat model: a recurrence over the beats that the first one found.

It reads the last beats as rows of `monitor.core.rhythm` and says of the newest what it is, or that it is none.
A few dozen patients are little to learn rhythm from: what it reads is made noisy while it learns, each row as a
whole as well as number by number, groups of columns are hidden, so that it cannot rely on one kind of evidence
alone (as ModDrop hides modalities: Neverova et al. 2016, IEEE Trans. Pattern Anal. 38(8):1692-1706), and weights
are averaged over the last steps (EMA).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from monitor import __version__
from monitor.core.blocks import Floats, Ints
from monitor.core.card import KnownAnswer, Second, Tensor
from monitor.core.errors import ConfigError, ModelError
from monitor.core.rhythm import FEATURES, GROUPS
from monitor.inference import TOLERANCE, open_session
from training.config import FitConfig
from training.graph import GATES, IR_VERSION, OPSET
from training.models import CELLS
from training.shape import SecondShape

Doubles = NDArray[np.float64]

FILE = "second.safetensors"
"""Its weights in a run folder."""

AVERAGED_STEPS = 100
"""Weights are averaged over about so many of the last steps."""

UNASKED = -1
"""Of a candidate that nobody can say anything of: one in ventricular flutter, say."""


@dataclass(frozen=True)
class Candidates:
    """What the first tier found in one series, in order of time."""

    rows: Floats
    """(n, FEATURES)"""
    kinds: Ints
    """(n,) class of the beat that stands there; one past the last class where none does; or UNASKED."""
    missed: Ints
    """By class, annotated beats that no candidate stands for."""
    noisy: bool


class SecondTier(nn.Module):
    """Rows (batch, beat, feature) -> logits (batch, beat, class + 1)."""

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(self, shape: SecondShape, classes: int) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("spread", torch.ones(FEATURES))
        self.inward = nn.Linear(FEATURES, shape.hidden)
        self.recurrence = CELLS[shape.cell](shape.hidden, shape.hidden, batch_first=True)
        self.outward = nn.Linear(2 * shape.hidden, classes + 1)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Logits at every beat: of what the recurrence remembers, and of the beat itself."""
        scaled = ((rows - self.mean) / self.spread).clamp(-5, 5)
        inner = torch.tanh(self.inward(self.dropout(scaled)))  # (batch, beat, hidden)
        return self.outward(self.dropout(torch.cat((self.recurrence(inner)[0], inner), dim=-1)))  # type: ignore[no-any-return]


def fit_second(series: Sequence[Candidates], shape: SecondShape, classes: int, seed: int) -> SecondTier:
    """Train on windows of the candidates of all `series`; the same seed gives the same network.

    Raises ConfigError for a group of columns that there is not, and for too few candidates.
    """
    if unknown := sorted(set(shape.hidden_groups) - set(GROUPS)):
        raise ConfigError(f"second.hidden_groups: expected some of {', '.join(GROUPS)}; got {unknown[0]!r}")
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    rows, kinds, shares = _windows(series, shape)
    tier = SecondTier(shape, classes)
    flat = rows.reshape(-1, FEATURES)
    tier.mean.copy_(flat.mean(dim=0))
    tier.spread.copy_(flat.std(dim=0) + 1e-3)
    steps = max(int(shape.epochs * len(rows)) // shape.batch, 1)
    optimiser = torch.optim.AdamW(tier.parameters(), lr=shape.learning_rate, weight_decay=shape.weight_decay)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, shape.learning_rate, total_steps=steps)
    weights = torch.tensor(shape.class_weights, dtype=torch.float32)
    averaged = [weight.detach().clone() for weight in tier.parameters()]
    for _ in range(steps):
        drawn = random.choice(len(rows), shape.batch, p=shares)
        seen = rows[drawn]
        whole, each = torch.randn(shape.batch, 1, FEATURES), torch.randn_like(seen)
        seen = seen + shape.noise / 2 * tier.spread * (whole + each)
        for name, share in shape.hidden_groups.items():
            is_hidden = torch.rand(shape.batch, 1, 1) < share
            seen[:, :, GROUPS[name]] = torch.where(is_hidden, tier.mean[GROUPS[name]], seen[:, :, GROUPS[name]])
        logits = tier(seen).flatten(0, 1)
        loss = functional.cross_entropy(
            logits, kinds[drawn].flatten(), weight=weights, ignore_index=UNASKED, label_smoothing=0.02
        )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(tier.parameters(), 1.0)
        optimiser.step()
        rates.step()
        average(averaged, tier.parameters(), min(AVERAGED_STEPS, max(steps // 5, 1)))
    with torch.no_grad():
        for mean, weight in zip(averaged, tier.parameters(), strict=True):
            weight.copy_(mean)
    return tier.eval()


def average(means: list[torch.Tensor], weights: Iterable[torch.Tensor], steps: int) -> None:
    """Move the running means of weights on by a step (EMA), as over about the last `steps`."""
    for mean, weight in zip(means, weights, strict=True):
        mean.lerp_(weight.detach(), 1 / steps)


def _windows(series: Sequence[Candidates], shape: SecondShape) -> tuple[torch.Tensor, torch.Tensor, Doubles]:
    """Windows of beats, what each is, and how likely each window is drawn: those with rare beats more often."""
    rows, kinds, shares = [], [], []
    for one in series:
        starts = np.arange(0, len(one.rows) - shape.window + 1, shape.hop)
        places = starts[:, None] + np.arange(shape.window)
        told = one.kinds[places].copy()
        told[:, : shape.window // 3] = UNASKED  # with so few beats before, rhythm is not yet known
        rows.append(one.rows[places])
        kinds.append(told)
        rare = 1.0 + 2 * (told == 1).any(axis=1) + (told == 2).any(axis=1) + (told == 3).any(axis=1)
        shares.append(rare * (shape.noisy_weight if one.noisy else 1.0))
    if not sum(map(len, rows)):
        raise ConfigError("the first tier found too few beats for a second one to learn from; train it for longer")
    chances = np.concatenate(shares)
    return (
        torch.from_numpy(np.concatenate(rows)),
        torch.from_numpy(np.concatenate(kinds)),
        chances / chances.sum(),
    )


def ask(tier: SecondTier, rows: Floats) -> Doubles:
    """Log-probabilities (n, class + 1) of the candidates of one series, each from the window that ends with it."""
    window = tier.shape.window
    padded = np.concatenate((np.repeat(rows[:1], window - 1, axis=0), rows))  # as monitor.core.rhythm.Recent does
    told = []
    with torch.no_grad():
        for start in range(0, len(rows), 2048):
            places = np.arange(start, min(start + 2048, len(rows)))[:, None] + np.arange(window)
            logits = tier(torch.from_numpy(padded[places]))[:, -1]
            told.append(torch.log_softmax(logits.double(), dim=-1).numpy())
    return np.concatenate(told)


def build_second(tier: SecondTier) -> onnx.ModelProto:
    """The second tier as ONNX: `window` (batch, beat, feature) in, `probabilities` (batch, class + 1) out."""
    shape, weights = tier.shape, {name: value.detach().numpy() for name, value in tier.state_dict().items()}

    def gates(name: str) -> Floats:
        parts = np.split(weights[name], len(GATES[shape.cell]))
        return np.concatenate([parts[i] for i in GATES[shape.cell]])

    constants = {
        "mean": weights["mean"],
        "spread": weights["spread"],
        "lowest": np.float32(-5),
        "highest": np.float32(5),
        "inward": weights["inward.weight"].T,
        "inward_bias": weights["inward.bias"],
        "w": gates("recurrence.weight_ih_l0")[None],
        "r": gates("recurrence.weight_hh_l0")[None],
        "b": np.concatenate((gates("recurrence.bias_ih_l0"), gates("recurrence.bias_hh_l0")))[None],
        "outward": weights["outward.weight"],
        "outward_bias": weights["outward.bias"],
        "first": np.array([0]),
        "newest": np.array(-1),
    }
    extra: dict[str, Any] = {"linear_before_reset": 1} if shape.cell == "gru" else {}
    nodes = [
        helper.make_node("Sub", ["window", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "spread"], ["scaled"]),
        helper.make_node("Clip", ["scaled", "lowest", "highest"], ["clipped"]),
        helper.make_node("MatMul", ["clipped", "inward"], ["turned"]),
        helper.make_node("Add", ["turned", "inward_bias"], ["shifted"]),
        helper.make_node("Tanh", ["shifted"], ["inner"]),
        helper.make_node("Transpose", ["inner"], ["steps"], perm=[1, 0, 2]),
        helper.make_node(
            shape.cell.upper(), ["steps", "w", "r", "b"], ["", "after"], hidden_size=shape.hidden, **extra
        ),
        helper.make_node("Squeeze", ["after", "first"], ["state"]),
        helper.make_node("Gather", ["inner", "newest"], ["last"], axis=1),
        helper.make_node("Concat", ["state", "last"], ["both"], axis=1),
        helper.make_node("Gemm", ["both", "outward", "outward_bias"], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    classes = len(weights["outward.bias"])
    graph = helper.make_graph(
        nodes,
        "second",
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["batch", "beat", FEATURES])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", classes])],
        [numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name)
         for name, value in constants.items()],
    )  # fmt: skip
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="foretrace",
        producer_version=__version__,
    )


def second_card(tier: SecondTier) -> Second:
    """What the model file's card says of the second tier, its known answer by torch included."""
    window = _example(tier, 4, seed=0)
    with torch.no_grad():
        answer = torch.softmax(tier(torch.from_numpy(window))[:, -1], dim=-1).numpy()
    return Second(
        cell=tier.shape.cell,
        hidden=tier.shape.hidden,
        parameters=sum(weight.numel() for weight in tier.parameters()),
        window=tier.shape.window,
        features=FEATURES,
        candidate_level=tier.shape.candidate_level,
        known_answer=KnownAnswer(Tensor.of(window), {"probabilities": Tensor.of(answer)}),
    )


def prove_second(content: bytes, tier: SecondTier, say: Callable[[str], None] = print) -> None:
    """Raises ModelError when onnxruntime does not answer as torch does."""
    session = open_session(content)
    for batch in (1, 3, 64):
        window = _example(tier, batch, seed=batch)
        got = session.run(["probabilities"], {"window": window})[0]
        with torch.no_grad():
            expected = torch.softmax(tier(torch.from_numpy(window))[:, -1], dim=-1).numpy()
        off = float(np.abs(got - expected).max())
        say(f"second tier, batch {batch:2d}: torch and onnxruntime differ by at most {off:.1e}")
        if not off <= TOLERANCE:
            raise ModelError(f"second tier: batch {batch}: torch and onnxruntime differ by {off:.1e}")


def _example(tier: SecondTier, batch: int, seed: int) -> Floats:
    """Invented rows (batch, beat, FEATURES), spread as those that it learned from."""
    drawn = np.random.default_rng(seed).standard_normal((batch, tier.shape.window, FEATURES))
    rows: Floats = (drawn * tier.spread.numpy() + tier.mean.numpy()).astype(np.float32)
    return rows


def load_second(folder: Path, config: FitConfig) -> SecondTier:
    """The second tier of a finished run; raises ConfigError where there is none."""
    if config.second is None:
        raise ConfigError(f"{folder}: expected a run of two tiers, its configuration has no [second]")
    tier = SecondTier(config.second, len(config.model.classes))
    try:
        tier.load_state_dict(load_file(folder / FILE))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ConfigError(f"{folder}: expected the weights of a second tier in {FILE}: {error}") from error
    return tier.eval()
