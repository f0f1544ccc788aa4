"""Poolings of which inference counts a window too many, judged by onnxruntime."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from igrt.graph import Graph
from igrt.graph.normalize import normalize
from igrt.vjp.augment import augment

LAST_IN_PADDING = [
    {"kernel_shape": [1, 1], "strides": [2, 2]},
    {"kernel_shape": [2, 2], "strides": [3, 3]},
    {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]},
]
ELSEWHERE = [
    {"kernel_shape": [3, 3], "strides": [2, 2]},
    {"kernel_shape": [2, 2], "strides": [1, 1], "pads": [1, 1, 1, 1]},
]


def pooled(op_type, shape, means, **given):
    nodes = [helper.make_node(op_type, ["x"], ["p"], ceil_mode=1, **given)]
    nodes.append(helper.make_node("Sin", ["p"], ["q" if means else "y"]))
    nodes += [helper.make_node("GlobalAveragePool", ["q"], ["y"])] if means else []
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)
    graph = helper.make_graph(nodes, "g", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)


def session(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


@pytest.mark.parametrize("given", [*LAST_IN_PADDING, *ELSEWHERE])
@pytest.mark.parametrize("op_type", ["AveragePool", "MaxPool"])
@pytest.mark.parametrize("sizes", [(5, 6), (6, 6), (7, 5)])
def test_sizes_and_numbers_are_those_of_the_runtime(op_type, sizes, given):
    model = pooled(op_type, [1, 1, *sizes], False, **given)
    x = np.random.default_rng(0).standard_normal((1, 1, *sizes)).astype(np.float32)
    before, normal = session(model).run(None, {"x": x})[0], normalize(model)
    np.testing.assert_array_equal(session(normal).run(None, {"x": x})[0], before)
    assert Graph(normal).spec("y").shape == before.shape


@pytest.mark.parametrize("given", LAST_IN_PADDING)
@pytest.mark.parametrize("op_type", ["AveragePool", "MaxPool"])
def test_a_mean_behind_them_divides_by_their_number(op_type, given):
    model = pooled(op_type, [1, 1, 6, 6], True, **given)
    rng = np.random.default_rng(0)
    x = (rng.permutation(36) * 0.1).reshape(1, 1, 6, 6).astype(np.float32)
    ones = np.ones((1, 1, 1, 1), np.float32)
    feeds = {"x": x, "igrt/cotangent/y": ones}
    gradient = session(augment(model)).run(["igrt/grad/x"], feeds)[0]
    along, step = rng.standard_normal(x.shape).astype(np.float32), np.float32(1e-2)
    forward = session(model)
    up, down = (forward.run(None, {"x": x + s * along})[0] for s in (step, -step))
    # float32 differences of a sine at a step of 1e-2: 1e-7 / 1e-2 by rounding, 1e-4 by curvature
    np.testing.assert_allclose((gradient * along).sum(), (up - down).sum() / (2 * step), atol=2e-3)


def test_open_sizes_are_left_alone():
    model = pooled("MaxPool", [1, 1, "h", 6], False, kernel_shape=[1, 1], strides=[2, 2])
    pool = normalize(model).graph.node[0]
    assert any(a.name == "ceil_mode" for a in pool.attribute)
