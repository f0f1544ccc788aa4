"""Rules that move data by index against finite differences."""

import numpy as np
import onnxruntime
import pytest
from onnx import parser

from igrt.vjp.augment import augment


def ints(*values):
    return np.array(values, dtype=np.int64)


def operators(model):
    """Operators of the gradient graph."""
    return {n.op_type for n in model.graph.node if n.output[0].startswith("igrt/")}


# -- Gather ---------------------------------------------------------------------------------------

GATHERS = {
    "one": 2,
    "the last": -1,
    "one in a list": [1],
    "a range": [1, 2, 3],
    "every other": [0, 2, 4],
    "backwards": [3, 2, 1],
    "from the end": [-3, -2],
    "everything": [0, 1, 2, 3, 4],
    "a permutation": [3, 1, 4, 0, 2],
    "some": [4, 0, 3],
    "negative and positive": [-1, 0, 3],
    "repeated": [1, 1, 3],
    "the same everywhere": [2] * 40,
    "a table": [[0, 4], [2, 2], [-1, 1]],
    "none": [],
}


@pytest.mark.parametrize("case", GATHERS)
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("fed", [(), (1,)])
def test_gather(check_vjp, rng, case, axis, fed):
    x = rng.standard_normal((5, 5, 5))
    indices = np.array(GATHERS[case], dtype=np.int64)
    check_vjp("Gather", x, indices, axis=axis, fed=fed, symbolic=["static", "all"])


@pytest.mark.parametrize("opset", [7, 11, 26])
def test_gather_at_other_opsets(check_vjp, rng, opset):
    x, indices = rng.standard_normal((2, 4)), np.array([[0, 3]], dtype=np.int32)
    check_vjp("Gather", x, indices, axis=1, opset=opset)
    check_vjp("Gather", x, indices, axis=1, opset=opset, fed=[1])


def test_gather_of_a_vector(check_vjp, rng):
    check_vjp("Gather", rng.standard_normal(4), ints(3, 3, 0))
    check_vjp("Gather", rng.standard_normal(4), np.array(2))


GATHER = """
    <ir_version: 8, opset_import: ["": 18]>
    g ({dtype}[N, 5, 4] x) => ({dtype}[N, {shape}] y) {{
        at = Constant <value = int64{indices}> ()
        y = Gather <axis = 1> (x, at)
    }}
"""


@pytest.mark.parametrize(
    "shape, indices, used",
    [
        ("4", " {0}", {"Unsqueeze", "Pad"}),
        ("2, 4", "[2] {3, 4}", {"Pad"}),
        ("5, 4", "[5] {0, 1, 2, 3, 4}", set()),
        ("5, 4", "[5] {3, 1, 4, 0, 2}", {"Gather"}),
        ("3, 4", "[3] {3, 1, 4}", {"Pad", "Gather"}),
        ("3, 4", "[3] {3, 1, 1}", {"Pad", "Gather", "ReduceSum"}),
    ],
)
def test_gather_by_known_indices_is_cheap(shape, indices, used):
    model = augment(parser.parse_model(GATHER.format(dtype="float", shape=shape, indices=indices)))
    assert operators(model) - {"Shape", "Concat"} == used | {"Identity"}


@pytest.mark.parametrize("fed", [False, True])
def test_gather_in_float16(fed):
    text = GATHER.format(dtype="float16", shape="3, 4", indices="[3] {3, 1, 1}")
    if fed:
        text = text.replace("x)", "x, int64[3] at)").replace(
            "at = Constant <value = int64[3] {3, 1, 1}> ()", ""
        )
    session = onnxruntime.InferenceSession(augment(parser.parse_model(text)).SerializeToString())
    feeds = {
        "x": np.zeros((2, 5, 4), np.float16),
        "igrt/cotangent/y": np.ones((2, 3, 4), np.float16),
    }
    (got,) = session.run(["igrt/grad/x"], feeds | ({"at": ints(3, 1, 1)} if fed else {}))
    want = np.zeros((2, 5, 4), np.float16)
    want[:, 1], want[:, 3] = 2, 1
    assert got.dtype == np.float16
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("fed", [(), (1,)])
def test_gather_elements(check_vjp, rng, axis, fed):
    shape = [3, 3, 3]
    shape[axis] = 4
    indices = rng.integers(-3, 3, size=shape)
    check_vjp("GatherElements", rng.standard_normal((3, 3, 3)), indices, axis=axis, fed=fed)


