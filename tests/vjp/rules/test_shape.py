"""Rules that shape, cut and join tensors against finite differences."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, parser

from igrt.errors import UnsupportedOperator
from igrt.vjp.augment import augment, differentiate

FAR = np.iinfo(np.int64).max


def ints(*values):
    return np.array(values, dtype=np.int64)


def operators(model):
    """Operators of the gradient graph."""
    return [n.op_type for n in model.graph.node if n.output[0].startswith("igrt/")]


# -- Concat and Split -----------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, -1, -3])
def test_concat(check_vjp, rng, axis):
    shapes = [[2, 3, 4], [2, 3, 4], [2, 3, 4]]
    for shape, size in zip(shapes, (1, 2, 3), strict=True):
        shape[axis] = size
    check_vjp("Concat", *(rng.standard_normal(s) for s in shapes), axis=axis)


@pytest.mark.parametrize("opset", [7, 11, 13, 26])
def test_concat_with_an_empty_operand(check_vjp, rng, opset):
    a, b, c = (rng.standard_normal((2, n)) for n in (3, 0, 1))
    check_vjp("Concat", a, b, c, axis=1, opset=opset)


def test_concat_of_one(check_vjp, rng):
    check_vjp("Concat", rng.standard_normal((2, 3)), axis=1)


def test_concat_gives_only_the_part_asked_for(check_vjp, rng):
    a, b = rng.standard_normal((2, 3)), rng.standard_normal((2, 2))
    check_vjp("Concat", a, b, axis=-1, wrt=[1])
    check_vjp("Concat", a, b, axis=-1, wrt=[0])


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("split", [None, (1, 2, 1)])
def test_split(check_vjp, rng, axis, split):
    x = rng.standard_normal((4, 4, 4))
    if split is None:
        check_vjp("Split", x, axis=axis, num_outputs=2, outputs=2)
    else:
        check_vjp("Split", x, ints(*split), axis=axis, outputs=3)


def test_split_with_an_uneven_tail(check_vjp, rng):
    check_vjp("Split", rng.standard_normal((2, 7)), axis=1, num_outputs=3, outputs=3)


@pytest.mark.parametrize("opset", [11, 12])
def test_split_by_attribute(check_vjp, rng, opset):
    x = rng.standard_normal((2, 5))
    check_vjp("Split", x, axis=1, split=[2, 3], outputs=2, opset=opset)


def test_split_by_sizes_known_at_run_time(check_vjp, rng):
    check_vjp("Split", rng.standard_normal((2, 5)), ints(2, 0, 3), axis=1, outputs=3, fed=[1])


def test_split_with_some_parts_used():
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["": 18]>
        g (float[N, 6] x) => (float[N, 2] y) {
            sizes = Constant <value_ints = [2, 2, 2]> ()
            a, b, c = Split <axis = 1> (x, sizes)
            y = Mul (a, c)
        }
    """)
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    ct = np.float32([[1, 2], [3, 4]])
    session = onnxruntime.InferenceSession(augment(model).SerializeToString())
    (got,) = session.run(["igrt/grad/x"], {"x": x, "igrt/cotangent/y": ct})
    want = np.concatenate([ct * x[:, 4:], 0 * ct, ct * x[:, :2]], axis=1)
    np.testing.assert_array_equal(got, want)


# -- Slice ----------------------------------------------------------------------------------------

SLICES = {
    "inside": ((1,), (3,), (1,), None),
    "from the end": ((-3,), (-1,), (1,), (1,)),
    "to the end": ((1,), (FAR,), (-1,), (1,)),
    "everything": ((0, 0), (FAR, FAR), (0, 1), (1, 1)),
    "no axes": ((0, 1), (2, 3), None, None),
    "out of range": ((-100,), (100,), (1,), None),
    "nothing left": ((3,), (2,), (1,), None),
    "stride": ((0,), (FAR,), (1,), (2,)),
    "stride with a phase": ((1,), (FAR,), (1,), (2,)),
    "stride far from the start": ((3,), (5,), (1,), (3,)),
    "stride leaves a tail": ((0,), (3,), (1,), (3,)),
    "two strides": ((1, 0), (FAR, -1), (2, 1), (2, 3)),
    "backwards": ((-1,), (-FAR,), (1,), (-1,)),
    "backwards from inside": ((3,), (0,), (1,), (-1,)),
    "backwards from beyond": ((100,), (-100,), (1,), (-1,)),
    "backwards by two": ((-1,), (-FAR,), (1,), (-2,)),
    "backwards and forwards": ((-2, 1), (-FAR, 5), (0, 2), (-3, 2)),
    "backwards, nothing left": ((0,), (3,), (1,), (-1,)),
}


