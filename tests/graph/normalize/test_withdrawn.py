"""Operators that ONNX took back, against onnxruntime, which runs them still."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from igrt.graph.normalize import normalize
from igrt.vjp.augment import augment

CASES = {
    "crop": ("Crop", {"border": [1, 2, 0, 1]}, 1),
    "crop to a size": ("Crop", {"border": [1, 2, 0, 1], "scale": [2, 3]}, 7),
    "threshold": ("ThresholdedRelu", {"alpha": 0.25}, 7),
    "threshold of one": ("ThresholdedRelu", {}, 1),
}


@pytest.mark.parametrize("name", CASES)
def test_forward_and_gradient(name):
    op_type, given, opset = CASES[name]
    node = helper.make_node(op_type, ["x"], ["y"], "node", **given)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 6, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=4)
    x = (3 * np.random.default_rng(0).standard_normal((1, 2, 6, 5))).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    original = onnxruntime.InferenceSession(model.SerializeToString(), options)
    (expected,) = original.run(None, {"x": x})
    lowered = onnxruntime.InferenceSession(normalize(model).SerializeToString())
    np.testing.assert_array_equal(lowered.run(None, {"x": x})[0], expected)
    ct = np.random.default_rng(1).standard_normal(expected.shape).astype(np.float32)
    session = onnxruntime.InferenceSession(augment(model).SerializeToString())
    (got,) = session.run(["igrt/grad/x"], {"x": x, "igrt/cotangent/y": ct})
    # both are linear between their kinks: <ct, y(x)> = <gradient, x> without an offset
    np.testing.assert_allclose(
        (got.astype(np.float64) * x).sum(), (ct.astype(np.float64) * expected).sum(), rtol=1e-6
    )
    assert np.count_nonzero(got) == np.count_nonzero(expected)
