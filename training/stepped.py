"""The graph of a model that can go step by step as well as over a whole window: one graph for both.

Beside `window` it has three inputs that may be left out, for they have defaults:

- `state` (batch, width): what a row remembers, all of it in one vector: the cells' states, layer by layer, and the
  sums behind a running scaling. Zeros, the default, are a new beginning.
- `seen` (1): how many samples at the start of `window` the state knows already; only the head looks at them.
- `answers` (1): how many rows, from the first on, are to be answered; by default all.

and one more output, `after` (batch, width): the state after the last step.

Where nothing but the state decides what is answered (`goes_along`), there are two more inputs, for answers along
the way, after any of the steps of `window`:

- `asked` (answer,): which, step * batch + row of each; the outputs are these, in this order.
- `keep` (step, batch, 1): false where what a row remembers is forgotten after that step. What is not a number it
  would not forget: samples may be as large as they like, but not missing.

The recurrence is a Scan over steps of plain matrix products, a gate each. onnxruntime runs that faster than its
own operators for the cells from about a dozen rows on (tests/bench/README.md), and slower below, where a product
has nothing to spread its overhead over. LSTM and GRU therefore stand in the graph both ways, over the same
weights, and the batch decides.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from training.graph import Graph
from training.models import RecurrentForecaster, RecurrentModel, WindowClassifier
from training.scan import branch, scan_steps

_GATES = {"rnn": "h", "lstm": "iofc", "gru": "zrh"}
_FEW_ROWS = 12
_FOREVER = 2**62
_FARTHEST = (-1e9, 1e9)
_FIGURES = ("count", "first", "total", "squares")


def is_steppable(model: RecurrentModel) -> bool:
    """Whether what the model says can be carried from step to step."""
    pooled = isinstance(model, WindowClassifier) and model.pooled
    return model.scaling.kind != "window" and not pooled


def goes_along(model: RecurrentModel) -> bool:
    """Whether a model that `is_steppable` can answer after each of many steps in one call."""
    return model.scaling.kind != "running" and not model.config.model.direct


def lead_samples(model: RecurrentModel) -> int:
    """Samples before the new ones that the head looks at: the linear view of the newest ones."""
    return max(model.config.model.direct - model.fold, 0)


def state_width(model: RecurrentModel) -> int:
    """Length of the vector that a row remembers."""
    return sum(width for _, width in _parts(model))


def _parts(model: RecurrentModel) -> list[tuple[str, int]]:
    """What the state is made of: name and width."""
    shape = model.config.model
    kinds = "hc" if shape.cell == "lstm" else "h"
    parts = [(f"{kind}{layer}_before", shape.hidden) for kind in kinds for layer in range(shape.layers)]
    if model.scaling.kind == "running":
        parts += [(f"{name}_before", 1 if name == "count" else model.channels) for name in _FIGURES]
    return parts


def build_stepped(model: RecurrentModel) -> onnx.ModelProto:
    """The graph of a model that `is_steppable`."""
    graph = _Stepped(model)
    graph.begin()
    x = graph.scaled()
    states, last = graph.carry(x)
    if isinstance(model, RecurrentForecaster):
        graph.forecast(x, last, model)
    elif isinstance(model, WindowClassifier):
        graph.classes(last, model)
    graph.end(states)
    return graph.model()


class _Stepped(Graph):
    """A graph with a state in and out."""

    def begin(self) -> None:
        """The optional inputs, and the state in its parts, a row each for every row of `window`."""
        self._option("state", np.zeros((1, state_width(self._model)), np.float32), ["rows", "width"])
        self._option("seen", np.array([0]), [1])
        self._option("answers", np.array([_FOREVER]), [1])
        if goes_along(self._model):
            self._option("asked", np.zeros(0, np.int64), ["asked"])
            self._option("keep", np.ones((1, 1, 1), np.bool_), ["step", "row", 1])
        parts = _parts(self._model)
        width = self._constant("width", np.array([sum(width for _, width in parts)]))
        batch = self._node("Shape", "window", start=0, end=1)
        state = self._node("Expand", "state", self._node("Concat", batch, width, axis=0))
        if len(parts) == 1:
            self._node("Identity", state, name=parts[0][0])
            return
        sizes = self._constant("parts", np.array([width for _, width in parts]))
        self._nodes.append(helper.make_node("Split", [state, sizes], [name for name, _ in parts], axis=1))

    def scaled(self, window: str = "window") -> str:
        """The new samples, scaled: (batch, time, channel), with running scaling (batch, step, fold * channel)."""
        time_axis = self._constant("time_axis", np.array([1]))
        end = self._constant(f"at_{_FOREVER}", np.array([_FOREVER]))
        new = self._node("Slice", window, "seen", end, time_axis)
        if self._model.scaling.kind == "running" and self._model.embedding is None:
            return self._running(new, time_axis)
        x = super().scaled(new)
        if self._model.embedding is not None or not goes_along(self._model):
            return x
        # What is not finite would stay in a state for good: to multiply it by zero does not forget it.
        return self._node("Clip", x, *(self._constant(f"to_{end}", np.float32(end)) for end in _FARTHEST))

    def _running(self, new: str, time_axis: str) -> str:
        """Scaled by mean and spread up to each step: see training/scaling.py."""
        model, node, constant = self._model, self._node, self._constant
        fold, channels = model.fold, model.channels
        zero = self._number("nothing", 0.0)
        one = constant("one", np.array([1]))
        known = node("Greater", node("Unsqueeze", "count_before", time_axis), zero)  # (batch, 1, 1)
        earliest = node("Slice", new, constant("at_0", np.array([0])), one, time_axis)
        first = node("Where", known, node("Unsqueeze", "first_before", time_axis), earliest)  # (batch, 1, channel)
        steps = node("Sub", new, first)
        if fold > 1:
            steps = node("Reshape", steps, constant("fold", np.array([0, -1, fold * channels])))
        sums = {"total": steps, "squares": node("Mul", steps, steps)}
        over = constant("over_fold", np.tile(np.eye(channels, dtype=np.float32), (fold, 1)))
        for name, values in sums.items():
            # A product, for onnxruntime sums such short rows one by one.
            by_step = node("MatMul", values, over) if fold > 1 else values  # (batch, step, channel)
            since = node("CumSum", by_step, constant("axis_1", np.array(1)))
            sums[name] = node(
                "Add", since, node("Unsqueeze", f"{name}_before", time_axis)
            )  # (batch, step, channel)
        # Samples seen at each step: fold, 2 fold, ... after those that the state has seen.
        number = node("Squeeze", node("Shape", new, start=1, end=2))
        per_step = constant("per_step", np.array(fold))
        upto = node("Range", per_step, node("Add", number, constant("unit", np.array(1))), per_step)
        upto = node("Unsqueeze", node("Cast", upto, to=TensorProto.FLOAT), constant("outer", np.array([0, 2])))
        seen = node("Add", upto, node("Unsqueeze", "count_before", time_axis))  # (batch, step, 1)
        mean = node("Div", sums["total"], seen)
        around = node("Max", node("Sub", sums["squares"], node("Mul", sums["total"], mean)), zero)
        prior, usual = self._number("prior", model.scaling.prior), self._figure("scaling.scale")
        usual = node("Mul", node("Mul", usual, usual), prior)
        spread = node("Sqrt", node("Div", node("Add", around, usual), node("Add", seen, prior)))
        spread = node("Max", spread, self._figure("scaling.floor"))
        wide = node("Transpose", over, perm=[1, 0])  # (channel, fold * channel): each figure once for each sample
        middle, width = (node("MatMul", figure, wide) if fold > 1 else figure for figure in (mean, spread))
        x = node("Div", node("Sub", steps, middle), width)  # (batch, step, fold * channel)
        self._offset = self.rows(self._last(node("Add", first, mean)))  # (answered, 1, channel)
        self._scale = self.rows(self._last(spread))
        self._node("Squeeze", self._last(seen), time_axis, name="count_after")
        self._node("Squeeze", first, time_axis, name="first_after")
        for name, values in sums.items():
            self._node("Squeeze", self._last(values), time_axis, name=f"{name}_after")
        return x

    def _last(self, x: str) -> str:
        return self._slice(x, -1, _FOREVER)

    def rows(self, x: str) -> str:
        """The rows of `x` that are to be answered."""
        return self._node("Slice", x, *self._answered())

    def _answered(self) -> list[str]:
        return [self._constant("at_0", np.array([0])), "answers", self._constant("batch_axis", np.array([0]))]

    def carry(self, x: str) -> tuple[list[str], str]:
        """Go through `x`, the scaled samples: the states (batch, hidden), every h, then every c; what is answered.

        That is the last layer's h, (answer, hidden), of the rows that are to be answered.
        """
        shape = self._model.config.model
        running = self._model.scaling.kind == "running"
        x = self._node("Transpose", x, perm=[1, 0, 2]) if running else self._steps(x)  # (step, batch, feature)
        kinds = "hc" if shape.cell == "lstm" else "h"
        before = [f"{kind}{layer}_before" for kind in kinds for layer in range(shape.layers)]
        after = [name.replace("before", "after") for name in before]
        if len(_parts(self._model)) == 1:
            after = ["after"]
        matrices = [self._matrices(layer) for layer in range(shape.layers)]
        last = shape.layers - 1
        with_one = self._with_one(x)
        if not goes_along(self._model):
            self._nodes += self._to_the_end(x, with_one, before, after, matrices)
            return after, self.rows(after[last])
        ends, alongs = ([f"{name}_{way}" for name in (*after, "answered")] for way in ("end", "along"))
        end = self._to_the_end(x, with_one, before, ends[:-1], matrices)
        end.append(helper.make_node("Slice", [ends[last], *self._answered()], ends[-1:]))
        flat = self._constant("flat", np.array([-1, shape.hidden]))
        along = [
            helper.make_node("Cast", ["keep"], ["kept"], to=TensorProto.FLOAT),
            self._scan(with_one, before, alongs[:-1], matrices, "all_states"),
            helper.make_node("Reshape", ["all_states", flat], ["states"]),
            helper.make_node("Gather", ["states", "asked"], alongs[-1:], axis=0),
        ]
        number = self._node("Squeeze", self._node("Shape", "asked"))
        condition = self._node("Greater", number, self._constant("none", np.array(0)))
        branches = {"then_branch": branch("along", along, alongs), "else_branch": branch("end", end, ends)}
        self._nodes.append(helper.make_node("If", [condition], [*after, "answered"], **branches))
        return after, "answered"

    def _to_the_end(
        self, x: str, with_one: str, before: list[str], after: list[str], matrices: list[dict[str, str]]
    ) -> list[onnx.NodeProto]:
        """From the states before to those after the last step."""
        many = [self._scan(with_one, before, [f"{name}_many" for name in after], matrices)]
        if self._model.config.model.cell == "rnn":
            many[0].output[:] = after
            return many
        few = self._operators(x, before, [f"{name}_few" for name in after])
        sizes = (self._node("Squeeze", self._node("Shape", x, start=axis, end=axis + 1)) for axis in (0, 1))
        long = self._node("Greater", next(sizes), self._constant("unit", np.array(1)))
        small = self._node("Less", next(sizes), self._constant("few_rows", np.array(_FEW_ROWS)))
        condition = self._node("And", long, small)
        branches = {
            f"{which}_branch": branch(name, nodes, [f"{state}_{name}" for state in after])
            for which, name, nodes in (("then", "few", few), ("else", "many", many))
        }
        return [helper.make_node("If", [condition], after, **branches)]

    def _matrices(self, layer: int) -> dict[str, str]:
        """A matrix for each gate, cut from the operator's weights; onnxruntime does so at load.

        It multiplies (state, what is read, 1), so that the bias is in it. What a GRU resets is a part of its last
        gate, and so that one comes as its parts: `rh` and `brh` of the state, `wh` of (what is read, 1).
        """
        shape, gates = self._model.config.model, _GATES[self._model.config.model.cell]
        weights, recurrent, bias = self._cell_weights(layer)
        zero, one = (self._constant(f"axis{axis}", np.array([axis])) for axis in (0, 1))
        halves = self._constant("halves", np.array([shape.hidden * len(gates)] * 2))
        sizes = self._constant("gates", np.array([shape.hidden] * len(gates)))
        sides = [f"bias_{side}_{layer}" for side in "wr"]
        self._nodes.append(helper.make_node("Split", [self._node("Squeeze", bias, zero), halves], sides, axis=0))
        w, r = self._node("Squeeze", weights, zero), self._node("Squeeze", recurrent, zero)
        both = self._node("Unsqueeze", self._node("Add", *sides), one)
        cuts = {"k": self._node("Concat", r, w, both, axis=1)}
        if shape.cell == "gru":
            read = self._node("Concat", w, self._node("Unsqueeze", sides[0], one), axis=1)
            cuts |= {"w": read, "r": r, "br": sides[1]}
        found: dict[str, str] = {}
        for kind, name in cuts.items():
            names = {gate: f"{kind}_{gate}_{layer}" for gate in gates}
            self._nodes.append(helper.make_node("Split", [name, sizes], list(names.values()), axis=0))
            found |= {f"{kind}{gate}": cut for gate, cut in names.items()}
        return found

    def _with_one(self, x: str) -> str:
        """What is read at each step and a 1: (step, batch, feature + 1)."""
        one = self._constant("axis1", np.array([1]))
        single = self._constant("a_one", np.ones((1, 1), np.float32))
        rows = self._node("Concat", self._node("Shape", x, start=1, end=2), one, axis=0)
        if self._model.config.model.layers > 1:
            self._node("Expand", single, rows, name="ones")
        steps = self._node("Concat", self._node("Shape", x, start=0, end=1), rows, axis=0)
        return self._node("Concat", x, self._node("Expand", single, steps), axis=2)

    def _scan(
        self, x: str, before: list[str], after: list[str], matrices: list[dict[str, str]], along: str = ""
    ) -> onnx.NodeProto:
        shape = self._model.config.model
        return scan_steps(shape.cell, shape.hidden, matrices, (x, *before), after, along)

    def _operators(self, x: str, before: list[str], after: list[str]) -> list[onnx.NodeProto]:
        """The same by onnxruntime's operators, a layer after the other."""
        shape, nodes = self._model.config.model, list[onnx.NodeProto]()
        zero, one = self._constant("axis0", np.array([0])), self._constant("axis1", np.array([1]))
        for layer in range(shape.layers):
            mine = range(layer, len(before), shape.layers)
            for i in mine:
                nodes.append(helper.make_node("Unsqueeze", [before[i], zero], [f"{before[i]}_few"]))
            inputs = [x, *self._cell_weights(layer), "", *(f"{before[i]}_few" for i in mine)]
            outputs = [f"all_{layer}", *(f"{after[i]}_way" for i in mine)]
            extra: dict[str, Any] = {"linear_before_reset": 1} if shape.cell == "gru" else {}
            nodes.append(helper.make_node(shape.cell.upper(), inputs, outputs, hidden_size=shape.hidden, **extra))
            for i in mine:
                nodes.append(helper.make_node("Squeeze", [f"{after[i]}_way", zero], [after[i]]))
            if layer < shape.layers - 1:
                x = f"read_{layer + 1}"
                nodes.append(helper.make_node("Squeeze", [f"all_{layer}", one], [x]))
        return nodes

    def _newest(self, scaled: str, taps: int) -> str:  # noqa: ARG002 - scaled by what counts now
        newest = self.rows(self._slice("window", -taps, _FOREVER))
        return self._node("Div", self._node("Sub", newest, self._offset), self._scale)

    def end(self, states: list[str]) -> None:
        """The output `after`: what the next call is given as `state`."""
        figures = [f"{name}_after" for name in _FIGURES] if self._model.scaling.kind == "running" else []
        self._output("after", ["batch", state_width(self._model)])
        if len(_parts(self._model)) > 1:
            self._node("Concat", *states, *figures, name="after", axis=1)