@pytest.mark.parametrize("case", SLICES)
def test_slice(check_vjp, rng, case):
    starts, ends, axes, steps = SLICES[case]
    operands = [ints(*v) if v is not None else None for v in (starts, ends, axes, steps)]
    while operands[-1] is None:
        operands.pop()
    check_vjp("Slice", rng.standard_normal((4, 5, 6)), *operands)


@pytest.mark.parametrize("case", SLICES)
def test_slice_by_indices_known_at_run_time(check_vjp, rng, case):
    starts, ends, axes, steps = SLICES[case]
    operands = [ints(*v) if v is not None else None for v in (starts, ends, axes, steps)]
    while operands[-1] is None:
        operands.pop()
    x = rng.standard_normal((4, 5, 6))
    check_vjp("Slice", x, *operands, fed=[1, 2], symbolic=["static", "all"])
    if axes is not None:
        every = range(1, len(operands) + 1)
        check_vjp("Slice", x, *operands, fed=every, symbolic=["static", "all"])
        check_vjp("Slice", x, *operands, fed=[3], symbolic=["static", "all"])


def test_slice_with_int32_indices(check_vjp, rng):
    small = [np.array([n], dtype=np.int32) for n in (-4, 4, 1, 2)]
    check_vjp("Slice", rng.standard_normal((4, 5)), *small)


@pytest.mark.parametrize("opset", [7, 9])
def test_slice_by_attributes(check_vjp, rng, opset):
    x = rng.standard_normal((4, 5))
    check_vjp("Slice", x, opset=opset, starts=[1, -3], ends=[100, -1], axes=[0, 1])


def test_slices_of_a_picture_need_neither_scatter_nor_shapes(check_vjp, rng):
    text = """
        <ir_version: 8, opset_import: ["": 18]>
        g (float[1, 3, 8, 8] x) => (float[1, 3, 4, 4] y) {
            from = Constant <value_ints = [1, 0]> ()
            to = Constant <value_ints = [8, 8]> ()
            axes = Constant <value_ints = [2, 3]> ()
            steps = Constant <value_ints = [2, 2]> ()
            y = Slice (x, from, to, axes, steps)
        }
    """
    used = operators(augment(parser.parse_model(text)))
    assert set(used) <= {"Unsqueeze", "Expand", "Concat", "Reshape", "Identity"}


# -- Pad ------------------------------------------------------------------------------------------

PADS = {
    "none": ((0, 0, 0, 0), None),
    "around": ((1, 2, 0, 1), None),
    "one axis": ((2, 1), (-1,)),
}
# which operands are known at run time only: the pads, and the axes where there are some
PADDED = [*((case, fed) for case in PADS for fed in ((), (1,))), ("one axis", (1, 3))]


@pytest.mark.parametrize("case, fed", PADDED)
def test_pad(check_vjp, rng, case, fed):
    pads, axes = PADS[case]
    operands = [ints(*pads), rng.standard_normal(())]
    if axes is not None:
        operands.append(ints(*axes))
    check_vjp("Pad", rng.standard_normal((3, 4)), *operands, fed=fed)


