"""A hostile model file is refused before anything runs it: onnxruntime must never see its bytes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from monitor import inference, modelfile
from monitor.core.errors import ModelError
from monitor.inference import find_models, load_model
from monitor.modelfile import check_file

SHIPPED = find_models(None)
GOOD = SHIPPED["sine-spikes"].read_bytes()


def external(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def external_without_saying_so(model):
    model.graph.initializer[0].external_data.add(key="location", value="/etc/shadow")


def custom_operator(model):
    model.graph.node.append(helper.make_node("Exec", ["window"], ["out"], domain="evil.example"))
    model.opset_import.append(helper.make_opsetid("evil.example", 1))


def custom_domain(model):
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def loop(model):
    body = helper.make_graph([], "forever", [], [])
    model.graph.node.append(helper.make_node("Loop", ["window"], ["out"], body=body))


def hidden_in_a_branch(model):
    branch = helper.make_graph([helper.make_node("RandomUniform", [], ["r"], shape=[1])], "branch", [], [])
    model.graph.node.append(helper.make_node("If", ["window"], ["out"], then_branch=branch, else_branch=branch))


def function(model):
    ids = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("local", "f", ["x"], ["y"], [], ids))


def giant_claim(model):
    model.graph.initializer[0].dims[:] = [2**40]


def giant_product(model):
    model.graph.initializer[0].dims[:] = [2**20, 2**20]


def negative(model):
    model.graph.initializer[0].dims[:] = [-1, 4]


def cut_short(model):
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]


def text_tensor(model):
    model.graph.initializer.append(numpy_helper.from_array(np.array(["a"], object), "words"))


def sparse(model):
    model.graph.sparse_initializer.append(onnx.SparseTensorProto(dims=[2**40]))


def deep(model):
    graph = helper.make_graph([], "innermost", [], [])
    for _ in range(10):
        graph = helper.make_graph([helper.make_node("If", ["c"], ["o"], then_branch=graph)], "g", [], [])
    model.graph.node.append(graph.node[0])


def many_nodes(model):
    model.graph.node.extend([helper.make_node("Identity", ["window"], ["w"])] * 10_001)


HOSTILE = {
    external: "points to another file",
    external_without_saying_so: "points to another file",
    custom_operator: "custom operators|evil.example",
    custom_domain: "com.microsoft",
    loop: "'Loop' is none of those",
    hidden_in_a_branch: "'RandomUniform' is none of those",
    function: "functions of its own",
    giant_claim: "claims shape",
    giant_product: "claims shape",
    negative: "claims shape",
    cut_short: "cut short",
    text_tensor: "expected float, int or bool",
    sparse: "sparse",
    deep: "deep",
    many_nodes: "at most 10000 nodes",
}


@pytest.mark.parametrize("attack", HOSTILE, ids=lambda attack: attack.__name__)
def test_a_hostile_file_is_refused_before_it_runs(attack, tmp_path, monkeypatch):
    model = onnx.load(SHIPPED["sine-spikes"])
    attack(model)
    path = tmp_path / "hostile.onnx"
    path.write_bytes(model.SerializeToString())
    monkeypatch.setattr(inference, "open_session", lambda _: pytest.fail("onnxruntime was given the file"))
    with pytest.raises(ModelError, match=HOSTILE[attack]) as caught:
        load_model(path)
    assert "hostile.onnx" in str(caught.value)


def test_what_only_running_would_tell_is_held_by_a_limit_on_memory(tmp_path, monkeypatch):
    """Two modest constants whose sum is a shape of 8 GB, hidden from any look at the tensors."""
    monkeypatch.setattr(modelfile, "HEADROOM_BYTES", 256 * 1024**2)
    model = onnx.load(SHIPPED["sine-spikes"])
    half = numpy_helper.from_array(np.array([10**9], np.int64), "half")
    model.graph.initializer.append(half)
    model.graph.node.append(helper.make_node("Add", ["half", "half"], ["giant"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1.0], np.float32), "seed"))
    model.graph.node.append(helper.make_node("Expand", ["seed", "giant"], ["bomb"]))
    model.graph.output.append(helper.make_tensor_value_info("bomb", TensorProto.FLOAT, ["n"]))
    path = tmp_path / "bomb.onnx"
    path.write_bytes(model.SerializeToString())
    # onnxruntime computes it while it loads, or when it is asked for; both happen within the limit.
    with modelfile.bounded_memory(), pytest.raises(Exception, match=r"alloc|memory|Expand"):  # noqa: PT012
        session = inference.open_session(path.read_bytes())
        session.run(["bomb"], {"window": np.zeros((1, 50, 1), np.float32)})
    load_model(SHIPPED["sine-spikes"])  # and the process goes on


def test_the_shipped_models_are_plain():
    for path in SHIPPED.values():
        check_file(path.read_bytes(), path.name)


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_file_is_refused_or_still_plain(data):
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = (
        bytes(content[: data.draw(st.integers(0, len(content)))]) if data.draw(st.booleans()) else bytes(content)
    )
    try:
        check_file(content, "damaged")
    except ModelError as error:
        assert "damaged" in str(error)  # noqa: PT017


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_plain(content):
    try:
        check_file(content, "x")
    except ModelError:
        return
    pytest.fail("no graph was asked for")


def test_a_damaged_file_is_loaded_or_refused_with_a_reason(tmp_path):
    """One byte after the other, over the card and a part of the weights: nothing else than ModelError may come."""
    file, refused = tmp_path / "damaged.onnx", 0
    for at in (*range(len(GOOD) - 60, len(GOOD)), *range(0, len(GOOD), 997)):
        content = bytearray(GOOD)
        content[at] ^= 0xFF
        file.write_bytes(content)
        try:
            load_model(file)
        except ModelError:
            refused += 1
    assert refused > 40
