"""Gradient graphs of whole nets: nothing dead, nothing twice, no pass that is not needed."""

import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from igrt.errors import IgrtError
from igrt.graph import load
from igrt.graph.normalize import normalize
from igrt.vjp.augment import augment, differentiate

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gradient.py"
MODELS = [
    *sorted((ROOT / "models").glob("*/*.onnx")),
    *sorted((ROOT.parent / "shared" / "data" / "models").glob("*.onnx")),
]


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("benchmark_gradient", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=["resnet", "transformer"])
def anchor(request, bench):
    torch = pytest.importorskip("torch", reason="the anchor nets are exported by torch")
    torch.manual_seed(0)
    net, example = bench.NETS[request.param]()
    forward = bench.export(net.eval(), example)
    return request.param, forward, augment(forward)


def emitted(model):
    return Counter(n.op_type for n in model.graph.node if n.output[0].startswith("igrt/"))


def test_nothing_is_dead_or_computed_twice(bench, anchor):
    _, forward, model = anchor
    assert bench.dead_nodes(model) == 0
    assert bench.repeated_nodes(model) == bench.repeated_nodes(forward)


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_gradients_of_real_models_have_no_node_too_many(bench, path):
    forward = normalize(load(path).model)
    try:
        model = differentiate(forward).model
    except IgrtError as error:
        pytest.skip(f"no gradient: {type(error).__name__}")
    assert bench.dead_nodes(model) == bench.dead_nodes(forward)
    own = {o for n in forward.graph.node for o in n.output}
    made = [n for n in model.graph.node if own.isdisjoint(n.output)]
    assert made
    # by name: a node that reads what an exporter computed twice is not a repetition of ours
    seen, outputs = set(), {o.name for o in model.graph.output}
    for node in model.graph.node:
        attributes = sorted(a.SerializeToString(deterministic=True) for a in node.attribute)
        key = (node.domain, node.op_type, *node.input, *attributes, len(node.output))
        # two tensors may share their gradient, and an output needs a name of its own
        named = node.op_type == "Identity" and node.output[0] in outputs
        assert named or key not in seen or not own.isdisjoint(node.output), node
        seen.add(key)
    assert all(n.output[0] in outputs for n in made if n.op_type == "Identity")


def test_the_counters_see_what_they_count(bench, anchor):
    _, _, model = anchor
    worse = onnx.ModelProto.FromString(model.SerializeToString())
    for node in [n for n in worse.graph.node if n.op_type in ("Relu", "Erf")]:
        again = worse.graph.node.add()
        again.CopyFrom(node)
        again.output[0] = f"{node.output[0]}/again"
    added = len(worse.graph.node) - len(model.graph.node)
    assert added > 0
    assert bench.dead_nodes(worse) == added
    assert bench.repeated_nodes(worse) - bench.repeated_nodes(model) == added


def test_forward_nodes_stay(anchor):
    _, forward, model = anchor
    ours = [n for n in model.graph.node if not n.output[0].startswith("igrt/")]
    assert [(n.op_type, n.input, n.output) for n in ours] == [
        (n.op_type, n.input, n.output) for n in forward.graph.node
    ]


def test_residual_net_clips_once_and_scales_kernels(anchor):
    name, forward, model = anchor
    if name != "resnet":
        pytest.skip("of the convolutional net")
    count = emitted(model)
    kinds = Counter(n.op_type for n in forward.graph.node)
    assert count["Conv"] + count["ConvTranspose"] == kinds["Conv"]
    # of the cotangent that is fed; Conv, masks and sums behind it leave finite what is finite
    assert count["Clip"] == 1
    # the scales of BatchNormalization go into the kernels, [out, 1, 1, 1] wide: no Mul of images
    weights = {t.name for t in model.graph.initializer}
    scaled = [n for n in model.graph.node if n.op_type == "Mul" and n.input[0] in weights]
    assert len(scaled) == kinds["BatchNormalization"]


def chain(*nodes, shape, stored=(), opset=18):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", 1, shape)],
        [helper.make_tensor_value_info("y", 1, [None] * len(shape))],
        [numpy_helper.from_array(a, n) for n, a in stored],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 10
    return model


def gradient(model, x):
    session = onnxruntime.InferenceSession(augment(model).SerializeToString())
    return session.run(["igrt/grad/x"], {"x": x, "igrt/cotangent/y": np.ones_like(x)})[0]


def test_an_infinite_cotangent_from_a_singular_operator_is_still_masked():
    # 1/r² at the r = 0 behind the first Relu overflows float32, after the Clip of the second one
    model = chain(
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Reciprocal", ["r"], ["s"]),
        helper.make_node("Relu", ["s"], ["y"]),
        shape=[3],
    )
    got = gradient(model, np.array([-1.0, 0.0, 2.0], np.float32))
    np.testing.assert_array_equal(got, np.array([0.0, 0.0, -0.25], np.float32))


@pytest.mark.parametrize("dtype, clips", [("FLOAT", 1), ("FLOAT16", 2)])
def test_masks_in_a_row_clip_once_except_where_overflow_is_near(dtype, clips):
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Relu", ["r"], ["y"])]
    model = chain(*nodes, shape=[3])
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = getattr(onnx.TensorProto, dtype)
    assert emitted(augment(model))["Clip"] == clips


