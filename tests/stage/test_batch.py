"""Reading and freeing the batch axis."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import parser

from igrt.graph import Graph
from igrt.rows import batching
from igrt.specs import TensorSpec
from igrt.stage import free_batch


def spec(name, *shape, dtype="float32"):
    return TensorSpec(name, dtype, shape)


@pytest.mark.parametrize(
    ("inputs", "batched", "fixed"),
    [
        ([spec("x", "N", 3)], {"x"}, False),
        ([spec("x", None, 3)], {"x"}, False),
        ([spec("x", 1, 3)], {"x"}, True),
        ([spec("x", 8, 3)], set(), False),
        ([spec("x", 1024)], set(), False),
        ([spec("x", 1)], set(), False),
        ([spec("x")], set(), False),
        ([spec("x", "N", 3), spec("scale")], set(), False),
        ([spec("x", 1, 3), spec("y", "N", 2)], {"x", "y"}, True),
    ],
)
def test_the_batch_axis_is_read_off_the_shapes(inputs, batched, fixed):
    found = batching(tuple(inputs), frozenset(i.name for i in inputs))
    assert found.inputs == batched
    assert found.fixed == fixed


def test_an_unattributed_input_may_lack_a_batch_axis():
    inputs = (spec("x", "N", 3), spec("rate", dtype="int64"))
    assert batching(inputs, frozenset({"x"})).inputs == {"x"}


def test_a_freed_model_gives_each_row_what_it_gets_alone():
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["": 18]>
        g (float[1, 2, 3] x) => (float[1, 6] y) <int64[2] s = {1, -1}> {
          e = Exp(x)  y = Reshape(e, s) }"""
    )
    freed = free_batch(model, frozenset({"x"}))
    onnx.checker.check_model(freed, full_check=True)
    assert isinstance(Graph(freed).inputs[0].shape[0], str)
    assert Graph(model).inputs[0].shape[0] == 1
    x = np.arange(12, dtype=np.float32).reshape(2, 2, 3) / 12
    session = onnxruntime.InferenceSession(freed.SerializeToString())
    # two implementations of the exponential in float32: one bit apart
    np.testing.assert_allclose(session.run(None, {"x": x})[0], np.exp(x).reshape(2, 6), rtol=3e-7)