@pytest.mark.parametrize(
    "batch_dims, indices",
    [
        (0, [[0, 1], [1, 0], [0, 1]]),
        (0, [[1], [-1]]),
        (0, [[[0, 1, 2]], [[1, -1, -1]]]),
        (1, [[1], [0]]),
        (1, [[[1, 0], [1, 0]], [[2, -1], [0, 0]]]),
        (2, [[[1], [0], [3]], [[2], [-1], [3]]]),
    ],
)
@pytest.mark.parametrize("fed", [(), (1,)])
def test_gather_nd(check_vjp, rng, batch_dims, indices, fed):
    x = rng.standard_normal((2, 3, 4))
    check_vjp("GatherND", x, np.array(indices), batch_dims=batch_dims, fed=fed)


# -- scatter --------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("fed", [(), (1,)])
def test_scatter_elements(check_vjp, rng, axis, reduction, fed):
    x = rng.standard_normal((3, 3))
    # along the axis; without a reduction every element is written at most once
    indices = np.array([[0, -1, 1], [1, 0, 2]]) if reduction == "none" else np.zeros((2, 3), int)
    indices = indices if axis == 0 else indices.T
    u = rng.standard_normal(indices.shape)
    modes = ["static", "all"] if fed else ["static", "batch"]
    given = {"axis": axis, "reduction": reduction, "fed": fed, "symbolic": modes}
    check_vjp("ScatterElements", x, indices, u, **given)


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("indices", [[[0], [2]], [[0, 1], [1, -1]], [[[1]], [[0]]]])
@pytest.mark.parametrize("repeat", [1, 2])
def test_scatter_nd(check_vjp, rng, reduction, indices, repeat):
    # which of two updates wins without a reduction is not defined
    indices = np.array(indices * (1 if reduction == "none" else repeat))
    x = rng.standard_normal((3, 2, 2))
    u = rng.standard_normal(indices.shape[:-1] + x.shape[indices.shape[-1] :])
    check_vjp("ScatterND", x, indices, u, reduction=reduction)
    check_vjp("ScatterND", x, indices, u, reduction=reduction, fed=[1], symbolic=["all"])


@pytest.mark.parametrize("opset", [11, 13, 16])
def test_scatter_at_older_opsets(check_vjp, rng, opset):
    x, u = rng.standard_normal((3, 2)), rng.standard_normal((1, 2))
    check_vjp("ScatterElements", x, ints([1, 0]), u, opset=opset)
    check_vjp("ScatterND", x, ints([2]), u, opset=opset)


# The reference evaluator has no Scatter; in GatherElements and ScatterElements it knows no negative
# axis and no indices that leave out rows of the other axes.
BY_ELEMENT = """
    <ir_version: 8, opset_import: ["": {opset}]>
    g (float[3, 3] x, int64[2, 2] at, float[2, 2] u) => ({result} y) {{ y = {node} }}
"""


@pytest.mark.parametrize(
    "opset, node",
    [
        (9, "Scatter <axis = 1> (x, at, u)"),
        (11, "ScatterElements <axis = 1> (x, at, u)"),
        (18, 'ScatterElements <axis = -1, reduction = "add"> (x, at, u)'),
    ],
)
def test_scatter_of_fewer_rows(opset, node):
    text = BY_ELEMENT.format(opset=opset, result="float[3, 3]", node=node)
    session = onnxruntime.InferenceSession(
        augment(parser.parse_model(text), wrt=["x", "u"]).SerializeToString()
    )
    ct = np.arange(1, 10, dtype=np.float32).reshape(3, 3)
    feeds = {"x": 0 * ct, "u": ct[:2, :2], "at": ints([2, 0], [1, 2]), "igrt/cotangent/y": ct}
    x, u = session.run(["igrt/grad/x", "igrt/grad/u"], feeds)
    np.testing.assert_array_equal(u, [[3, 1], [5, 6]])
    np.testing.assert_array_equal(x, ct if "add" in node else [[0, 2, 0], [4, 0, 0], [7, 8, 9]])


