"""Elementwise operators of one operand: finite differences, kinks, tails and singular points."""

import math

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from igrt.vjp.augment import augment

# operator, range of arguments, attributes, opset
SMOOTH = [
    ("Acos", (-0.9, 0.9), {}, 18),
    ("Acosh", (1.1, 4), {}, 18),
    ("Asin", (-0.9, 0.9), {}, 18),
    ("Asinh", (-3, 3), {}, 18),
    ("Atan", (-3, 3), {}, 18),
    ("Atanh", (-0.9, 0.9), {}, 18),
    ("Celu", (-3, 3), {}, 18),
    ("Celu", (-3, 3), {"alpha": 0.5}, 12),
    ("Cos", (-3, 3), {}, 7),
    ("Cosh", (-3, 3), {}, 18),
    ("Elu", (-3, 3), {}, 7),
    ("Elu", (-3, 3), {"alpha": 0.5}, 22),
    ("Erf", (-3, 3), {}, 18),
    ("Exp", (-3, 3), {}, 7),
    ("Gelu", (-4, 4), {}, 20),
    ("Gelu", (-4, 4), {"approximate": "tanh"}, 20),
    ("Log", (0.1, 4), {}, 7),
    ("Mish", (-5, 5), {}, 18),
    ("Mish", (-5, 5), {}, 22),
    ("Neg", (-3, 3), {}, 7),
    ("Reciprocal", (0.3, 3), {}, 7),
    ("Reciprocal", (-3, -0.3), {}, 18),
    ("Selu", (-3, 3), {}, 7),
    ("Selu", (-3, 3), {"alpha": 0.7, "gamma": 1.3}, 22),
    ("Sigmoid", (-6, 6), {}, 7),
    ("Sin", (-3, 3), {}, 22),
    ("Sinh", (-3, 3), {}, 18),
    ("Softplus", (-5, 5), {}, 7),
    ("Softsign", (-5, 5), {}, 22),
    ("Sqrt", (0.1, 4), {}, 7),
    ("Swish", (-5, 5), {}, 24),
    ("Swish", (-5, 5), {"alpha": 1.7}, 24),
    ("Tan", (-1.3, 1.3), {}, 18),
    ("Tanh", (-3, 3), {}, 7),
]

# operator, arguments on every piece and away from the kinks, attributes, opset
PIECES = [
    ("Abs", [-2.0, -0.3, 0.2, 3.0], {}, 7),
    ("HardSigmoid", [-4.0, -1.0, 0.3, 2.0, 4.0], {}, 7),
    ("HardSigmoid", [-4.0, -1.0, 0.3, 1.5, 4.0], {"alpha": 0.3, "beta": 0.4}, 22),
    ("HardSwish", [-5.0, -2.9, -1.0, 0.0, 2.0, 2.9, 5.0], {}, 14),
    ("HardSwish", [-5.0, -2.9, -1.0, 0.0, 2.0, 2.9, 5.0], {}, 22),
    ("LeakyRelu", [-2.0, -0.1, 0.1, 3.0], {}, 7),
    ("LeakyRelu", [-2.0, -0.1, 0.1, 3.0], {"alpha": 0.3}, 16),
    ("LeakyRelu", [-2.0, -0.1, 0.1, 3.0], {"alpha": -0.3}, 18),
    ("LeakyRelu", [-2.0, -0.1, 0.1, 3.0], {"alpha": 1.5}, 18),
    ("LeakyRelu", [-2.0, -0.1, 0.1, 3.0], {"alpha": 0.0}, 18),
    ("Relu", [-2.0, -0.1, 0.1, 3.0], {}, 7),
    ("Relu", [-2.0, -0.1, 0.1, 3.0], {}, 14),
    ("Shrink", [-2.0, -0.4, 0.3, 0.7], {}, 18),
    ("Shrink", [-2.0, -0.4, 0.3, 0.7], {"lambd": 1.0, "bias": 0.2}, 9),
    ("ThresholdedRelu", [-2.0, 0.3, 0.9, 1.1, 3.0], {}, 10),
    ("ThresholdedRelu", [-2.0, 0.3, 0.9, 1.1, 3.0], {"alpha": -0.5}, 22),
]


