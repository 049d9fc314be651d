"""A model's graph in ONNX, built node by node with `onnx.helper`.

Exporters fix axes, unroll cells or write weights beside the file without saying so. Gate order of the operators:
LSTM i, o, f, c (torch: i, f, g, o); GRU z, r, h with `linear_before_reset` (torch: r, z, n).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from monitor import __version__
from monitor.core.blocks import Floats
from training.models import RecurrentForecaster, RecurrentModel, WindowClassifier

OPSET = 17
IR_VERSION = 8  # what opset 17 came with: older runtimes read it too

GATES = {"rnn": (0,), "lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}


def build_graph(model: RecurrentModel) -> onnx.ModelProto:
    """The model as ONNX: `window` (batch, time, channel) in, the task's outputs out, batch and time dynamic."""
    from training.stepped import build_stepped, is_steppable  # it extends the graph below

    if is_steppable(model):
        return build_stepped(model)
    graph = Graph(model)
    scaled = graph.scaled()
    state = graph.recurrence(scaled)
    if isinstance(model, RecurrentForecaster):
        graph.forecast(scaled, state, model)
    elif isinstance(model, WindowClassifier):
        graph.classes(state, model)
    return graph.model()


class Graph:
    """Nodes and constants of a graph that is being built; methods return the name of what they compute."""

    def __init__(self, model: RecurrentModel) -> None:
        self._model = model
        self._weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._outputs: list[onnx.ValueInfoProto] = []
        self._optional: list[onnx.ValueInfoProto] = []
        self._offset = self._scale = ""

    def scaled(self, window: str = "window") -> str:
        """(x - offset) / scale; of symbols the vector of each, (batch, time, feature)."""
        if self._model.embedding is not None:
            highest = self._constant("highest", np.float32(self._model.embedding.num_embeddings - 1))
            known = self._node("Clip", self._node("Round", window), self._constant("zero", np.float32(0)), highest)
            column = self._constant("column", np.array([2]))
            numbers = self._node("Cast", self._node("Squeeze", known, column), to=TensorProto.INT64)
            return self._node("Gather", self._weight("embedding.weight"), numbers)
        if self._model.scaling.kind == "window":
            early = self._slice(window, 0, self._model.scaling.samples)
            self._offset = self._node("ReduceMean", early, axes=[1], keepdims=1)  # (batch, 1, channel)
            centred = self._node("Sub", early, self._offset)
            variance = self._node("ReduceMean", self._node("Mul", centred, centred), axes=[1], keepdims=1)
            self._scale = self._node("Max", self._node("Sqrt", variance), self._figure("scaling.floor"))
        else:
            self._offset, self._scale = self._figure("scaling.offset"), self._figure("scaling.scale")
        return self._node("Div", self._node("Sub", window, self._offset), self._scale)

    def recurrence(self, x: str) -> str:
        """The last layer's state (batch, hidden) after the last step; pooled, (step, batch, width) at each."""
        shape = self._model.config.model
        x = self._steps(x)  # (step, batch, feature)
        pooled = shape.pool == "odds"
        extra: dict[str, Any] = {"linear_before_reset": 1} if shape.cell == "gru" else {}
        if shape.bidirectional:
            extra["direction"] = "bidirectional"
        for layer in range(shape.layers):
            inputs = [x, *self._cell_weights(layer)]
            last = layer == shape.layers - 1 and not pooled  # then only its last state is asked for
            names = ["", "last"] if last else [f"all_{layer}"]
            self._nodes.append(
                helper.make_node(shape.cell.upper(), inputs, names, hidden_size=shape.hidden, **extra),
            )
            if last:
                break
            x = names[0]  # (step, way, batch, hidden)
            if shape.bidirectional:
                x = self._node("Transpose", x, perm=[0, 2, 1, 3])
                x = self._node("Reshape", x, self._constant("both_ways", np.array([0, 0, 2 * shape.hidden])))
            else:
                x = self._node("Squeeze", x, self._constant("axis1", np.array([1])))
        if pooled:
            return x  # (step, batch, width)
        return self._node("Squeeze", "last", self._constant("axis0", np.array([0])))  # (batch, hidden)

    def _cell_weights(self, layer: int) -> list[str]:
        """What the operators want: w (way, gate * hidden, feature), r and b."""
        ways = [f"l{layer}", f"l{layer}_reverse"][: 1 + self._model.config.model.bidirectional]
        sides = ("ih", "hh")
        weights = [np.stack([self._gates(f"recurrence.weight_{side}_{way}") for way in ways]) for side in sides]
        bias = [np.concatenate([self._gates(f"recurrence.bias_{side}_{way}") for side in sides]) for way in ways]
        named = zip("wrb", (*weights, np.stack(bias)), strict=True)
        return [self._constant(f"{name}{layer}", value) for name, value in named]

    def _steps(self, x: str) -> str:
        """What the recurrence reads, (step, batch, feature), of the scaled window (batch, time, channel)."""
        shape, fold, channels = self._model.config.model, self._model.fold, self._model.channels
        if shape.frame:  # frames overlap: a convolution that copies, its kernels all zero but for a single one
            copies = np.tile(np.eye(shape.frame, dtype=np.float32)[:, None], (channels, 1, 1))
            x = self._node("Transpose", x, perm=[0, 2, 1])  # (batch, channel, time)
            copy = self._constant("copies", copies)  # (channel * frame, 1, frame)
            x = self._node("Conv", x, copy, group=channels, strides=[shape.frame_hop])
            return self._node("Transpose", x, perm=[2, 0, 1])
        if fold > 1:
            x = self._node("Reshape", x, self._constant("fold", np.array([0, -1, fold * channels])))
        return self._node("Transpose", x, perm=[1, 0, 2])

    def forecast(self, scaled: str, state: str, model: RecurrentForecaster) -> None:
        """Mean and bounds, (batch, horizon, channel), in the stream's unit."""
        shape = self._constant("shape", np.array([-1, model.horizon, model.channels]))
        bottle = state
        if model.config.model.rank:
            bottle = self._node("Gemm", state, self._weight("bottleneck.weight"), transB=1)
        mean = self._linear(bottle, "mean")
        if taps := model.config.model.direct:
            flat = self._constant("flat", np.array([-1, taps * model.channels]))
            newest = self._node("Reshape", self._newest(scaled, taps), flat)
            mean = self._node("Add", mean, self._node("Gemm", newest, self._weight("direct.weight"), transB=1))
        mean = self._node("Reshape", mean, shape)
        factors = self._weight("factors")
        below, above = (
            self._node("Mul", self._node("Reshape", self._softplus(self._linear(state, side)), shape), factors)
            for side in ("below", "above")
        )
        lower, upper = self._node("Sub", mean, below), self._node("Add", mean, above)
        for name, value in (("forecast", mean), ("lower", lower), ("upper", upper)):
            self._output(name, ["batch", model.horizon, model.channels])
            self._node("Add", self._node("Mul", value, self._scale), self._offset, name=name)

    def _softplus(self, x: str) -> str:
        """log(1 + exp(x)) as max(x, 0) + log(1 + exp(-|x|)): onnxruntime's own operator goes number by number."""
        small = self._node("Exp", self._node("Neg", self._node("Abs", x)))
        more = self._node("Log", self._node("Add", small, self._constant("softly", np.float32(1))))
        return self._node("Add", self._node("Relu", x), more)

    def _newest(self, scaled: str, taps: int) -> str:
        """The newest samples, scaled, (batch, taps, channel)."""
        return self._slice(scaled, -taps, 2**31 - 1)

    def classes(self, state: str, model: WindowClassifier) -> None:
        """Class probabilities, and that of a beat where the task is beats."""
        if model.config.task == "beats":
            self._output("beat", ["batch", 1])
            self._node("Sigmoid", self._linear(state, "beat"), name="beat")
        self._output("probabilities", ["batch", len(model.config.model.classes)])
        logits = self._summed_odds(state) if model.pooled else self._linear(state, "kind")
        self._node("Softmax", logits, name="probabilities", axis=-1)

    def _summed_odds(self, states: str) -> str:
        """Logits (batch, class) of `states` (step, batch, width): see training/odds.py."""
        x = states
        for part in ("both", "evidence"):
            weight, bias = (self._weights[f"kind.{part}.{of}"] for of in ("weight", "bias"))
            x = self._node("MatMul", x, self._constant(f"kind.{part}.turned", weight.T))
            x = self._node("Add", x, self._constant(f"kind.{part}.bias", bias))
            x = self._node("Relu", x) if part == "both" else x
        odds = self._node("ReduceLogSumExp", x, axes=[0], keepdims=0)  # (batch, class - 1)
        pads = self._constant("quiet", np.array([0, 1, 0, 0]))
        return self._node("Pad", odds, pads)  # the quiet class, of which nothing speaks, is 0

    def model(self) -> onnx.ModelProto:
        """What has been built."""
        window = helper.make_tensor_value_info(
            "window", TensorProto.FLOAT, ["batch", "time", self._model.channels]
        )
        constants = list(self._constants.values())
        inputs = [window, *self._optional]
        graph = helper.make_graph(self._nodes, self._model.config.name, inputs, self._outputs, constants)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=IR_VERSION,
            producer_name="foretrace",
            producer_version=__version__,
        )

    def _gates(self, name: str) -> Floats:
        """A recurrent weight with its gates in the operator's order."""
        cell = self._model.config.model.cell
        gates = np.split(self._weights[name], len(GATES[cell]))
        ordered: Floats = np.concatenate([gates[i] for i in GATES[cell]])
        return ordered

    def _slice(self, x: str, start: int, end: int) -> str:
        """`x` from `start` to `end` along its time axis."""
        bounds = [self._constant(f"at_{n}", np.array([n])) for n in (start, end)]
        return self._node("Slice", x, *bounds, self._constant("time_axis", np.array([1])))

    def _linear(self, x: str, name: str) -> str:
        return self._node("Gemm", x, self._weight(f"{name}.weight"), self._weight(f"{name}.bias"), transB=1)

    def _node(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        name = name or f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def _weight(self, name: str) -> str:
        return self._constant(name, self._weights[name])

    def _figure(self, name: str) -> str:
        """A figure of the scaling, with as many axes as what it meets: see `_number`."""
        return self._constant(name, self._weights[name].reshape(1, 1, -1))

    def _number(self, name: str, value: float) -> str:
        """A number with three axes: where a last axis of one meets fewer, onnxruntime goes number by number."""
        return self._constant(name, np.full((1, 1, 1), value, np.float32))

    def _constant(self, name: str, value: np.ndarray | np.float32) -> str:
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.array(value, order="C"), name)
        return name

    def _output(self, name: str, shape: list[str | int]) -> None:
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def _option(self, name: str, default: np.ndarray, shape: list[str | int]) -> None:
        """An input that may be left out."""
        self._constant(name, default)
        self._optional.append(helper.make_tensor_value_info(name, self._constants[name].data_type, shape))
