"""The pooling operators against finite differences, and the ties of MaxPool."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from igrt.errors import UnsupportedOperator
from igrt.vjp.augment import augment

WINDOWS = [
    ((7,), {"kernel_shape": [3]}),
    ((7,), {"kernel_shape": [2], "strides": [3]}),
    ((6, 7), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ((6, 6), {"kernel_shape": [2, 3], "strides": [2, 3]}),
    ((7, 8), {"kernel_shape": [3, 3], "strides": [2, 2]}),
    ((7, 8), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((5, 6), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ((6, 7), {"kernel_shape": [3, 2], "strides": [3, 1], "pads": [0, 1, 2, 0]}),
    ((4, 4), {"kernel_shape": [1, 1], "strides": [2, 2]}),
    ((4, 5), {"kernel_shape": [1, 3]}),
    ((4, 3, 5), {"kernel_shape": [2, 2, 3], "strides": [2, 1, 2], "pads": [1, 0, 0, 0, 1, 1]}),
]
CEILED = [
    ((7,), {"kernel_shape": [3], "strides": [2]}),
    ((6, 8), {"kernel_shape": [3, 3], "strides": [2, 2]}),
    ((6, 7), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ((6, 6), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 1, 0]}),
]
DILATED = [
    ((7,), {"kernel_shape": [3], "dilations": [2]}),
    ((7, 8), {"kernel_shape": [2, 3], "dilations": [3, 2]}),
    ((9, 8), {"kernel_shape": [3, 2], "dilations": [2, 3], "strides": [2, 2]}),
    (
        (7, 7),
        {"kernel_shape": [3, 2], "dilations": [1, 2], "strides": [2, 1], "pads": [1, 1, 0, 1]},
    ),
]
PADDED = [
    ((6, 7), {"kernel_shape": [3, 2], "strides": strides, "auto_pad": mode})
    for strides in ([1, 1], [2, 2])
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")
]
# onnx.reference pools to another shape here
UNEVEN = [((5, 6), {"kernel_shape": [3, 2], "pads": [2, 0, 1, 1]})]

# with and without a window that overhangs, at whose place there is a share of nothing
OVERHANGING = [
    ((12, 11), {"kernel_shape": [3, 3], "strides": strides, "pads": pads})
    for strides in ([1, 1], [2, 2], [3, 1])
    for pads in ([1, 1, 1, 1], [0, 0, 0, 0], [2, 0, 1, 2])
]


def distinct(rng, shape):
    """Elements further apart than the steps of the finite differences."""
    return rng.permutation(int(np.prod(shape))).reshape(shape) * 0.1 - 2.0


@pytest.mark.parametrize(("sizes", "attributes"), [*WINDOWS, *DILATED])
def test_max_pool(check_vjp, rng, sizes, attributes):
    check_vjp("MaxPool", distinct(rng, (2, 2, *sizes)), **attributes)


def gradient_by_indices(rng, x, attributes):
    """What onnxruntime's own Indices say: every cotangent goes to the element of its index."""
    node = helper.make_node("MaxPool", ["x"], ["y", "i"], **attributes)
    kinds = TensorProto.FLOAT, TensorProto.INT64
    outputs = [helper.make_tensor_value_info(n, t, None) for n, t in zip("yi", kinds, strict=True)]
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)], outputs
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    indices = onnxruntime.InferenceSession(model.SerializeToString()).run(["i"], {"x": x})[0]
    ct = rng.integers(1, 9, indices.shape).astype(np.float32)
    gradient = np.zeros(x.size)
    np.add.at(gradient, indices.ravel(), ct.ravel())
    return ct, gradient.reshape(x.shape)


