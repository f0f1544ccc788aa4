"""Whole numbers that a model computes from stored ones: the same, and known beforehand."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from igrt.graph import Graph
from igrt.graph.normalize import compute_sizes, normalize


def parsed(body):
    return parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]> net (float[N, 6] x) => (int64[M] y) {' + body + "}"
    )


UNFLATTEN = """
<ir_version: 8, opset_import: ["": 18]>
net (float[N, 6] x) => (float[A, B, C] z)
<int64 minus_one = {-1}, int64[1] zero = {0}, int64[2] parts = {3, 2}, int64[1] end = {2}> {
    rank = Constant <value = int64 {2}> ()
    axis = Mod (minus_one, rank)
    flat = Constant <value = int64[1] {-1}> ()
    axis_1d = Reshape (axis, flat)
    shape = Shape (x)
    before = Slice (shape, zero, axis_1d)
    one = Constant <value = int64 {1}> ()
    next = Add (axis, one)
    next_1d = Reshape (next, flat)
    after = Slice (shape, next_1d, end)
    sizes = Concat <axis = 0> (before, parts, after)
    y = Reshape (x, sizes)
    z = Tanh (y)
}
"""


def test_the_axes_of_torch_unflatten_are_known():
    """As TorchScript writes it in every attention layer; Mod used to hide the rank."""
    model = parser.parse_model(UNFLATTEN)
    assert Graph(normalize(model)).spec("y").shape == ("N", 3, 2)


@pytest.mark.parametrize(
    "expression, operands",
    [
        ("Mod (a, b)", ([7, -7, 7, -7], [3, 3, -3, -3])),
        ("Mod <fmod = 1> (a, b)", ([7, -7, 7, -7], [3, 3, -3, -3])),
        ("Div (a, b)", ([7, -7, 7, -7], [3, 3, -3, -3])),
        ("Reshape (a, b)", ([1, 2, 3], [0])),
        ("Reshape (a, b)", ([1, 2, 3], [-1])),
        ("Max (a, b)", ([1, 5], [3, 2])),
        ("Concat <axis = 0> (a, b)", ([1, 5], [3])),
    ],
)
def test_computed_as_onnxruntime_does(expression, operands):
    a, b = ("{" + ", ".join(map(str, o)) + "}" for o in operands)
    sizes = [len(o) for o in operands]
    model = parsed(
        f"a = Constant <value = int64[{sizes[0]}] {a}> () "
        f"b = Constant <value = int64[{sizes[1]}] {b}> () y = {expression}"
    )
    x = {"x": np.zeros((1, 6), np.float32)}
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, x)
    computed = compute_sizes(model)
    assert [n.op_type for n in computed.graph.node] == ["Constant"] * 3
    (found,) = onnxruntime.InferenceSession(computed.SerializeToString()).run(None, x)
    assert found.tolist() == expected.tolist()
    assert found.dtype == expected.dtype


@pytest.mark.parametrize(
    "body",
    [
        "a = Constant <value = int64[1] {1}> () "
        "b = Constant <value = int64[1] {0}> () y = Div (a, b)",
        "a = Shape (x) b = Constant <value = int64[2] {1, 2}> () y = Mul (a, b)",
    ],
)
def test_what_is_not_known_is_left(body):
    last = compute_sizes(parsed(body)).graph.node[-1]
    assert last.op_type in ("Div", "Mul")


def test_an_initializer_that_may_be_fed_is_no_constant():
    model = parsed("b = Constant <value = int64[1] {2}> () y = Mul (a, b)")
    model.graph.initializer.append(numpy_helper.from_array(np.array([3]), "a"))
    model.graph.input.append(helper.make_tensor_value_info("a", TensorProto.INT64, [1]))
    assert compute_sizes(model).graph.node[-1].op_type == "Mul"
