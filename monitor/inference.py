"""Load a model file and run it: onnxruntime behind the card's contract.

From 1.29 on, onnxruntime reports its use to its maker unless told not to before it is imported. A monitor of
other people's signals does not report: the variable is set here, the one place that imports onnxruntime.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

from monitor.core.beats import Ask
from monitor.core.blocks import Floats, Ints
from monitor.core.card import CARD_KEY, OUTPUTS, SECOND_KEY, Card, read_card
from monitor.core.errors import ModelError
from monitor.modelfile import bounded_memory, check_file

TOLERANCE = 1e-4
"""How far the known answer may be off: between processors a float32 recurrence differs in the sixth digit."""

_MAX_FILE_BYTES = 64 * 1024 * 1024


class Model:
    """A model that has proved itself: its card fits its graph and its known answer came out."""

    def __init__(self, card: Card, session: ort.InferenceSession, path: str) -> None:
        self.card, self.path = card, path
        self._session = session
        self._outputs = list(OUTPUTS[card.task])
        self._with_state = [*self._outputs, "after"]
        self.second: Ask | None = None
        """Asks the second tier of a beat model that has one."""

    def run(self, windows: Floats) -> dict[str, Floats]:
        """Infer `windows` (batch, time, channel); the outputs that monitor.core.card names for the task.

        onnxruntime releases the interpreter's lock, so call it from a worker thread.
        """
        values = self._session.run(self._outputs, {"window": np.ascontiguousarray(windows, np.float32)})
        return dict(zip(self._outputs, values, strict=True))

    def step(self, window: Floats, state: Floats, seen: int, answers: int) -> tuple[dict[str, Floats], Floats]:
        """Go on from `state` (batch, width) with the samples that `window` (batch, time, channel) adds.

        Its first `seen` samples are known to the state already. Returns the outputs for the first `answers` rows,
        and the state after the last step for all.
        """
        given = {
            "window": np.ascontiguousarray(window, np.float32),
            "state": state,
            "seen": np.array([seen]),
            "answers": np.array([answers]),
        }
        *values, after = self._session.run(self._with_state, given)
        return dict(zip(self._outputs, values, strict=True)), after

    def along(
        self, window: Floats, state: Floats, keep: NDArray[np.bool_], asked: Ints
    ) -> tuple[dict[str, Floats], Floats]:
        """Go on from `state` (batch, width) over all the steps of `window` (batch, time, channel).

        What a row remembers is forgotten after the steps where `keep` (step, batch) is false; NaN would stay for
        good, and windows have none: missing samples end a segment. Returns the outputs
        after the steps `asked` (answer,), step * batch + row of each, and the state after the last step.
        """
        given = {
            "window": np.ascontiguousarray(window, np.float32),
            "state": state,
            "keep": keep[:, :, None],
            "asked": asked,
        }
        *values, after = self._session.run(self._with_state, given)
        return dict(zip(self._outputs, values, strict=True)), after


def open_session(content: bytes) -> ort.InferenceSession:
    """A session on one thread: a small recurrent network only loses by more (see monitor.pipeline)."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def load_model(path: Path) -> Model:
    """Load and check a model file; raises ModelError that says which of its promises is broken."""
    where = f"model {path.name}"
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ModelError(f"{where}: expected at most {_MAX_FILE_BYTES} bytes, got {path.stat().st_size}")
        # From bytes, not from the path: so no graph can name a second file to be read.
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{where}: cannot be read: {error.strerror}; is {path} the right path?") from error
    check_file(content, where)  # before onnxruntime sees it, which computes while it loads
    with bounded_memory():
        return _load(content, path, where)


def _load(content: bytes, path: Path, where: str) -> Model:
    try:
        session = open_session(content)
    except Exception as error:  # onnxruntime has a dozen exception types without a common parent
        raise ModelError(f"{where}: not an ONNX file that onnxruntime can load: {error}") from error
    try:
        metadata = session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError as error:
        raise ModelError(f"{where}: its card is not text: {error}; export it again") from error
    text = metadata.get(CARD_KEY)
    if text is None:
        raise ModelError(f"{where}: carries no card ({CARD_KEY}); export it with `training export`")
    card = read_card(text, where)
    _check_graph(card, session, where)
    model = Model(card, session, str(path))
    _check_known_answer(model, where)
    _check_stepping(model, session, where)
    if card.second is not None:
        model.second = _load_second(metadata, card, where)
    return model


def _load_second(metadata: Mapping[str, str], card: Card, where: str) -> Ask:
    """The network of the second tier, which has proved itself as the first one has."""
    second, where = card.second, f"{where}, second tier"
    if second is None:
        raise ValueError(f"{card.ident} has no second tier")
    try:
        content = base64.b64decode(metadata[SECOND_KEY], validate=True)
    except (KeyError, ValueError) as error:
        raise ModelError(f"{where}: expected a graph under {SECOND_KEY}, got none; export it again") from error
    check_file(content, where)
    try:
        session = open_session(content)

        def ask(windows: Floats) -> Floats:
            given = {"window": np.ascontiguousarray(windows, np.float32)}
            answers: Floats = session.run(["probabilities"], given)[0]
            return answers

        window = second.known_answer.window.array()
        expected = second.known_answer.outputs["probabilities"].array()
        got = ask(window)
    except Exception as error:  # whatever onnxruntime raises, or a known answer that is none
        raise ModelError(f"{where}: cannot be asked for its known answer: {error}") from error
    shapes = (window.shape[1:], expected.shape, got.shape)
    if shapes != ((second.window, second.features), *2 * ((len(window), len(card.classes) + 1),)):
        raise ModelError(f"{where}: its card and its graph are of different shapes: {shapes}")
    if not np.allclose(got, expected, TOLERANCE, TOLERANCE):
        raise ModelError(f"{where}: its known answer is off; export it again")
    return ask