@pytest.mark.parametrize(("op_type", "domain", "attributes", "opset"), SMOOTH)
def test_smooth(check_vjp, rng, op_type, domain, attributes, opset):
    x = rng.uniform(*domain, size=(3, 4))
    # the reference computes Erf in float32, which is too coarse for finite differences
    exact = {"Erf": _erf, "Gelu": _gelu}.get(op_type)
    oracle = exact(attributes.get("approximate", "none")) if exact else None
    check_vjp(op_type, x, opset=opset, oracle=oracle, **attributes)


@pytest.mark.parametrize(("op_type", "points", "attributes", "opset"), PIECES)
def test_pieces(check_vjp, op_type, points, attributes, opset):
    check_vjp(op_type, np.array([points, points[::-1]]), opset=opset, **attributes)


@pytest.mark.parametrize("shape", [(), (0, 3), (1,)])
@pytest.mark.parametrize("op_type", ["Relu", "Sqrt", "LeakyRelu", "Gelu", "Mish"])
def test_scalars_and_empty_batches(check_vjp, op_type, shape):
    oracle = _gelu("none") if op_type == "Gelu" else None
    check_vjp(op_type, np.full(shape, 0.7), opset=20, oracle=oracle)


def slopes(op_type, points, opset=20, dtype=np.float32, **attributes):
    """The derivative at each point, as onnxruntime computes it."""
    elem = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    x = helper.make_tensor_value_info("x", elem, ["n"])
    y = helper.make_tensor_value_info("y", elem, ["n"])
    node = helper.make_node(op_type, ["x"], ["y"], **attributes)
    model = helper.make_model(
        helper.make_graph([node], "g", [x], [y]), opset_imports=[helper.make_opsetid("", opset)]
    )
    model.ir_version = 10
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(augment(model).SerializeToString(), options)
    feed = np.asarray(points, dtype=dtype)
    feeds = {"x": feed, "igrt/cotangent/y": np.ones_like(feed)}
    return session.run(["igrt/grad/x"], feeds)[0]


@pytest.mark.parametrize(
    ("op_type", "point", "slope", "attributes"),
    [
        ("Abs", 0.0, 0.0, {}),
        ("Relu", 0.0, 0.0, {}),
        ("LeakyRelu", 0.0, 0.25, {"alpha": 0.25}),
        ("Elu", 0.0, 0.5, {"alpha": 0.5}),
        ("Celu", 0.0, 1.0, {"alpha": 0.5}),
        ("ThresholdedRelu", 1.0, 0.0, {}),
        ("Shrink", 0.5, 0.0, {}),
        ("HardSigmoid", 2.0, 0.0, {"alpha": 0.25}),
        ("HardSigmoid", -2.0, 0.0, {"alpha": 0.25}),
        ("HardSwish", -3.0, 0.0, {}),
        ("HardSwish", 3.0, 1.0, {}),
    ],
)
def test_conventions_at_the_kinks(op_type, point, slope, attributes):
    assert slopes(op_type, [point], **attributes)[0] == slope


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    ("op_type", "left", "right"),
    [
        ("Asinh", 0, 0),
        ("Atan", 0, 0),
        ("Celu", 0, 1),
        ("Elu", 0, 1),
        ("Erf", 0, 0),
        ("Gelu", 0, 1),
        ("HardSwish", 0, 1),
        ("Mish", 0, 1),
        ("Sigmoid", 0, 0),
        ("Softplus", 0, 1),
        ("Softsign", 0, 0),
        ("Tanh", 0, 0),
    ],
)
def test_tails_do_not_overflow(op_type, left, right, dtype):
    if op_type == "Celu" and dtype == np.float16:
        pytest.skip("Celu is defined for float32 only before opset 28")
    far = 1e30 if dtype == np.float32 else 6e4
    near = 100.0
    found = slopes(op_type, [-far, far, -near, near], dtype=dtype)
    # 1e-2 at ±100: Asinh decays like 1/|x|; 2e-3: two units in the last place of float16
    np.testing.assert_allclose(found[:2], [left, right], atol=2e-3)
    np.testing.assert_allclose(found[2:], [left, right], atol=1.1e-2)


def test_gelu_by_tanh_does_not_overflow():
    found = slopes("Gelu", [-1e30, -30, 30, 1e30], approximate="tanh")
    assert found.tolist() == [0, 0, 1, 1]


def test_swish_does_not_overflow():
    found = slopes("Swish", [-1e30, -100, 100, 1e30], opset=24)
    assert found.tolist() == [0, 0, 1, 1]


