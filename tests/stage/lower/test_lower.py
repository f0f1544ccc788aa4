"""Rewrites for onnxruntime: fewer nodes, the same numbers."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser

from igrt import augment
from igrt.graph.prune import prune
from igrt.stage.lower import lower

RNG = np.random.default_rng(0)


def parsed(body, stored=(), inputs="float[1, 2, 6, 6] x", output="y"):
    model = parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 18]> g ({inputs}) => (float {output}) {{ {body} }}'
    )
    model.graph.output[0].type.tensor_type.ClearField("shape")
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in stored)
    return model


def operators(model):
    return Counter(n.op_type for n in model.graph.node)


def run(model, feeds):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, feeds)[0]


# Clip


def clipped(low, high, wrapped="Conv(x, w)"):
    bounds = [np.float32(v) for v in (low, high)]
    kernel = np.eye(2, dtype=np.float32)[:, :, None, None]
    stored = [("lo", bounds[0]), ("hi", bounds[1]), ("w", kernel)]
    return parsed(f"k = {wrapped} y = Clip(k, lo, hi)", stored)


@pytest.mark.parametrize(("low", "high"), [(0, 6), (-1, 1), (-3, -0.5), (0.1, 0.7)])
def test_the_mask_of_a_clip_is_the_same_at_and_around_its_bounds(low, high):
    gradient = prune(augment(clipped(low, high)), ["igrt/grad/x"])
    lowered = lower(gradient)
    assert operators(lowered)["Equal"] == 0
    assert operators(gradient)["Equal"] == 1
    bounds = np.asarray([low, high], np.float32)
    around = [bounds, np.nextafter(bounds, np.float32(-9)), np.nextafter(bounds, np.float32(9))]
    x = np.resize(np.concatenate([*around, [0, 100, -100]]), (1, 2, 6, 6)).astype(np.float32)
    # the neighbours of 0 are subnormal, and kernels may flush them
    x[np.abs(x) < np.finfo(np.float32).tiny] = 0
    feeds = {"x": x, "igrt/cotangent/y": RNG.standard_normal(x.shape).astype(np.float32)}
    np.testing.assert_array_equal(run(lowered, feeds), run(gradient, feeds))


def test_what_is_clipped_keeps_its_value_to_the_last_digit():
    gradient = augment(clipped(0.1, 6))
    wanted = prune(gradient, ["y", "igrt/grad/x"])
    x = RNG.uniform(-9, 9, (1, 2, 6, 6)).astype(np.float32)
    feeds = {"x": x, "igrt/cotangent/y": np.ones_like(x)}
    # the neighbour of a bound is one unit in the last place away
    np.testing.assert_array_max_ulp(run(lower(wanted), feeds), run(wanted, feeds), maxulp=1)


@pytest.mark.parametrize("wrapped", ["Relu(x)", "Identity(x)"])
def test_a_clip_that_nothing_is_fused_with_stays(wrapped):
    gradient = prune(augment(clipped(0, 6, wrapped)), ["igrt/grad/x"])
    assert operators(lower(gradient)) == operators(gradient)


# sums of products


def abcd(body):
    return parsed(body, [("k", np.float32(0.1))], ", ".join(f"float[n, 5] {n}" for n in "abcd"))


@pytest.mark.parametrize(
    ("body", "products"),
    [
        ("s = Sigmoid(b) p = Mul(c, a) q = Mul(s, c) y = Add(p, q)", 1),
        ("s = Tanh(d) p = Mul(a, c) r = Mul(c, b) q = Mul(r, s) y = Add(p, q)", 2),
        ("t = Mul(d, d) u = Sub(k, t) s = Exp(u)"
         " r = Mul(s, c) q = Mul(b, r) p = Mul(c, a) y = Add(q, p)", 3),
    ],
)  # fmt: skip
def test_a_common_factor_leaves_a_sum(body, products):
    model = abcd(body)
    feeds = {n: RNG.standard_normal((4, 5)).astype(np.float32) for n in "abcd"}
    lowered = lower(model)
    assert operators(lowered)["Add"] == 1
    assert operators(lowered)["Mul"] == products == operators(model)["Mul"] - 1
    # a few roundings in another order, of numbers of order one
    np.testing.assert_allclose(run(lowered, feeds), run(model, feeds), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "body",
    [
        "s = Erf(d) p = Mul(c, a) q = Mul(b, s) y = Add(p, q)",
        "r = Erf(b) p = Mul(c, a) q = Mul(c, r) s = Add(p, q) y = Sub(s, p)",
        # 0 · 1e30 · 1e30 is 0, but 1e30 · 1e30 is infinite
        "p = Mul(c, a) r = Mul(c, b) q = Mul(r, d) y = Add(p, q)",
        "s = Exp(d) p = Mul(c, a) q = Mul(c, s) y = Add(p, q)",
    ],
)
def test_a_sum_of_other_products_stays(body):
    assert operators(lower(abcd(body))) == operators(abcd(body))


def test_the_model_itself_is_not_changed():
    gradient = prune(augment(clipped(0, 6)), ["igrt/grad/x"])
    before = gradient.SerializeToString()
    onnx.checker.check_model(lower(gradient))
    assert gradient.SerializeToString() == before


# depthwise ConvTranspose


@pytest.mark.parametrize(
    ("size", "window"),
    [
        ((7, 8), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ((8, 7), {"kernel_shape": [3, 2], "strides": [2, 3], "dilations": [2, 1]}),
        ((9,), {"kernel_shape": [5], "strides": [3], "pads": [2, 0]}),
        ((4, 5, 6), {"kernel_shape": [2, 1, 3], "strides": [2, 1, 2], "pads": [0, 0, 1] * 2}),
    ],
)
def test_a_strided_depthwise_gradient_is_a_convolution(size, window):
    w = RNG.standard_normal((16, 1, *window["kernel_shape"])).astype(np.float32)
    given = ", ".join(f"{k} = {v}" for k, v in window.items())
    sizes = ", ".join(map(str, size))
    model = parsed(f"y = Conv <group = 16, {given}> (x, w)", [("w", w)], f"float[n, 16, {sizes}] x")
    gradient = prune(augment(model), ["igrt/grad/x"])
    lowered = lower(gradient)
    assert operators(gradient)["ConvTranspose"] == 1
    assert operators(lowered)["ConvTranspose"] == 0
    x = RNG.standard_normal((2, 16, *size)).astype(np.float32)
    ct = RNG.standard_normal(run(model, {"x": x}).shape).astype(np.float32)
    feeds = {"x": x, "igrt/cotangent/y": ct}
    # the products are the same, and added in another order
    np.testing.assert_allclose(run(lowered, feeds), run(gradient, feeds), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "group", "stride", "size"),
    [(8, 8, 2, 7), (16, 8, 2, 7), (16, 16, 1, 7), (16, 16, 2, "m")],
)
def test_other_gradients_of_convolutions_stay(channels, group, stride, size):
    w = RNG.standard_normal((channels, channels // group, 3, 3)).astype(np.float32)
    model = parsed(
        f"y = Conv <group = {group}, strides = [{stride}, {stride}]> (x, w)",
        [("w", w)],
        f"float[n, {channels}, {size}, {size}] x",
    )
    gradient = prune(augment(model), ["igrt/grad/x"])
    assert operators(lower(gradient)) == operators(gradient)


def test_a_depthwise_transposed_convolution_of_the_model_stays():
    w = RNG.standard_normal((16, 1, 3, 3)).astype(np.float32)
    body = "y = ConvTranspose <group = 16, strides = [2, 2]> (x, w)"
    gradient = augment(parsed(body, [("w", w)], "float[n, 16, 5, 5] x"))
    assert operators(lower(gradient))["ConvTranspose"] == 1