def test_gather_of_fewer_rows():
    text = BY_ELEMENT.format(
        opset=18, result="float[2, 2]", node="GatherElements <axis=-1> (x, at)"
    )
    session = onnxruntime.InferenceSession(
        augment(parser.parse_model(text), wrt=["x"]).SerializeToString()
    )
    feeds = {
        "x": np.zeros((3, 3), np.float32),
        "u": np.zeros((2, 2), np.float32),
        "at": ints([2, 2], [1, -1]),
        "igrt/cotangent/y": np.float32([[1, 2], [3, 4]]),
    }
    (x,) = session.run(["igrt/grad/x"], feeds)
    np.testing.assert_array_equal(x, [[0, 0, 3], [0, 3, 4], [0, 0, 0]])


SCATTER = """
    <ir_version: 8, opset_import: ["": 18]>
    g (float[3] x, float[2] u) => (float[3] y) {{
        at = Constant <value = int64[2, 1] {{1, 1}}> ()
        y = ScatterND <reduction = "{reduction}"> (x, at, u)
    }}
"""


def scatter_gradients(reduction, x, u):
    model = augment(parser.parse_model(SCATTER.format(reduction=reduction)))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    feeds = {"x": np.float32(x), "u": np.float32(u), "igrt/cotangent/y": np.float32([1, 6, 1])}
    return [g.tolist() for g in session.run(["igrt/grad/x", "igrt/grad/u"], feeds)]


@pytest.mark.parametrize("reduction", ["max", "min"])
def test_ties_share_equally(reduction):
    assert scatter_gradients(reduction, [9, 5, 9], [5, 5]) == [[1, 2, 1], [2, 2]]


@pytest.mark.parametrize(
    "u, want",
    [
        ([2, 3], [[1, 36, 1], [36, 24]]),
        ([0, 3], [[1, 0, 1], [36, 0]]),
        ([0, 0], [[1, 0, 1], [0, 0]]),
    ],
)
def test_products_with_zeros(u, want):
    # x is 2, ȳ is 6: ū₀ = 6·2·u₁
    assert scatter_gradients("mul", [7, 2, 7], u) == [want[0], [6 * 2 * u[1], 6 * 2 * u[0]]]


# -- the others -----------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("condition", [[1, 0, 1], [0, 1], [1, 1, 1], [0, 0, 0]])
@pytest.mark.parametrize("fed", [(), (1,)])
def test_compress(check_vjp, rng, axis, condition, fed):
    given = {} if axis is None else {"axis": axis}
    condition = np.array(condition, dtype=bool)
    check_vjp("Compress", rng.standard_normal((3, 4)), condition, fed=fed, **given)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_cumsum(check_vjp, rng, axis, exclusive, reverse):
    given = {"exclusive": exclusive, "reverse": reverse}
    check_vjp("CumSum", rng.standard_normal((3, 4)), np.array(axis), **given)
    check_vjp("CumSum", rng.standard_normal((3, 4)), np.array(axis), fed=[1], **given)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_one_hot_values(check_vjp, rng, axis):
    indices = np.array([[0, 2, -1], [5, 1, 1]])
    values = rng.standard_normal(2)
    # onnxruntime wants depth and indices of the types that go together in its kernels
    check_vjp("OneHot", indices, np.array(3), values, axis=axis, wrt=[2], oracle=_one_hot(axis))


def _one_hot(axis):
    # the reference evaluator wraps indices beyond the depth, which are off everywhere
    def forward(indices, depth, values):
        wrapped = np.where(indices < 0, indices + depth, indices)
        hot = wrapped[..., None] == np.arange(depth)
        hot = np.moveaxis(hot, -1, axis)
        return [np.where(hot, values[1], values[0])]

    return forward


@pytest.mark.parametrize("batch_axis, time_axis", [(0, 1), (1, 0)])
def test_reverse_sequence(check_vjp, rng, batch_axis, time_axis):
    x = rng.standard_normal((4, 4, 2))
    given = {"batch_axis": batch_axis, "time_axis": time_axis}
    check_vjp("ReverseSequence", x, ints(1, 4, 3, 2), **given)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("opset", [11, 18, 24])