def _check_graph(card: Card, session: ort.InferenceSession, where: str) -> None:
    inputs = {i.name: i for i in session.get_inputs()}
    window = inputs.get("window")
    if window is None or len(inputs) != 1 or window.type != "tensor(float)" or len(window.shape) != 3:
        shown = {name: (i.type, i.shape) for name, i in inputs.items()}
        raise ModelError(f"{where}: expected one float input `window` (batch, time, channel), got {shown}")
    batch, time, channel = window.shape
    if isinstance(batch, int) or time not in (card.window_samples, *_dynamic(time)) or channel != card.channels:
        raise ModelError(
            f"{where}: its card says window (any, {card.window_samples}, {card.channels}), "
            f"its graph takes ({batch}, {time}, {channel})",
        )
    outputs = {o.name for o in session.get_outputs()}
    if not set(OUTPUTS[card.task]) <= outputs:
        raise ModelError(f"{where}: a {card.task} model gives {OUTPUTS[card.task]}, its graph gives {outputs}")


def _dynamic(axis: int | str | None) -> tuple[int | str | None, ...]:
    return () if isinstance(axis, int) else (axis,)


def _is_near(got: Floats, expected: Floats) -> bool:
    """Whether they agree, for their size: of a signal of 30,000 float32 does not know a ten thousandth."""
    size = max(float(np.abs(expected).max(initial=0.0)), 1.0)
    return got.shape == expected.shape and np.allclose(got, expected, TOLERANCE, TOLERANCE * size)


def _check_known_answer(model: Model, where: str) -> None:
    known = model.card.known_answer
    if set(known.outputs) != set(OUTPUTS[model.card.task]):
        raise ModelError(f"{where}: its known answer speaks of {sorted(known.outputs)}")
    wanted = (model.card.window_samples, model.card.channels)
    if known.window.shape[1:] != wanted:
        raise ModelError(f"{where}: its card says windows of {wanted}, its known answer has {known.window.shape}")
    try:
        window = known.window.array()
        expected = {name: tensor.array() for name, tensor in known.outputs.items()}
        got = model.run(window)
    except Exception as error:  # a wrong tensor, or whatever onnxruntime raises for it
        raise ModelError(f"{where}: its known answer cannot be asked for: {error}") from error
    for name, values in expected.items():
        if not _is_near(got[name], values):
            off = float(np.abs(got[name] - values).max()) if got[name].shape == values.shape else "shape"
            raise ModelError(
                f"{where}: known answer of `{name}` is off by {off} (allowed {TOLERANCE:g}): the file was "
                "changed after its export, or this machine computes otherwise; export it again",
            )


def _check_stepping(model: Model, session: ort.InferenceSession, where: str) -> None:
    """A model that says it can go step by step gives its known answer in two pieces, too."""
    card = model.card
    if card.stepping is None:
        return
    options = {i.name: i.type for i in session.get_overridable_initializers()}
    wanted = {"state": "tensor(float)", "seen": "tensor(int64)", "answers": "tensor(int64)"}
    if card.stepping.along:
        wanted |= {"keep": "tensor(bool)", "asked": "tensor(int64)"}
    if wanted.items() - options.items() or "after" not in {o.name for o in session.get_outputs()}:
        raise ModelError(f"{where}: its card says that it can go step by step, its graph takes {options}")
    window = card.known_answer.window.array()
    half, lead = card.window // 2 * card.samples_per_step, card.stepping.lead
    state = np.zeros((len(window), card.stepping.width), np.float32)
    window = np.concatenate((np.zeros((len(window), lead, card.channels), np.float32), window), axis=1)
    try:
        _, state = model.step(window[:, : lead + half], state, lead, 0)
        ways = {"step by step": model.step(window[:, half:], state, lead, len(window))[0]}
        if card.stepping.along:
            ways["along the way"] = _along_the_way(model, window, state)
    except Exception as error:  # whatever onnxruntime raises
        raise ModelError(f"{where}: its known answer cannot be asked for step by step: {error}") from error
    for (way, got), (name, tensor) in product(ways.items(), card.known_answer.outputs.items()):
        if not _is_near(got[name], tensor.array()):
            raise ModelError(f"{where}: known answer of `{name}` is another when asked for {way}")


def _along_the_way(model: Model, window: Floats, state: Floats) -> dict[str, Floats]:
    """The answer after the last step of `window`, between steps that are forgotten and others."""
    steps, rows = window.shape[1] // model.card.samples_per_step, len(window)
    longer = np.concatenate((window, window, window), axis=1)
    keep = np.ones((3 * steps, rows), np.bool_)
    keep[steps - 1] = False
    asked = (2 * steps - 1) * rows + np.arange(rows)
    return model.along(longer, state, keep, asked)[0]


def second_tiers(models: Mapping[str, Model]) -> dict[str, Ask]:
    """What the engine wants to know of `models` besides their cards."""
    return {name: model.second for name, model in models.items() if model.second is not None}


def find_models(folder: Path | None) -> dict[str, Path]:
    """Model files by name: those shipped with the monitor, then those of `folder`, which win."""
    found = {}
    for place in (Path(__file__).parent / "models", folder):
        if place is None:
            continue
        if not place.is_dir():
            raise ModelError(f"models: expected a folder at {place}")
        found.update({path.stem: path for path in sorted(place.glob("*.onnx"))})
    return found