@pytest.mark.parametrize("strides, group", [([1, 1], 1), ([2, 2], 1), ([1, 1], 2), ([2, 2], 2)])
def test_scale_of_a_normalisation_goes_into_the_kernel(strides, group):
    torch = pytest.importorskip("torch", reason="the oracle is torch's autograd in float64")
    rng = np.random.default_rng(5)
    w = rng.standard_normal((6, 4 // group, 3, 3))
    gamma, beta, mean = rng.standard_normal((3, 6))
    var = rng.uniform(0.5, 2.0, 6)
    x = rng.standard_normal((2, 4, 7, 6))
    stored = [("w", w), ("s", gamma), ("b", beta), ("m", mean), ("v", var)]
    model = chain(
        helper.make_node("Conv", ["x", "w"], ["c"], strides=strides, pads=[1] * 4, group=group),
        helper.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["y"]),
        shape=["n", 4, 7, 6],
        stored=[(n, a.astype(np.float32)) for n, a in stored],
    )
    leaf = torch.tensor(x, requires_grad=True)
    wide = [torch.tensor(a) for a in (w, mean, var, gamma, beta)]
    convolved = torch.conv2d(leaf, wide[0], stride=strides, padding=1, groups=group)
    y = torch.nn.functional.batch_norm(convolved, *wide[1:])
    ct = rng.standard_normal(tuple(y.shape))
    (want,) = torch.autograd.grad(y, leaf, torch.tensor(ct))
    session = onnxruntime.InferenceSession(augment(model).SerializeToString())
    feeds = {"x": x.astype(np.float32), "igrt/cotangent/y": ct.astype(np.float32)}
    (got,) = session.run(["igrt/grad/x"], feeds)
    # float32: sums of 54 products of order one, each rounded to 6e-8
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-4, atol=2e-5)


def run(model, feeds, *names):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(list(names), feeds)


POOL = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}


def rectified_pool(*more, shape, last="p"):
    """Relu and MaxPool of x, its Relu's output maybe read by others too."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("MaxPool", ["r"], [last], **POOL),
        *more,
    ]
    return chain(*nodes, shape=shape)


def by_indices(x, ct):
    """The gradient by the Indices of onnxruntime's own MaxPool: with respect to r, and to x."""
    r = np.maximum(x, 0)
    pool = helper.make_node("MaxPool", ["x"], ["y", "i"], **POOL)
    graph = chain(pool, shape=x.shape).graph
    graph.output.append(helper.make_tensor_value_info("i", 7, [None] * 4))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    (indices,) = run(model, {"x": r}, "i")
    spread = np.zeros(x.size, np.float32)
    np.add.at(spread, indices.ravel(), ct.ravel())
    spread = spread.reshape(x.shape)
    return spread, spread * (x > 0)


@pytest.mark.parametrize("wrt", [["x"], ["r"], ["x", "r"]])
def test_a_relu_is_masked_behind_its_pool_unless_its_own_gradient_is_wanted(wrt):
    rng = np.random.default_rng(3)
    # whole numbers, most of them negative: many windows of zeros only, and many ties
    x = rng.integers(-6, 3, (2, 3, 9, 8)).astype(np.float32)
    model = augment(rectified_pool(shape=x.shape, last="y"), wrt=wrt)
    (y,) = run(model, {"x": x, "igrt/cotangent/y": np.zeros((2, 3, 5, 4), np.float32)}, "y")
    ct = rng.integers(-4, 5, y.shape).astype(np.float32)
    names = [f"igrt/grad/{n}" for n in wrt]
    got = run(model, {"x": x, "igrt/cotangent/y": ct}, *names)
    of_r, of_x = by_indices(x, ct)
    assert (of_r != of_x).any()
    for name, gradient_of in zip(wrt, got, strict=True):
        np.testing.assert_array_equal(gradient_of, of_x if name == "x" else of_r)
    masks = [n for n in model.graph.node if n.op_type == "Greater"]
    assert len(masks) == ("x" in wrt)
    if wrt == ["x"]:
        assert masks[0].input[0] == "y"


def test_a_relu_that_others_read_is_masked_as_ever():
    rng = np.random.default_rng(4)
    x = rng.integers(-4, 4, (1, 2, 6, 6)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMax", ["r"], ["m"]),
        helper.make_node("Mul", ["p", "m"], ["y"]),
    ]
    model = augment(rectified_pool(*nodes, shape=x.shape))
    masks = [n for n in model.graph.node if n.op_type == "Greater"]
    assert [n.input[0] for n in masks] == ["r"]