def test_topk(check_vjp, rng, axis, largest, opset):
    # distinct values: at a tie, which element is taken is not defined
    x = rng.permutation(60).reshape(3, 4, 5) / 7.0
    given = {"axis": axis, "largest": largest, "sorted": 1, "opset": opset, "outputs": 2}
    check_vjp("TopK", x, ints(2), of=[0], **given)
    check_vjp("TopK", x, ints(2), of=[0], fed=[1], **given)


def test_topk_of_opset_10(check_vjp, rng):
    check_vjp("TopK", rng.permutation(12).reshape(3, 4) / 7.0, ints(2), outputs=2, of=[0], opset=10)


@pytest.mark.parametrize("dims", [("4, 3", "3, 2", "3, 2"), ("A, B", "C, D", "E, F")])
@pytest.mark.parametrize(
    "node, at",
    [
        ("ScatterElements", [[0, 2], [3, 2], [0, 1]]),
        ("ScatterElements <axis = 1>", [[0, 0], [2, 1], [1, 1]]),
        ("ScatterND", [[0, 2], [3, 1], [0, 2]]),
        ("ScatterND", [[1], [0], [1]]),
    ],
)
def test_the_last_update_of_a_place_takes_the_gradient(node, at, dims):
    """Graph networks exported below opset 16 scatter several edges into one node, unreduced."""
    at = np.array(at)
    slices = "ND" in node
    shape = (*at.shape[:-1], *((3,) if at.shape[1] == 1 else ())) if slices else at.shape
    x_dims, at_dims, u_dims = dims
    if slices:
        at_dims = f"{at_dims.split(',')[0]}, {at.shape[1]}"
        u_dims = ", ".join([*u_dims.split(", "), "G"][: len(shape)]).replace("2", "3")
    text = f"""<ir_version: 8, opset_import: ["": 18]>
        g (float[{x_dims}] x, int64[{at_dims}] at, float[{u_dims}] u) => (float[{x_dims}] y) {{
            y = {node} (x, at, u) }}"""
    model = parser.parse_model(text)
    forward = onnxruntime.InferenceSession(model.SerializeToString())
    x, ct = np.zeros((4, 3), np.float32), np.arange(1, 13, dtype=np.float32).reshape(4, 3)
    # linear in u: the derivative in one element is the change that a 1 there makes
    want = np.zeros(shape, np.float32)
    for where in np.ndindex(shape):
        u = np.zeros(shape, np.float32)
        u[where] = 1
        want[where] = (ct * forward.run(None, {"x": x, "at": at, "u": u})[0]).sum()
    session = onnxruntime.InferenceSession(augment(model, wrt=["u"]).SerializeToString())
    feeds = {"x": x, "at": at, "u": want, "igrt/cotangent/y": ct}
    feeds = {i.name: feeds[i.name] for i in session.get_inputs()}
    np.testing.assert_array_equal(session.run(["igrt/grad/u"], feeds)[0], want)
    assert (want == 0).any()


@pytest.mark.parametrize("outputs", [1, 4])
def test_unique(check_vjp, rng, outputs):
    check_vjp("Unique", rng.standard_normal((3, 4)), outputs=outputs, of=[0])


@pytest.mark.parametrize("axis", [0, -1])
def test_unique_rows(check_vjp, rng, axis):
    check_vjp("Unique", rng.standard_normal((3, 4)), axis=axis, sorted=1)


def test_unique_gives_to_the_first_of_equals(gradient):
    x = np.float32([3, 1, 3, 1, 2])
    ct = np.array([10.0, 20.0, 30.0])
    np.testing.assert_array_equal(gradient("Unique", x, ct=ct), [30, 10, 0, 0, 20])
    np.testing.assert_array_equal(gradient("Unique", x, ct=ct, sorted=0), [10, 20, 0, 0, 30])


def test_scatter_by_its_name_before_opset_11(gradient):
    x, indices = np.zeros((2, 3), np.float32), np.array([[1, 0, 1]])
    updates, ct = np.ones((1, 3), np.float32), np.arange(6.0).reshape(2, 3)
    got = gradient("Scatter", x, indices, updates, ct=ct, opset=9, axis=0)
    np.testing.assert_array_equal(got, [[0, 0, 2], [0, 4, 0]])