@pytest.mark.parametrize("pads", [(-1, 0, 0, -2), (-1, 2, 1, -1), (-1, -1, -1, -1)])
@pytest.mark.parametrize("fed", [False, True])
def test_pad_that_crops(pads, fed):
    # the reference evaluator cannot pad by negative amounts; small integers are exact in float32
    model = parser.parse_model(f"""
        <ir_version: 8, opset_import: ["": 18]>
        g (float[n, 4] x{", int64[4] p" if fed else ""}) => (float[a, b] y)
        {"" if fed else "<int64[4] p = {" + ", ".join(map(str, pads)) + "}>"}
        {{ y = Pad (x, p) }}
    """)
    session = onnxruntime.InferenceSession(augment(model, wrt=["x"]).SerializeToString())
    feeds = {"x": np.arange(1, 13, dtype=np.float32).reshape(3, 4)} | (
        {"p": ints(*pads)} if fed else {}
    )
    y = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)[0]
    ct = np.arange(1, y.size + 1, dtype=np.float32).reshape(y.shape)
    (got,) = session.run(["igrt/grad/x"], feeds | {"igrt/cotangent/y": ct})
    # the elements are their own numbers and padding is 0, so y says where each element went
    want = np.zeros(13, np.float32)
    want[y.astype(int)] = ct
    np.testing.assert_array_equal(got.ravel(), want[1:])


def test_pad_without_a_value(check_vjp, rng):
    check_vjp("Pad", rng.standard_normal((3, 4)), ints(1, 2, 0, 1))


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
@pytest.mark.parametrize("case, fed", PADDED)
def test_pad_with_elements_of_the_tensor(check_vjp, rng, mode, case, fed):
    pads, axes = PADS[case]
    operands = [ints(*pads), None]
    if axes is not None:
        operands.append(ints(*axes))
    opset = 19 if mode == "wrap" else 18
    check_vjp("Pad", rng.standard_normal((3, 4)), *operands, mode=mode, fed=fed, opset=opset)


@pytest.mark.parametrize("opset", [7, 10])
@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_pad_by_attributes(check_vjp, rng, opset, mode):
    x = rng.standard_normal((2, 3, 4))
    check_vjp("Pad", x, opset=opset, mode=mode, pads=[0, 1, 2, 0, 0, 1])


# -- the same elements in another shape -----------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 4), (-1, 2, 2), (0, -1), (2, 0, 2, 2), (24,)])
@pytest.mark.parametrize("opset", [7, 13, 26])
def test_reshape(check_vjp, rng, shape, opset):
    check_vjp("Reshape", rng.standard_normal((2, 3, 4)), ints(*shape), opset=opset)


def test_reshape_by_a_shape_known_at_run_time(check_vjp, rng):
    check_vjp("Reshape", rng.standard_normal((2, 6)), ints(3, -1), fed=[1])


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
def test_flatten(check_vjp, rng, axis):
    check_vjp("Flatten", rng.standard_normal((2, 3, 4)), axis=axis)


@pytest.mark.parametrize("perm", [None, [0, 2, 1], [2, 0, 1], [1, 2, 0]])
def test_transpose(check_vjp, rng, perm):
    given = {} if perm is None else {"perm": perm}
    check_vjp("Transpose", rng.standard_normal((2, 3, 4)), **given)


@pytest.mark.parametrize("axes", [(1,), (-1,), (1, -1)])
@pytest.mark.parametrize("fed", [(), (1,)])
def test_squeeze_and_unsqueeze(check_vjp, rng, axes, fed):
    check_vjp(
        "Squeeze",
        rng.standard_normal((2, 1, 3, 1)),
        ints(*axes),
        fed=fed,
        symbolic=["static", "batch"],
    )
    check_vjp("Unsqueeze", rng.standard_normal((2, 3)), ints(*axes), fed=fed)


def test_squeeze_of_every_axis_of_size_1(check_vjp, rng):
    check_vjp("Squeeze", rng.standard_normal((1, 3, 1)))


@pytest.mark.parametrize("opset", [7, 11])
def test_squeeze_and_unsqueeze_by_attribute(check_vjp, rng, opset):
    check_vjp("Squeeze", rng.standard_normal((2, 1, 3)), axes=[1], opset=opset)
    check_vjp("Unsqueeze", rng.standard_normal((2, 3)), axes=[0, 2], opset=opset)


@pytest.mark.parametrize("shape", [(2, 3), (4, 2, 3), (1,), (5, 1, 1), (2, 1)])
@pytest.mark.parametrize("fed", [(), (1,)])
def test_expand(check_vjp, rng, shape, fed):
    check_vjp("Expand", rng.standard_normal((2, 1)), ints(*shape), fed=fed)
    check_vjp("Expand", rng.standard_normal(()), ints(*shape), fed=fed)


