"""The recurrence of a graph as a Scan over steps, of plain matrix products.

onnxruntime runs that faster than its own operators for the cells from about a dozen rows on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import TensorProto, helper


def scan_steps(
    cell: str,
    hidden: int,
    matrices: Sequence[dict[str, str]],
    reads: Sequence[str],
    after: Sequence[str],
    along: str = "",
) -> onnx.NodeProto:
    """All layers, step by step, from what they read, and a 1 (step, batch, feature + 1), and the states before.

    Those names are `reads`, and `after` those of the states after the last step; `matrices` has each layer's by
    gate, and for a second one there is a column of `ones` (batch, 1) in the graph around. `along` is a name for
    the last layer's state after each step (step, batch, hidden); then what a row remembers is multiplied by
    `kept` (step, batch, 1) after each.
    """
    body: list[onnx.NodeProto] = []
    read = "x"
    for layer, of in enumerate(matrices):
        if layer:
            body.append(helper.make_node("Concat", [read, "ones"], [f"x_{layer}"], axis=1))
            read = f"x_{layer}"
        read = _step(body, cell, (f"s{layer}", read), f"s{layer + len(matrices)}", of, f"_{layer}")
    states = [f"s{i}" for i in range(len(after))]
    x, *before = reads
    taken, given, told = [x], list(after), [f"{state}_next" for state in states]
    inputs = [*(_told(state, hidden) for state in states), _told("x", "feature")]
    if along:
        # Not Where, which goes over its numbers three times.
        body += [helper.make_node("Mul", [f"{state}_next", "k"], [f"{state}_kept"]) for state in states]
        taken, given, told = [x, "kept"], [*after, along], [*(f"{state}_kept" for state in states), read]
        inputs.append(_told("k", 1))
    graph = helper.make_graph(body, "step", inputs, [_told(name, hidden) for name in told])
    return helper.make_node("Scan", [*before, *taken], given, body=graph, num_scan_inputs=len(taken))


def _told(name: str, width: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])


def _step(
    body: list[onnx.NodeProto], kind: str, inputs: tuple[str, str], c: str, of: dict[str, str], tag: str
) -> str:
    """One step of one layer: what it gives to the next one.

    `inputs` are its state, and what it reads with a 1 behind it; `c` is the other state of an LSTM. A gate is a
    product of both inputs with one matrix, and a squash, of which onnxruntime makes one kernel; so does it of a
    product, what is added to it, and a squash.
    """
    h, x = inputs

    def node(operator: str, *inputs: str, name: str, **attributes: Any) -> str:
        body.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    all_of_it = node("Concat", *inputs, name=f"all{tag}", axis=1)

    def gate(letter: str, squash: str) -> str:
        product = node("Gemm", all_of_it, of[f"k{letter}"], name=f"product_{letter}{tag}", transB=1)
        return node(squash, product, name=f"{letter}{tag}")

    after = f"{h}_next"
    match kind:
        case "rnn":
            node("Identity", gate("h", "Tanh"), name=after)
        case "gru":
            update, reset = gate("z", "Sigmoid"), gate("r", "Sigmoid")
            held = node("Gemm", h, of["rh"], of["brh"], name=f"held{tag}", transB=1)
            held = node("Mul", reset, held, name=f"reset{tag}")
            new = node("Tanh", node("Gemm", x, of["wh"], held, name=f"sum{tag}", transB=1), name=f"new{tag}")
            away = node("Sub", h, new, name=f"away{tag}")
            node("Add", new, node("Mul", update, away, name=f"back{tag}"), name=after)
        case "lstm":
            new = node("Mul", gate("i", "Sigmoid"), gate("c", "Tanh"), name=f"new{tag}")
            old = node("Mul", gate("f", "Sigmoid"), c, name=f"old{tag}")
            cell = node("Tanh", node("Add", old, new, name=f"{c}_next"), name=f"tanh{tag}")
            node("Mul", gate("o", "Sigmoid"), cell, name=after)
    return after


def branch(name: str, nodes: list[onnx.NodeProto], outputs: list[str]) -> onnx.GraphProto:
    """One of the two ways of an If."""
    told = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs]
    return helper.make_graph(nodes, name, [], told)
