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
    nothing: str = "",
) -> onnx.NodeProto:
    """All layers, step by step, from what they read (step, batch, feature) and the states before: `reads`.

    Gives the states `after` the last step. All are names: `matrices` each layer's by gate, and in the graph around
    there is a column of `ones` (batch, 1). `along` is one for the last layer's state after each step (step, batch,
    hidden); a row's states then become `nothing` after the steps where `keep` (step, batch, 1) is false.
    """
    body: list[onnx.NodeProto] = []
    read = "x"
    for layer, of in enumerate(matrices):
        read = _step(body, cell, (f"s{layer}", read, "ones"), f"s{layer + len(matrices)}", of, f"_{layer}")
    states = [f"s{i}" for i in range(len(after))]
    x, *before = reads
    taken, given, told = [x], list(after), [f"{state}_next" for state in states]
    inputs = [*(_told(state, hidden) for state in states), _told("x", "feature")]
    if along:
        body += [helper.make_node("Where", ["kept", f"{s}_next", nothing], [f"{s}_kept"]) for s in states]
        taken, given, told = [x, "keep"], [*after, along], [*(f"{state}_kept" for state in states), read]
        inputs.append(helper.make_tensor_value_info("kept", TensorProto.BOOL, ["batch", 1]))
    graph = helper.make_graph(body, "step", inputs, [_told(name, hidden) for name in told])
    return helper.make_node("Scan", [*before, *taken], given, body=graph, num_scan_inputs=len(taken))


def _told(name: str, width: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])


def _step(
    body: list[onnx.NodeProto], kind: str, inputs: tuple[str, str, str], c: str, of: dict[str, str], tag: str
) -> str:
    """One step of one layer: what it gives to the next one.

    `inputs` are its state, what it reads, and a column of ones; `c` is the other state of an LSTM. A gate is a
    product of all three inputs with one matrix, and a squash, of which onnxruntime makes one kernel.
    """
    h, x, _ = inputs

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
            read = node("Gemm", x, of["wh"], of["bwh"], name=f"read_h{tag}", transB=1)
            kept = node("Gemm", h, of["rh"], of["brh"], name=f"kept{tag}", transB=1)
            kept = node("Mul", reset, kept, name=f"reset{tag}")
            new = node("Tanh", node("Add", kept, read, name=f"sum{tag}"), name=f"new{tag}")
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
