"""Softmax and LogSoftmax: axes, both meanings of the axis, rows that are masked entirely."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from igrt.vjp.augment import augment


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1, -2])
@pytest.mark.parametrize("opset", [13, 26])
def test_along_one_axis(check_vjp, rng, op_type, axis, opset):
    attributes = {} if axis is None else {"axis": axis}
    check_vjp(op_type, rng.standard_normal((2, 3, 4)), opset=opset, **attributes)


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1])
@pytest.mark.parametrize("opset", [7, 11, 12])
def test_over_all_axes_from_one_on(check_vjp, rng, op_type, axis, opset):
    if opset == 7 and axis == -1:
        pytest.skip("negative axes came with opset 11")
    attributes = {} if axis is None else {"axis": axis}

    # the reference has the newer meaning only
    def oracle(x):
        rows = x.reshape(int(np.prod(x.shape[: 1 if axis is None else axis])), -1)
        shifted = rows - rows.max(axis=1, keepdims=True)
        logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return [(np.exp(logs) if op_type == "Softmax" else logs).reshape(x.shape)]

    x = rng.standard_normal((2, 3, 4))
    check_vjp(op_type, x, opset=opset, oracle=oracle, **attributes)


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("shape", [(1,), (0, 3), (5,)])
def test_small_shapes(check_vjp, rng, op_type, shape):
    check_vjp(op_type, rng.standard_normal(shape))


@pytest.mark.parametrize("elem", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16])
@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
def test_masked_rows(op_type, elem):
    dtype = helper.tensor_dtype_to_np_dtype(elem)
    x = helper.make_tensor_value_info("x", elem, ["n", 3])
    y = helper.make_tensor_value_info("y", elem, ["n", 3])
    graph = helper.make_graph([helper.make_node(op_type, ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    session = onnxruntime.InferenceSession(augment(model).SerializeToString())
    logits = np.array([[-np.inf] * 3, [0, 0, -np.inf], [0, 1, 2]], dtype)
    ct = np.array([[1, 2, 3], [1, 3, 0], [1, 1, 1]], dtype)
    found = session.run(["igrt/grad/x"], {"x": logits, "igrt/cotangent/y": ct})[0]
    # all masked: 0; one masked: p·(ȳ - Σ p·ȳ) = ½·(ȳ - 2), and ȳ - p·Σ ȳ = ȳ - 2
    half = [-0.5, 0.5, 0] if op_type == "Softmax" else [-1, 1, 0]
    np.testing.assert_array_equal(found[:2], [[0, 0, 0], half])
    if op_type == "Softmax":
        # Σ p is 1 to about the last digit of the type
        np.testing.assert_allclose(found[2], 0, atol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
def test_large_logits(check_vjp, op_type):
    check_vjp(op_type, np.array([[500.0, 501.0, 499.0], [-700.0, -701.0, -699.5]]))
