"""Elementwise operators of several operands: broadcasting, ties, bounds and zero bases."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from igrt.vjp.augment import augment

SHAPES = [
    ((2, 3), (2, 3)),
    ((2, 3), (3,)),
    ((3,), (2, 3)),
    ((2, 1), (1, 3)),
    ((2, 3), ()),
    ((), (2, 3)),
    ((1,), (2, 3)),
    ((2, 3, 4), (3, 1)),
    ((2, 3), (1, 1)),
    ((0, 3), (1, 3)),
]


def gradients(op_type, arrays, ct, *, opset=18, stored=(), **attributes):
    """Gradients of the fed float inputs, as onnxruntime computes them."""
    names = [f"i{k}" if a is not None else "" for k, a in enumerate(arrays)]
    inputs, initializers = [], []
    for k, (name, array) in enumerate(zip(names, arrays, strict=True)):
        if array is None:
            continue
        if k in stored:
            initializers.append(numpy_helper.from_array(array, name))
        else:
            elem = helper.np_dtype_to_tensor_dtype(array.dtype)
            inputs.append(helper.make_tensor_value_info(name, elem, array.shape))
    y = helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(ct.dtype), ct.shape)
    node = helper.make_node(op_type, names, ["y"], **attributes)
    graph = helper.make_graph([node], "g", inputs, [y], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 10
    augmented = augment(model)
    session = onnxruntime.InferenceSession(augmented.SerializeToString())
    feeds = {
        n: a for k, (n, a) in enumerate(zip(names, arrays, strict=True)) if n and k not in stored
    }
    outputs = [o.name for o in augmented.graph.output if o.name.startswith("igrt/grad/")]
    found = session.run(outputs, feeds | {"igrt/cotangent/y": ct})
    return [g.tolist() for g in found]


def floats(*numbers):
    return np.array(numbers, dtype=np.float32)


@pytest.mark.parametrize(("a", "b"), SHAPES)
@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div", "PRelu", "Max", "Mod", "Pow"])
def test_broadcasting(check_vjp, rng, op_type, a, b):
    if op_type == "PRelu" and (len(b) > len(a) or np.broadcast_shapes(a, b) != a):
        pytest.skip("the slope is broadcast to X, never X to the slope")
    x = rng.uniform(0.5, 2, a) * (1 if op_type == "Pow" else rng.choice([-1, 1], a))
    y = rng.uniform(3, 4, b) if op_type == "Mod" else rng.uniform(0.5, 2, b)
    x, y = np.asarray(x), np.asarray(y)
    check_vjp(op_type, x, y, **({"fmod": 1} if op_type == "Mod" else {}))


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("opset", [7, 26])
def test_opsets(check_vjp, rng, op_type, opset):
    check_vjp(op_type, rng.uniform(1, 2, (2, 3)), rng.uniform(1, 2, (3,)), opset=opset)


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("wrt", [[0], [1]])
def test_one_operand_stored(check_vjp, rng, op_type, wrt):
    check_vjp(op_type, rng.uniform(1, 2, (2, 3)), rng.uniform(1, 2, (3,)), wrt=wrt)


def test_division_by_a_masked_zero_gives_zero():
    a, b = floats(1, 2), floats(0, 2)
    assert gradients("Div", [a, b], floats(0, 1)) == [[0, 0.5], [0, -0.5]]


@pytest.mark.parametrize(
    ("a", "b"), [((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((), (2, 3)), ((2, 3), ())]
)
@pytest.mark.parametrize("op_type", ["Max", "Min", "Mean", "Sum"])
@pytest.mark.parametrize("opset", [8, 18])
def test_variadic(check_vjp, rng, op_type, a, b, opset):
    arrays = [np.asarray(rng.standard_normal(s)) for s in (a, b, (3,))]
    if op_type == "Mean" and a != (2, 3):
        pytest.skip("the reference adds in place, into the first operand's shape")
    check_vjp(op_type, *arrays, opset=opset)


def test_mean_broadcasts():
    arrays = [np.ones(s, np.float32) for s in ((2, 1), (1, 3), ())]
    ct = np.array([[3, 6, 9], [12, 15, 18]], np.float32)
    assert gradients("Mean", arrays, ct) == [[[6], [15]], [[5, 7, 9]], 21]


@pytest.mark.parametrize("op_type", ["Max", "Min", "Mean", "Sum"])
def test_single_operand(check_vjp, rng, op_type):
    check_vjp(op_type, rng.standard_normal((2, 3)))


@pytest.mark.parametrize("op_type", ["Max", "Min"])
def test_ties_are_shared(op_type):
    sign = 1 if op_type == "Max" else -1
    a, b, c = sign * floats(1, 2, 3), sign * floats(1, 2, 0), sign * floats(1, 0, 0)
    expected = [[2, 3, 6], [2, 3, 0], [2, 0, 0]]
    assert gradients(op_type, [a, b, c], floats(6, 6, 6)) == expected


def test_max_with_zero_halves_the_slope_at_zero():
    zero = np.array(0, np.float32)
    assert gradients("Max", [floats(-1, 0, 2), zero], floats(1, 1, 1), stored=[1]) == [[0, 0.5, 1]]


@pytest.mark.parametrize("exponent", [-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0])
@pytest.mark.parametrize("kind", ["float", "int", "fed"])
def test_pow(check_vjp, rng, exponent, kind):
    x = rng.uniform(0.5, 2, (2, 3))
    if kind == "int":
        if exponent != int(exponent):
            pytest.skip("no whole number")
        # ONNX allows a whole exponent of another type
        check_vjp("Pow", x, np.array(int(exponent)), wrt=[0])
        if exponent == 0:
            return
        check_vjp("Pow", -x, np.array([int(exponent)]), wrt=[0], fed=[1])
    elif kind == "float":
        check_vjp("Pow", x, np.array(exponent), wrt=[0])
    else:
        check_vjp("Pow", x, np.array(exponent), wrt=[0, 1])


@pytest.mark.parametrize("opset", [7, 12, 13, 15])
def test_pow_opsets(check_vjp, rng, opset):
    check_vjp("Pow", rng.uniform(0.5, 2, (2, 3)), rng.uniform(1, 3, (3,)), opset=opset)


@pytest.mark.parametrize("stored", [[1], []])
@pytest.mark.parametrize(("exponent", "slope"), [(0, 0), (1, 1), (2, 0), (3, 0), (1.5, 0)])
def test_pow_at_base_zero(exponent, slope, stored):
    y = np.array(exponent, np.float32)
    found = gradients("Pow", [floats(0, 1), y], floats(1, 1), stored=stored)
    assert found[0] == [slope, exponent]
    # d/dy 0^y counts as 0 and ln 1 is 0
    assert found[1:] in ([], [0])


@pytest.mark.parametrize("exponent", [-1, 0.5, -0.5])
def test_pow_at_a_masked_singularity(exponent):
    y = np.array(exponent, np.float32)
    assert gradients("Pow", [floats(0, 1), y], floats(0, 1), stored=[1]) == [[0, exponent]]


def test_pow_of_a_negative_base_has_no_gradient_in_the_exponent():
    y = np.array(2, np.float32)
    assert gradients("Pow", [floats(-3, -1), y], floats(1, 1)) == [[-6, -2], 0]


@pytest.mark.parametrize("opset", [10, 13])
def test_fmod(check_vjp, opset):
    a = np.array([[5.3, -5.3, 5.3, -5.3, 1.1]])
    b = np.array([2.0, 2.0, -2.0, -2.0, 3.0])
    check_vjp("Mod", a, b, fmod=1, opset=opset)


@pytest.mark.parametrize("opset", [7, 9, 16])
@pytest.mark.parametrize("slope", [(), (1,), (3,), (2, 3), (2, 1)])
@pytest.mark.parametrize("wrt", [[0], [0, 1]])
def test_prelu(check_vjp, rng, opset, slope, wrt):
    if opset == 7 and slope == ():
        pytest.skip("not allowed before opset 9")
    x = np.array([[-2.0, 0.5, 1.0], [1.5, -0.5, -1.0]])
    check_vjp("PRelu", x, rng.uniform(0.1, 0.9, slope), opset=opset, wrt=wrt)


@pytest.mark.parametrize("slope", [-0.5, 0.25, 1.5])
def test_prelu_at_zero_takes_the_slope(slope):
    s = np.array([slope], np.float32)
    assert gradients("PRelu", [floats(-1, 0, 1), s], floats(1, 1, 1), stored=[1]) == [
        [slope, slope, 1]
    ]


@pytest.mark.parametrize(
    ("condition", "x", "y"),
    [
        ((2, 3), (2, 3), (2, 3)),
        ((2, 1), (3,), (1, 3)),
        ((2, 3), (), (1,)),
        ((1,), (2, 3), (3,)),
        ((2, 3, 1), (3, 4), (2, 1, 4)),
    ],
)
@pytest.mark.parametrize(("opset", "fed"), [(9, [0]), (16, []), (16, [0])])
def test_where(check_vjp, rng, condition, x, y, opset, fed):
    check_vjp(
        "Where",
        rng.uniform(size=condition) > 0.5,
        rng.standard_normal(x),
        rng.standard_normal(y),
        opset=opset,
        fed=fed,
    )


def test_where_keeps_infinities_out():
    condition = np.array([True, False])
    ct = floats(np.inf, -np.inf)
    limit = float(np.finfo(np.float32).max)
    found = gradients("Where", [condition, floats(1, 1), floats(1, 1)], ct)
    assert found == [[limit, 0], [0, -limit]]


X = np.array([[-2.0, -0.5, 0.5], [1.5, 2.5, 7.0]])


@pytest.mark.parametrize(
    ("low", "high"), [(None, None), (0.0, None), (None, 2.0), (-1.0, 2.0), (3.0, 1.0)]
)
@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("fed", [False, True])
def test_clip(check_vjp, low, high, opset, fed):
    bounds = [None if b is None else np.array(b) for b in (low, high)]
    wrt = [0, *(i for i, b in enumerate(bounds, 1) if b is not None and fed)]
    while bounds and bounds[-1] is None:
        bounds.pop()
    # where min > max, ONNX says that all is max
    check_vjp("Clip", X, *bounds, wrt=wrt, opset=opset)


@pytest.mark.parametrize("attributes", [{}, {"min": 0.0}, {"max": 2.0}, {"min": 0.0, "max": 6.0}])
def test_clip_with_bounds_as_attributes(check_vjp, attributes):
    check_vjp("Clip", X, opset=7, **attributes)


def test_clip_bounds_are_inclusive():
    low, high = np.array(0, np.float32), np.array(6, np.float32)
    x = floats(-1, 0, 3, 6, 7)
    assert gradients("Clip", [x, low, high], np.ones_like(x), stored=[1, 2]) == [[0, 1, 1, 1, 0]]
    assert gradients("Clip", [x, low, high], np.ones_like(x)) == [[0, 1, 1, 1, 0], 1, 1]


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div", "Max", "Pow"])
def test_unknown_rank(op_type):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    w = helper.make_tensor_value_info("w", TensorProto.FLOAT, None)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node(op_type, ["x", "w"], ["y"])], "g", [x, w], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    session = onnxruntime.InferenceSession(augment(model).SerializeToString())
    feeds = {
        "x": np.full((2, 3), 4, np.float32),
        "w": np.full((3,), 2, np.float32),
        "igrt/cotangent/y": np.ones((2, 3), np.float32),
    }
    found = session.run(["igrt/grad/x", "igrt/grad/w"], feeds)
    slope_x, slope_w = {
        "Add": (1, 1),
        "Sub": (1, -1),
        "Mul": (2, 4),
        "Div": (0.5, -1),
        "Max": (1, 0),
        "Pow": (8, 16 * np.log(4)),
    }[op_type]
    np.testing.assert_allclose(found[0], np.full((2, 3), slope_x), rtol=1e-6)
    np.testing.assert_allclose(found[1], np.full((3,), 2 * slope_w), rtol=1e-6)
