"""Gradient graphs of whole nets: nothing dead, nothing twice, no pass that is not needed."""

import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from igrt.vjp.augment import augment

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gradient.py"


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
