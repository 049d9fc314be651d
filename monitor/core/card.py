"""The card inside a model file: what the model expects, what it returns, and a known answer.

A model is one `.onnx` file; the card is one JSON document in its `metadata_props` under `CARD_KEY`.

Input `window`: (batch, time, channel) float32 at `rate_hz`, conditioned as `conditioning` says, else in the
stream's own unit: any fixed scaling is inside the graph. A model whose card has `stepping` takes three more, that
may be left out: `state` (batch, width), what each row remembers, zeros for a new beginning; `seen` (1), how many
samples at the start of `window` the state knows already; `answers` (1), how many rows, from the first on, are to
be answered. It gives one more output, `after` (batch, width): the state after the last step. Outputs, by task:

- forecast: `forecast`, `lower`, `upper`, each (batch, horizon, channel), in the unit of the input;
- classify: `probabilities` (batch, class);
- beats:    `beat` (batch, 1), the probability that a beat stands `delay` steps before the end of the window,
            and `probabilities` (batch, class), what kind of beat it would be.
"""

from __future__ import annotations

import base64
from typing import Literal

import msgspec
import numpy as np

from monitor.core.blocks import Floats
from monitor.core.conditioning import Conditioning
from monitor.core.errors import ModelError
from monitor.core.rhythm import AFTER, BEFORE, FEATURES, RATE_HZ

CARD_KEY = "foretrace.card"
SECOND_KEY = "foretrace.second"
SCHEMA = 1

Task = Literal["forecast", "classify", "beats"]
Cell = Literal["rnn", "lstm", "gru"]

OUTPUTS: dict[Task, tuple[str, ...]] = {
    "forecast": ("forecast", "lower", "upper"),
    "classify": ("probabilities",),
    "beats": ("beat", "probabilities"),
}


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A float32 array in JSON: its shape, and its little-endian bytes in base64."""

    shape: tuple[int, ...]
    data: str

    @classmethod
    def of(cls, array: Floats) -> Tensor:
        """Wrap an array."""
        raw = np.ascontiguousarray(array, "<f4").tobytes()
        return cls(tuple(int(n) for n in array.shape), base64.b64encode(raw).decode())

    def array(self) -> Floats:
        """The array; raises ValueError when shape and bytes disagree."""
        flat = np.frombuffer(base64.b64decode(self.data, validate=True), "<f4")
        return flat.reshape(self.shape).astype(np.float32)


class KnownAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An input and what torch answered; the monitor asks again at load and refuses a file that differs."""

    window: Tensor
    outputs: dict[str, Tensor]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the model learned from."""

    name: str
    licence: str = ""
    digest: str = ""
    """SHA-256 over the samples and labels used."""
    train: str = ""
    """Which part was trained on."""
    validation: str = ""
    """Which part was held out; the metrics speak of it."""


class Stepping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a model that can go step by step does so: see monitor.core.leapfrog."""

    width: int
    """Numbers that a row remembers."""
    lead: int = 0
    """Samples before the new ones that its head looks at; `window` begins with them, and `seen` counts them."""
    first: int
    """The fewest steps on which it was trained to answer."""
    spread: tuple[float, ...] = ()
    """forecast: what to multiply the interval's half-widths by, on an answer that rests on `first` steps, on
    `first` + 1, and so on up to `window`: fewer steps tell less, and the interval should hold as often."""
    along: bool = False
    """Whether one call may go on over many steps, and be asked after any of them."""


