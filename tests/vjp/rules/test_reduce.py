"""Reductions: axes constant, at run time, absent and empty; keepdims; ties, zeros and masks."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from igrt.vjp.augment import augment

OPERATORS = [
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
]


def _data(rng, op_type, shape=(2, 3, 4)):
    signs = 1 if op_type == "ReduceLogSum" else rng.choice([-1, 1], shape)
    # distinct magnitudes, so that the largest and smallest stay so in finite differences
    return rng.permutation(np.linspace(0.5, 2.5, int(np.prod(shape)))).reshape(shape) * signs


@pytest.mark.parametrize("op_type", OPERATORS)
@pytest.mark.parametrize("axes", [[1], [-1], [0, -1], [2, 0], [0, 1, 2]])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_constant_axes(check_vjp, rng, op_type, axes, keepdims):
    check_vjp(op_type, _data(rng, op_type), np.array(axes), keepdims=keepdims)


@pytest.mark.parametrize("op_type", OPERATORS)
@pytest.mark.parametrize("axes", [[1], [0, -1]])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_axes_at_run_time(check_vjp, rng, op_type, axes, keepdims):
    check_vjp(op_type, _data(rng, op_type), np.array(axes), fed=[1], keepdims=keepdims)


@pytest.mark.parametrize("op_type", OPERATORS)
@pytest.mark.parametrize("axes", ["absent", "empty", "fed"])
@pytest.mark.parametrize("noop", [0, 1])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_no_axes(check_vjp, rng, op_type, axes, noop, keepdims):
    x = _data(rng, op_type, (2, 3))
    given = [] if axes == "absent" else [np.array([], dtype=np.int64)]
    signs = np.sign(x)
    oracle = None
    if noop:
        # nothing is reduced, the rest of the formula is applied; the reference returns x for some
        plain = {
            "ReduceL1": lambda v: v * signs,
            "ReduceL2": lambda v: v * signs,
            "ReduceLogSum": np.log,
            "ReduceSumSquare": np.square,
        }.get(op_type, lambda v: v)

        def oracle(v, *_):
            return [plain(v)]

    check_vjp(
        op_type,
        x,
        *given,
        oracle=oracle,
        fed=[1] if axes == "fed" else [],
        keepdims=keepdims,
        noop_with_empty_axes=noop,
        symbolic=("static", "all"),
    )


@pytest.mark.parametrize("op_type", OPERATORS)
@pytest.mark.parametrize("opset", [7, 11, 13])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_axes_as_attribute(check_vjp, rng, op_type, opset, keepdims):
    x = _data(rng, op_type)
    if opset == 13 and op_type == "ReduceSum":
        check_vjp(op_type, x, np.array([0, 2]), keepdims=keepdims, opset=opset)
    else:
        check_vjp(op_type, x, axes=[0, 2], keepdims=keepdims, opset=opset)


@pytest.mark.parametrize("op_type", OPERATORS)
def test_no_axes_as_attribute(check_vjp, rng, op_type):
    check_vjp(op_type, _data(rng, op_type), opset=11)


@pytest.mark.parametrize("op_type", ["ReduceMax", "ReduceMin"])
def test_newer_opset(check_vjp, rng, op_type):
    check_vjp(op_type, _data(rng, op_type), np.array([1]), opset=20)


def gradient(op_type, x, axes, ct, elem=TensorProto.FLOAT, **attributes):
    """The gradient as onnxruntime computes it."""
    dtype = helper.tensor_dtype_to_np_dtype(elem)
    x, ct = np.asarray(x, dtype), np.asarray(ct, dtype)
    data = helper.make_tensor_value_info("x", elem, ["n", *x.shape[1:]])
    y = helper.make_tensor_value_info("y", elem, None)
    node = helper.make_node(op_type, ["x", "axes"], ["y"], **attributes)
    stored = [numpy_helper.from_array(np.array(axes, dtype=np.int64), "axes")]
    model = helper.make_model(
        helper.make_graph([node], "g", [data], [y], stored),
        opset_imports=[helper.make_opsetid("", 18)],
    )
    model.ir_version = 10
    session = onnxruntime.InferenceSession(augment(model).SerializeToString())
    return session.run(["igrt/grad/x"], {"x": x, "igrt/cotangent/y": ct})[0]


@pytest.mark.parametrize("op_type", ["ReduceMax", "ReduceMin"])
def test_ties_are_shared(op_type):
    sign = 1 if op_type == "ReduceMax" else -1
    x = sign * np.array([[1, 3, 3], [2, 2, 2], [5, 4, 4]])
    found = gradient(op_type, x, [1], [[6], [6], [6]])
    assert found.tolist() == [[0, 3, 3], [2, 2, 2], [6, 0, 0]]


def test_product_with_zeros():
    x = [[2, 3, 5], [0, 3, 5], [0, 3, 0], [0, 0, 0], [-2, 0, 4]]
    found = gradient("ReduceProd", x, [1], [1, 1, 1, 1, 1], keepdims=0)
    assert found.tolist() == [[15, 10, 6], [15, 0, 0], [0, 0, 0], [0, 0, 0], [0, -8, 0]]


def test_norms_of_zero():
    x = [[0, 0], [3, 4], [0, -2]]
    assert gradient("ReduceL2", x, [1], [[5], [5], [5]]).tolist() == [[0, 0], [3, 4], [0, -5]]
    assert gradient("ReduceL1", x, [1], [[5], [5], [5]]).tolist() == [[0, 0], [5, 5], [0, -5]]


def test_log_sum_exp_of_large_and_masked_rows():
    x = [[-np.inf, -np.inf], [0, -np.inf], [500, 500], [-500, -500]]
    found = gradient("ReduceLogSumExp", x, [1], [[1], [1], [1], [1]])
    assert found[:2].tolist() == [[0, 0], [1, 0]]
    # y ≈ 500.7 is rounded to 3e-5 in float32, and so is x - y
    np.testing.assert_allclose(found[2:], 0.5, rtol=3e-5)


def test_mean_of_many_in_float16():
    # 2¹⁷ elements: their number is infinite in float16, its inverse is not
    x = np.ones((1, 1 << 17))
    for axes in ([1], [0, 1]):
        found = gradient("ReduceMean", x, axes, [[1024]], TensorProto.FLOAT16)
        assert found[0, 0] == found[0, -1] == 2.0**-7


@pytest.mark.parametrize("op_type", ["ReduceMean", "ReduceSum", "ReduceSumSquare"])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_empty_batch(op_type, keepdims):
    ct = np.ones((0, 1) if keepdims else (0,))
    assert gradient(op_type, np.ones((0, 3)), [1], ct, keepdims=keepdims).shape == (0, 3)