def max_pool_gradient(x, ct, shape, attributes):
    """What the rule makes of a cotangent in onnxruntime."""
    graph = helper.make_graph(
        [helper.make_node("MaxPool", ["x"], ["y"], name="node", **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * x.ndim)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    session = onnxruntime.InferenceSession(augment(model).SerializeToString())
    return session.run(["igrt/grad/x"], {"x": x, "igrt/cotangent/y": ct})[0]


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(
    ("sizes", "attributes"),
    [
        *WINDOWS,
        *DILATED,
        *PADDED,
        *UNEVEN,
        *OVERHANGING,
        *((sizes, given | {"ceil_mode": 1}) for sizes, given in CEILED),
        ((6, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "storage_order": 0}),
    ],
)
def test_max_pool_gives_ties_to_the_first(rng, sizes, attributes, dynamic):
    x = rng.integers(-1, 2, (2, 3, *sizes)).astype(np.float32)  # many ties
    ct, expected = gradient_by_indices(rng, x, attributes)
    shape = [None] * x.ndim if dynamic else x.shape
    np.testing.assert_array_equal(max_pool_gradient(x, ct, shape, attributes), expected)


@pytest.mark.parametrize("values", [[0], [-np.inf, 1], [-np.inf, -1, np.inf]])
@pytest.mark.parametrize("stride", [1, 2])
def test_max_pool_of_flat_and_infinite_pictures_is_that_of_torch(rng, values, stride):
    torch = pytest.importorskip("torch", reason="torch says which of several maxima is the first")
    x = rng.choice(np.float32(values), (2, 3, 9, 8))
    x[:, :, 5:] = values[0]  # whole windows of the same, -inf among them
    theirs = torch.tensor(x, requires_grad=True)
    y = torch.nn.functional.max_pool2d(theirs, 3, stride, 1)
    ct = rng.integers(1, 9, y.shape).astype(np.float32)
    y.backward(torch.tensor(ct))
    window = {"kernel_shape": [3, 3], "strides": [stride] * 2, "pads": [1] * 4}
    ours = max_pool_gradient(x, ct, x.shape, window)
    np.testing.assert_array_equal(ours, theirs.grad.numpy())


def test_a_window_of_padding_alone_has_no_maximum():
    x = np.ones((1, 1, 3), np.float32)
    window = {"kernel_shape": [2], "dilations": [4], "pads": [1, 1]}
    gradient = max_pool_gradient(x, np.ones((1, 1, 1), np.float32), x.shape, window)
    np.testing.assert_array_equal(gradient, 0 * x)


@pytest.mark.parametrize(("sizes", "attributes"), CEILED)
def test_max_pool_with_ceil_mode(check_vjp, rng, sizes, attributes):
    check_vjp("MaxPool", distinct(rng, (2, 2, *sizes)), ceil_mode=1, **attributes)


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize(("sizes", "attributes"), [*WINDOWS, *PADDED])
def test_average_pool(check_vjp, rng, sizes, attributes, include):
    x = rng.standard_normal((2, 2, *sizes))
    check_vjp("AveragePool", x, count_include_pad=include, **attributes)


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize(("sizes", "attributes"), [*WINDOWS, *PADDED, *UNEVEN])
@pytest.mark.parametrize("dynamic", [False, True])
def test_average_pool_of_the_runtime(adjoint, rng, sizes, attributes, include, dynamic):
    x = rng.standard_normal((2, 2, *sizes))
    shape = [2, 2, *"hwd"[: len(sizes)]] if dynamic else None
    adjoint("AveragePool", x, shape=shape, count_include_pad=include, **attributes)


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize(("sizes", "attributes"), CEILED)
def test_average_pool_with_ceil_mode(check_vjp, rng, sizes, attributes, include):
    x = rng.standard_normal((2, 2, *sizes))
    check_vjp("AveragePool", x, count_include_pad=include, ceil_mode=1, opset=19, **attributes)


@pytest.mark.parametrize(("sizes", "attributes"), DILATED)
def test_average_pool_with_dilations(check_vjp, rng, sizes, attributes):
    check_vjp("AveragePool", rng.standard_normal((2, 2, *sizes)), opset=19, **attributes)


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize(
    ("sizes", "attributes"), [*WINDOWS[2:8], *CEILED[:1], *DILATED[:2], *PADDED]
)
def test_lp_pool(check_vjp, rng, sizes, attributes, p):
    x = rng.uniform(0.5, 1.5, (2, 2, *sizes)) * rng.choice([-1.0, 1.0], (2, 2, *sizes))
    check_vjp("LpPool", x, p=p, **attributes)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (2, 2, 2, 3, 2)])
@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("GlobalAveragePool", {}),
        ("GlobalMaxPool", {}),
        ("GlobalLpPool", {"p": 1}),
        ("GlobalLpPool", {}),
        ("GlobalLpPool", {"p": 3}),
    ],
)
def test_global_pool(check_vjp, rng, shape, operator, attributes):
    check_vjp(operator, distinct(rng, shape) + 0.05, **attributes)


def test_global_max_pool_shares_ties(gradient):
    x = np.array([[[1, 3, 3, 2]]], np.float32)
    expected = np.array([[[0, 2, 2, 0]]], np.float32)
    np.testing.assert_array_equal(
        gradient("GlobalMaxPool", x, ct=np.full((1, 1, 1), 4.0)), expected
    )


@pytest.mark.parametrize("p", [1, 2, 3])
def test_norm_pools_have_gradient_zero_at_zero(gradient, p):
    x = np.zeros((1, 1, 4), np.float32)
    np.testing.assert_array_equal(gradient("GlobalLpPool", x, ct=np.ones((1, 1, 1)), p=p), x)
    pooled = gradient("LpPool", x, ct=np.ones((1, 1, 2)), p=p, kernel_shape=[3])
    np.testing.assert_array_equal(pooled, x)


@pytest.mark.parametrize("opset", [7, 11, 22, 26])
@pytest.mark.parametrize("operator", ["AveragePool", "LpPool", "MaxPool", "GlobalAveragePool"])
def test_pools_at_other_opsets(check_vjp, rng, operator, opset):
    given = {} if operator.startswith("Global") else {"kernel_shape": [3, 2], "strides": [2, 2]}
    x = distinct(rng, (2, 2, 5, 6)) + 0.05
    oracle = norms_of_windows if operator == "LpPool" else None
    check_vjp(operator, x, opset=opset, oracle=oracle, symbolic=["batch"], **given)


def norms_of_windows(x):
    """onnx.reference has no LpPool of older opsets."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 2), axis=(2, 3))[:, :, ::2, ::2]
    return [np.sqrt((windows**2).sum(axis=(4, 5)))]


@pytest.mark.parametrize("op_type", ["AveragePool", "LpPool", "MaxPool"])
def test_dilated_windows_with_auto_pad_are_refused(check_vjp, rng, op_type):
    """onnxruntime computes the padding as if they were not dilated, unlike ONNX."""
    given = {"kernel_shape": [2, 2], "dilations": [2, 2], "auto_pad": "SAME_UPPER"}
    with pytest.raises(UnsupportedOperator, match=r"dilated.*\n\nhint: .*`pads`"):
        check_vjp(op_type, rng.standard_normal((1, 1, 5, 6)), opset=22, **given)