@pytest.mark.parametrize("repeats", [(1, 1), (2, 1), (1, 3), (2, 3)])
@pytest.mark.parametrize("fed", [(), (1,)])
def test_tile(check_vjp, rng, repeats, fed):
    check_vjp("Tile", rng.standard_normal((3, 2)), ints(*repeats), fed=fed)


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [None, -1, 0, 2])
def test_trilu(check_vjp, rng, upper, k):
    operands = [] if k is None else [np.array(k)]
    check_vjp("Trilu", rng.standard_normal((2, 3, 4)), *operands, upper=upper)


def test_identity(check_vjp, rng):
    check_vjp("Identity", rng.standard_normal((2, 3)))


@pytest.mark.parametrize(
    "op_type, operands, attributes",
    [
        ("Concat", [], {"axis": 1}),
        ("Flatten", [], {}),
        ("Gather", [ints()], {"axis": 1}),
        ("Pad", [ints(0, 0, 0, 0)], {}),
        ("Reshape", [ints(3, 0)], {"allowzero": 1}),
        ("Slice", [ints(0), ints(2), ints(0)], {}),
        ("Slice", [ints(0), ints(FAR), ints(0), ints(2)], {}),
        ("Tile", [ints(2, 2)], {}),
        ("Transpose", [], {}),
        ("Unsqueeze", [ints(0)], {}),
    ],
)
def test_axes_of_size_0(op_type, operands, attributes):
    names = [f"i{i}" for i in range(len(operands))]
    node = helper.make_node(op_type, ["x", *names], ["y"], **attributes)
    stored = [onnx.numpy_helper.from_array(o, n) for o, n in zip(operands, names, strict=True)]
    x = np.zeros((3, 0), np.float32)
    for shape in ([3, 0], ["n", "m"]):
        graph = helper.make_graph(
            [node],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            stored,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
        model.ir_version = 10
        y = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
        session = onnxruntime.InferenceSession(augment(model).SerializeToString())
        (got,) = session.run(["igrt/grad/x"], {"x": x, "igrt/cotangent/y": y})
        assert got.shape == x.shape


# -- OptionalGetElement ---------------------------------------------------------------------------


def test_the_element_of_a_tensor_is_itself(check_vjp, rng):
    check_vjp("OptionalGetElement", rng.standard_normal((2, 3)))


def test_what_may_be_no_tensor_is_refused():
    text = """
        <ir_version: 8, opset_import: ["": 18]>
        g (bool c, float[4] x) => (float[4] y) {
            maybe = If <
                then_branch = t () => (optional(float[4]) a) { a = Optional (x) },
                else_branch = e () => (optional(float[4]) b) { b = Optional (x) }
            > (c)
            y = OptionalGetElement (maybe)
        }
    """
    with pytest.raises(UnsupportedOperator, match="Optional"):
        augment(parser.parse_model(text))


# -- Dropout --------------------------------------------------------------------------------------


@pytest.mark.parametrize("opset", [7, 10, 12, 13, 22])
def test_dropout_at_inference(check_vjp, rng, opset):
    given = {"ratio": 0.5} if opset < 12 else {}
    check_vjp("Dropout", rng.standard_normal((2, 3)), opset=opset, **given)


def test_dropout_told_not_to_train(check_vjp, rng):
    x = rng.standard_normal((2, 3))
    check_vjp("Dropout", x, np.array(0.25), np.array(False), wrt=[0])
    check_vjp("Dropout", x, None, np.array(False), wrt=[0])


def dropout(outputs, training):
    return parser.parse_model(
        f"""
        <ir_version: 8, opset_import: ["": 18]>
        g (float[100] x, {"bool t" if training is None else ""}) => (float[100] y) {{
            ratio = Constant <value_float = 0.75> ()
            {"" if training is None else "t = Constant <value = bool {" + str(training) + "}> ()"}
            {outputs} = Dropout <seed = 1> (x, ratio, t)
        }}
    """.replace(", )", ")")
    )


@pytest.mark.parametrize("outputs", ["y, m", "y"])
def test_dropout_in_training_follows_its_mask(outputs):
    session = onnxruntime.InferenceSession(augment(dropout(outputs, 1)).SerializeToString())
    x = np.linspace(1, 2, 100, dtype=np.float32)
    y, got = session.run(
        ["y", "igrt/grad/x"], {"x": x, "igrt/cotangent/y": np.ones(100, np.float32)}
    )
    np.testing.assert_array_equal(got, np.where(y != 0, np.float32(4), np.float32(0)))
    assert 0 < (got == 0).sum() < 100


@pytest.mark.parametrize("training", [True, False])
def test_dropout_told_at_run_time(training):
    session = onnxruntime.InferenceSession(
        augment(dropout("y, m", None), wrt=["x"]).SerializeToString()
    )
    x = np.ones(100, np.float32)
    feeds = {"x": x, "t": np.array(training), "igrt/cotangent/y": x}
    y, got = session.run(["y", "igrt/grad/x"], feeds)
    np.testing.assert_array_equal(got, y)


def test_dropout_in_training_without_a_mask_is_refused():
    with pytest.raises(UnsupportedOperator, match="drops elements at random"):
        differentiate(dropout("y", 1))  # without `normalize`, which asks for the mask


def test_dropout_in_training_that_drops_nothing():
    model = dropout("y", 1)
    model.graph.node[0].attribute[0].f = 0.0
    session = onnxruntime.InferenceSession(augment(model).SerializeToString())
    x = np.ones(100, np.float32)
    (got,) = session.run(["igrt/grad/x"], {"x": x, "igrt/cotangent/y": 2 * x})
    np.testing.assert_array_equal(got, 2 * x)


@pytest.mark.parametrize("training", [True, False])
def test_the_ratio_of_dropout_in_training(training):
    text = """
        <ir_version: 8, opset_import: ["": 18]>
        g (float[100] x, float r, bool t) => (float[100] y) { y = Dropout <seed = 1> (x, r, t) }
    """
    model = augment(parser.parse_model(text), wrt=["r"])
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x = np.linspace(1, 2, 100, dtype=np.float32)
    feeds = {"x": x, "r": np.array(0.25, np.float32), "t": np.array(training)}
    feeds["igrt/cotangent/y"] = x
    y, got = session.run(["y", "igrt/grad/r"], feeds)
    # y = m x/(1 - r) at the mask that was drawn, so dy/dr = y/(1 - r); a sum of 100 floats
    expected = (x.astype(np.float64) * y).sum() / 0.75 if training else 0.0
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert got.shape == () and (y == 0).any() == training


def test_the_ratio_of_dropout_gets_nothing():
    text = """
        <ir_version: 8, opset_import: ["": 18]>
        g (float[4] x, float r) => (float[4] y) { y = Dropout (x, r) }
    """
    outputs = [o.name for o in augment(parser.parse_model(text)).graph.output]
    assert outputs == ["y", "igrt/grad/x"]


@pytest.mark.parametrize("wrt", [[0], [2], [0, 2]])
def test_range(check_vjp, wrt):
    check_vjp("Range", np.array(0.3), np.array(2.9), np.array(0.5), wrt=wrt)


@pytest.mark.parametrize("used", ["a", "b"])
def test_split_with_parts_that_have_no_name(used):
    """onnxruntime 1.32 ends the process at such a Split; igrt gives the parts names."""
    model = parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": 13]> g (float[6] x) => (float[n] y)
        <int64[3] sizes = {{1, 3, 2}}> {{ a, b, c = Split (x, sizes)  y = Sin ({used}) }}"""
    )
    model.graph.node[0].output[:] = [name if name == used else "" for name in "abc"]
    session = onnxruntime.InferenceSession(augment(model).SerializeToString())
    x = np.arange(6, dtype=np.float32)
    place = {"a": slice(0, 1), "b": slice(1, 4)}[used]
    expected = np.zeros(6)
    expected[place] = np.cos(x[place])
    feeds = {"x": x, "igrt/cotangent/y": np.ones_like(x[place])}
    found = session.run(["igrt/grad/x"], feeds)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)  # float32
