"""Recurrent operators as Scans; `tests/vjp/rules/test_recurrent.py` holds what these compute."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from igrt import augment
from igrt.graph.prune import prune
from igrt.graph.view import all_graphs
from igrt.stage.lower import lower

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FEATURES, HIDDEN, STEPS = 3, 16, 5
FEW, MANY = 2, 40  # rows on either side of the limit, 96 numbers per gate in all


def model(op, direction="forward", rows="rows", steps=STEPS, **attributes):
    """Two layers, the second of which reads the hidden states of the first."""
    rng = np.random.default_rng(3)
    count, high = 2 if direction == "bidirectional" else 1, GATES[op] * HIDDEN
    shapes = {
        "W1": (count, high, FEATURES),
        "W2": (count, high, count * HIDDEN),
        "R1": (count, high, HIDDEN),
        "R2": (count, high, HIDDEN),
        "B": (count, 2 * high),
    }
    stored = [
        onnx.numpy_helper.from_array(rng.normal(0, 0.5, s).astype(np.float32), n)
        for n, s in shapes.items()
    ]
    stored.append(onnx.numpy_helper.from_array(np.int64([0, 0, -1]), "flat"))
    given = dict(hidden_size=HIDDEN, direction=direction, **attributes)
    nodes = [
        helper.make_node(op, ["x", "W1", "R1", "B"], ["y1"], **given),
        helper.make_node("Transpose", ["y1"], ["turned"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["turned", "flat"], ["x2"]),
        helper.make_node(op, ["x2", "W2", "R2", "B"], ["", "y"], **given),
    ]
    x = helper.make_tensor_value_info("x", 1, [steps, rows, FEATURES])
    y = helper.make_tensor_value_info("y", 1, [count, rows, HIDDEN])
    graph = helper.make_graph(nodes, "g", [x], [y], stored)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)])
    made.ir_version = 10
    return made


def gradient(forward):
    """The gradient graph as the rules make it, and as the runtime runs it."""
    plain = prune(augment(forward), ["igrt/grad/x"])
    lowered = lower(plain)
    onnx.checker.check_model(lowered)
    return plain, lowered


def run(graph, rows, ct):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    x = np.random.default_rng(5).standard_normal((STEPS, rows, FEATURES)).astype(np.float32)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options)
    return session.run(None, {"x": x, "igrt/cotangent/y": ct})[0]


def operators(graph):
    return Counter(n.op_type for n in graph.graph.node)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", GATES)
def test_the_number_of_rows_decides_at_run_time(op, direction):
    plain, lowered = gradient(model(op, direction))
    count = 2 if direction == "bidirectional" else 1
    assert operators(lowered)[op] == 0
    assert operators(lowered)["If"] == 2
    inside = Counter(n.op_type for g in all_graphs(lowered.graph) for n in g.node)
    assert inside[op] == 2
    for rows in (FEW, MANY):
        ct = np.random.default_rng(7).standard_normal((count, rows, HIDDEN)).astype(np.float32)
        expected = run(plain, rows, ct)
        # float32 rounding, and onnxruntime's own approximation of sigmoid and tanh in its
        # operators (1e-7), over the steps of two layers
        apart = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(run(lowered, rows, ct), expected, rtol=0, atol=apart)


@pytest.mark.parametrize("op", GATES)
def test_a_known_number_of_rows_decides_at_once(op):
    _, few = gradient(model(op, rows=FEW))
    assert operators(few)[op] == 2
    _, many = gradient(model(op, rows=MANY))
    assert operators(many)[op] == operators(many)["If"] == 0
    # forwards and backwards, for two layers
    assert operators(many)["Scan"] == 4


def test_a_step_of_an_lstm_has_one_product():
    _, many = gradient(model("LSTM", rows=MANY))
    for body in list(all_graphs(many.graph))[1:]:
        found = Counter(n.op_type for n in body.node)
        assert found["Gemm"] == 1
        assert found["MatMul"] == 0


def test_nothing_is_kept_where_nothing_is_computed_twice():
    _, one = gradient(model("LSTM", rows=MANY, steps=1))
    assert operators(one)["LSTM"] == 1
    assert operators(one)["Scan"] == 0
    # the slope of a linear cell is the same in every step
    linear = model("RNN", rows=MANY, activations=["Affine"], activation_alpha=[0.5])
    plain, lowered = gradient(linear)
    assert operators(lowered)["Scan"] == operators(plain)["Scan"] == 2