class Second(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The second tier of a beat model: a recurrence over the beats that the first one finds (monitor.core.rhythm).

    Its graph stands beside the card, under SECOND_KEY: `window` (batch, beat, feature) in, `probabilities`
    (batch, class + 1) out, the last of which is that of no beat at all.
    """

    cell: Cell
    hidden: int
    parameters: int
    window: int
    """Beats in a window."""
    features: int
    """Numbers that a beat is told by."""
    candidate_level: float
    """The first tier's probability from which something may be a beat."""
    known_answer: KnownAnswer


class Noisiness(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From when on a window holds too much noise: a logistic regression on monitor.core.noisiness.FIGURES."""

    weights: tuple[float, float, float, float, float, float]
    bias: float
    level: float
    """Probability from which the model says "noise" instead of what it thinks to see."""
    learned_from: str = ""


class Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything the monitor needs to know of a model, and everything a reader wants to."""

    schema: int = SCHEMA
    name: str
    version: str
    task: Task
    cell: Cell
    layers: int
    hidden: int
    parameters: int

    rate_hz: float
    """Samples a second the model works at; the monitor resamples the stream to it."""
    window: int
    """Steps in a window."""
    samples_per_step: int = 1
    """Samples the recurrent cell takes at each step; the graph folds them itself."""
    hop: int
    """Steps between two inferences of one stream."""
    horizon: int = 0
    """Steps a forecast covers."""
    channels: int = 1
    unit: str = ""
    conditioning: Conditioning = Conditioning()

    classes: tuple[str, ...] = ()
    thresholds: dict[str, float] = {}
    """Raise level by class; a class without one is never flagged."""
    delay: int = 0
    """beats: steps between a beat and the end of the window that tells of it."""
    beat_level: float = 0.5
    """beats: probability from which a beat is taken to be there."""
    label_steps: int = 0
    """classify: the label speaks of the last so many steps; 0 says of the whole window."""
    coverage: float = 0.0
    """forecast: share of values the interval is calibrated to hold."""
    score_steps: int = 0
    """forecast: a deviation is the mean over so many steps; 0: the largest within a hop."""
    tail: float = 0.08
    """forecast: shape of the tail that a false-alarm budget takes deviations to have before it knows a stream's
    own: 0 is exponential, more is heavier (monitor.core.budget)."""

    second: Second | None = None
    """beats: the second tier; None where the first one decides."""
    noise: Noisiness | None = None
    """beats: from when on there is too much noise; None where nobody has learned that."""
    stepping: Stepping | None = None
    """How it goes step by step; None where it cannot: older files, and scaling by the window's first steps."""

    metrics: dict[str, float] = {}
    source: Source
    training: dict[str, msgspec.Raw | str | int | float | bool | list[str] | None] = {}
    """The training configuration, flat."""
    seed: int
    made: str
    """Date of the export, ISO 8601."""
    code: str
    """Version of this project that trained it."""
    licence: str = "Apache-2.0"
    intended_use: str = "Research and teaching. Not a medical device."
    known_answer: KnownAnswer

    @property
    def window_samples(self) -> int:
        """Samples in a window: the length of the graph's time axis."""
        return self.window * self.samples_per_step

    @property
    def hop_samples(self) -> int:
        """Samples between two inferences of one stream."""
        return self.hop * self.samples_per_step

    @property
    def ident(self) -> str:
        """NAME@VERSION."""
        return f"{self.name}@{self.version}"


def read_card(text: str, where: str) -> Card:
    """The card in `text`, checked against itself; raises ModelError that names `where`."""
    try:
        card = msgspec.json.decode(text, type=Card)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{where}: its card cannot be read: {error}") from error
    if card.schema != SCHEMA:
        raise ModelError(f"{where}: card schema {card.schema}, this monitor reads {SCHEMA}; export it again")
    problems = [
        (card.rate_hz > 0, "rate_hz must be above 0"),
        (1 <= card.window <= 4096, "window must be 1 to 4096 steps"),
        (1 <= card.samples_per_step <= 64, "samples_per_step must be 1 to 64"),
        (1 <= card.hop <= card.window, "hop must be 1 to window steps"),
        (1 <= card.channels <= 64, "channels must be 1 to 64"),
        (card.task != "forecast" or 1 <= card.horizon <= 4096, "a forecast needs a horizon of 1 to 4096"),
        (card.task == "forecast" or len(card.classes) >= 2, "a classifier needs two classes or more"),
        (set(card.thresholds) <= set(card.classes), "thresholds name a class that classes does not"),
        (0 <= card.delay < card.window, "delay must lie within the window"),
        (0 <= card.score_steps <= card.window, "score_steps must be 0 to window"),
        (-0.25 <= card.tail <= 0.8, "tail must be -0.25 to 0.8"),
        (card.noise is None or card.task == "beats", "only a beats model says what is too much noise"),
        (card.noise is None or 0 < card.noise.level < 1, "noise.level must lie between 0 and 1"),
        *_stepping_problems(card),
        *_second_problems(card),
    ]
    for holds, complaint in problems:
        if not holds:
            raise ModelError(f"{where}: its card contradicts itself: {complaint}")
    return card


def _second_problems(card: Card) -> list[tuple[bool, str]]:
    second = card.second
    if second is None:
        return []
    around = (card.delay + 1.5) * card.samples_per_step + BEFORE  # before the window's end, a beat's beginning
    return [
        (card.task == "beats", "only a beats model has a second tier"),
        (card.rate_hz == RATE_HZ, f"a second tier looks at beats at {RATE_HZ:g} Hz"),
        (second.features == FEATURES, f"second.features must be {FEATURES}"),
        (1 <= second.window <= 256, "second.window must be 1 to 256 beats"),
        (0 < second.candidate_level < 1, "second.candidate_level must lie between 0 and 1"),
        (card.delay * card.samples_per_step >= AFTER, f"delay must leave {AFTER} samples after a beat"),
        (around <= card.window_samples, "the window must hold what lies around a beat"),
    ]


def _stepping_problems(card: Card) -> list[tuple[bool, str]]:
    stepping = card.stepping
    if stepping is None:
        return []
    spread = len(stepping.spread)
    return [
        (1 <= stepping.width <= 65_536, "stepping.width must be 1 to 65536"),
        (1 <= stepping.first <= card.window, "stepping.first must be 1 to window"),
        (
            0 <= stepping.lead <= (stepping.first - 1) * card.samples_per_step,
            "stepping.lead must lie within the first steps",
        ),
        (
            spread in (0, card.window - stepping.first + 1),
            "stepping.spread needs a figure for each count of steps",
        ),
        (all(factor > 0 for factor in stepping.spread), "stepping.spread must be above 0"),
    ]


def write_card(card: Card) -> str:
    """The card as one line of JSON."""
    return msgspec.json.encode(card).decode()