def test_relus_that_a_concat_joins_are_masked_behind_the_pool():
    rng = np.random.default_rng(5)
    x = rng.integers(-6, 4, (2, 4, 9, 7)).astype(np.float32)
    model = chain(
        helper.make_node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
        helper.make_node("Relu", ["a"], ["ra"]),
        helper.make_node("Relu", ["b"], ["rb"]),
        helper.make_node("Concat", ["ra", "rb"], ["c"], axis=1),
        helper.make_node("MaxPool", ["c"], ["y"], **POOL),
        shape=x.shape,
    )
    model = augment(model)
    ct = rng.integers(-4, 5, (2, 4, 5, 4)).astype(np.float32)
    (got,) = run(model, {"x": x, "igrt/cotangent/y": ct}, "igrt/grad/x")
    np.testing.assert_array_equal(got, by_indices(x, ct)[1])
    assert [n.input[0] for n in model.graph.node if n.op_type == "Greater"] == ["y"]


@pytest.mark.parametrize(
    "order, gap, want",
    [
        ((0, 1, 2), 0, {"Concat": 1}),
        ((2, 0, 1), 0, {"Concat": 1}),
        ((0, 1), 1, {"Concat": 1, "Pad": 1}),
        ((0, 2), 0, {"Pad": 2, "Add": 1}),
        ((0, 0), 0, {"Pad": 2, "Add": 1}),
    ],
)
def test_neighbouring_parts_are_joined_by_one_concat(order, gap, want):
    nodes = []
    for place, part in enumerate(order):
        begin, end, out = f"n{part + gap}", f"n{part + gap + 1}", f"s{place}"
        nodes.append(helper.make_node("Slice", ["x", begin, end, "n1"], [out]))
        nodes.append(helper.make_node("Mul", [out, f"w{place}"], [f"m{place}"]))
    nodes.append(helper.make_node("Sum", [f"m{i}" for i in range(len(order))], ["y"]))
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((3, 2, 1)).astype(np.float32)
    stored = [(f"n{i}", np.array([i])) for i in range(5)]
    stored += [(f"w{i}", w) for i, w in enumerate(weights)]
    model = augment(chain(*nodes, shape=[2, 4], stored=stored))
    want_gradient = np.zeros((2, 4), np.float32)
    for place, part in enumerate(order):
        want_gradient[:, part + gap] += weights[place, :, 0]
    x, ct = rng.standard_normal((2, 4)).astype(np.float32), np.ones((2, 1), np.float32)
    (got,) = run(model, {"x": x, "igrt/cotangent/y": ct}, "igrt/grad/x")
    np.testing.assert_array_equal(got, want_gradient)
    count = emitted(model)
    whole = {"Pad": 1} if want == {"Concat": 1} else {}  # of 4 columns 3 are read
    assert {n: count[n] for n in ("Concat", "Pad", "Add") if count[n]} == want | whole


def test_numbers_go_where_they_cost_no_pass():
    rng = np.random.default_rng(1)
    w = rng.standard_normal((4, 4)).astype(np.float32)
    model = chain(
        helper.make_node("Div", ["x", "root"], ["t"]),
        helper.make_node("Erf", ["t"], ["e"]),
        helper.make_node("Add", ["e", "one"], ["p"]),
        helper.make_node("Mul", ["x", "p"], ["q"]),
        helper.make_node("Mul", ["q", "half"], ["g"]),
        helper.make_node("MatMul", ["g", "w"], ["y"]),
        shape=[3, 4],
        stored=[
            ("root", np.float32(np.sqrt(2))),
            ("one", np.float32(1)),
            ("half", np.float32(0.5)),
            ("w", w),
        ],
    )
    augmented = augment(model)
    count = emitted(augmented)
    # of Gelu: ȳ·p, ȳ·x, t·t and the product with the slope of Erf
    assert (count["Mul"], count["Div"]) == (4, 0)
    (gemm,) = [n for n in augmented.graph.node if n.op_type == "Gemm"]
    assert {a.name: a.f for a in gemm.attribute if a.name == "alpha"} == {"alpha": 0.5}
    torch = pytest.importorskip("torch", reason="the oracle is torch's autograd in float64")
    x, ct = rng.standard_normal((2, 3, 4))
    leaf = torch.tensor(x, requires_grad=True)
    y = torch.nn.functional.gelu(leaf) @ torch.tensor(w.astype(np.float64))
    (want,) = torch.autograd.grad(y, leaf, torch.tensor(ct))
    feeds = {"x": x.astype(np.float32), "igrt/cotangent/y": ct.astype(np.float32)}
    (got,) = run(augmented, feeds, "igrt/grad/x")
    # float32: some ten operations of 6e-8 each on numbers of order one
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-5, atol=2e-6)


def test_a_slope_at_the_end_of_the_range_is_not_made_larger():
    # 1/√(3·x) at the 0 behind a Relu: the slope is the largest number there, the cotangent fed is 0
    model = chain(
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Mul", ["r", "three"], ["m"]),
        helper.make_node("Pow", ["m", "p"], ["y"]),
        shape=[2],
        stored=[("three", np.float32(3)), ("p", np.float32(-0.5))],
    )
    feeds = {"x": np.float32([-1, 3]), "igrt/cotangent/y": np.float32([0, 1])}
    (got,) = run(augment(model), feeds, "igrt/grad/x")
    # y′ = -3/2·(3·x)^(-3/2)
    np.testing.assert_allclose(got, [0.0, -1 / 18], rtol=1e-6)