def test_asinh_decays_like_one_over_x():
    # float16: x² is infinite from 256 on; 1e-3 is its precision
    np.testing.assert_allclose(slopes("Asinh", [500], dtype=np.float16), 1 / 500, rtol=1e-3)
    np.testing.assert_allclose(slopes("Asinh", [1e25]), 1e-25, rtol=1e-6)


@pytest.mark.parametrize(
    ("op_type", "edge"),
    [("Acos", 1), ("Acosh", 1), ("Asin", -1), ("Atanh", 1), ("Log", 0), ("Sqrt", 0)],
)
def test_infinite_slopes_are_large_and_finite(op_type, edge):
    found = slopes(op_type, [edge])
    assert np.isfinite(found).all()
    assert abs(found[0]) > 1e15


def _run_graph(nodes, feeds, opset=18):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])
    graph = helper.make_graph(nodes, "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 10
    session = onnxruntime.InferenceSession(augment(model).SerializeToString())
    return session.run(["igrt/grad/x"], feeds)[0]


@pytest.mark.parametrize("op_type", ["Log", "Sqrt", "Reciprocal"])
def test_a_masked_singularity_gives_zero(op_type):
    nodes = [
        helper.make_node("Constant", [], ["zero"], value_float=0.0),
        helper.make_node(op_type, ["x"], ["r"]),
        helper.make_node("Greater", ["x", "zero"], ["positive"]),
        helper.make_node("Where", ["positive", "r", "zero"], ["y"]),
    ]
    x = np.array([0, 4], np.float32)
    found = _run_graph(nodes, {"x": x, "igrt/cotangent/y": np.ones_like(x)})
    expected = {"Log": 0.25, "Sqrt": 0.25, "Reciprocal": -0.0625}[op_type]
    assert found.tolist() == [0, expected]


def test_root_of_a_square_has_slope_zero_at_zero():
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["s"]),
        helper.make_node("Sqrt", ["s"], ["y"]),
    ]
    x = np.array([-3, 0, 2], np.float32)
    found = _run_graph(nodes, {"x": x, "igrt/cotangent/y": np.full_like(x, 100)})
    assert found.tolist() == [-100, 0, 100]


def test_relu_masks_an_infinite_cotangent():
    x = np.array([-1, 0, 2], np.float32)
    ct = np.array([np.inf, -np.inf, 5], np.float32)
    found = _run_graph([helper.make_node("Relu", ["x"], ["y"])], {"x": x, "igrt/cotangent/y": ct})
    assert found.tolist() == [0, 0, 5]


def test_relu_runs_without_where():
    # Where takes twelve times as long as the product with the mask in onnxruntime on CPU
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    operators = [n.op_type for n in augment(model).graph.node]
    assert sorted(operators) == ["Cast", "Clip", "Greater", "Identity", "Mul", "Relu"]


@pytest.mark.parametrize("op_type", ["Gelu", "Mish", "Tanh", "Elu", "Sqrt", "Log"])
def test_the_gradient_can_be_differentiated_again(op_type):
    x = helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["n"])
    y = helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["n"])
    graph = helper.make_graph([helper.make_node(op_type, ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    once = augment(model, wrt=["x"], of="y")
    twice = augment(once, wrt=["x"], of="igrt/grad/x")
    points = np.array([0.3, 0.8, 1.7])
    feeds = {"x": points, "igrt/cotangent/y": np.ones(3)}

    def slope(at):
        return ReferenceEvaluator(once).run(["igrt/grad/x"], feeds | {"x": at})[0]

    outputs = {o.name for o in twice.graph.output}
    (name,) = outputs - {o.name for o in once.graph.output}
    (seed,) = {i.name for i in twice.graph.input} - set(feeds)
    found = ReferenceEvaluator(twice).run([name], feeds | {seed: np.ones(3)})[0]
    # the reference's Erf is good to 1e-7 only, which the step of 1e-3 makes 1e-4
    expected = (slope(points + 1e-3) - slope(points - 1e-3)) / 2e-3
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-4)


def _erf(_):
    torch = pytest.importorskip("torch")
    return lambda x: [torch.erf(torch.as_tensor(x)).numpy()]


def _gelu(approximate):
    torch = pytest.importorskip("torch")
    gelu = torch.nn.functional.gelu
    return lambda x: [gelu(torch.as_tensor(x), approximate=approximate).numpy()]


def test_erf_at_zero():
    np.testing.assert_allclose(slopes("Erf", [0.0]), 2 / math.sqrt(math.pi), rtol=1e-6)
