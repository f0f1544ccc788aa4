"""LRP against the paper's formula, layer by layer in float64, and what is refused."""

from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser

import igrt
from igrt.errors import UnsupportedOperator
from igrt.methods import LRP

# float32 through three layers, divided by preactivations that epsilon keeps away from zero
FLOAT32 = 1e-4
EPSILON = 0.1
SIZES = [5, 8, 6, 3]


def layers(rng):
    return [
        (rng.normal(size=(i, o)).astype(np.float32), rng.normal(size=o).astype(np.float32))
        for i, o in pairwise(SIZES)
    ]


def network(weights, activation, *, gemm):
    """MLP with an activation between its layers; biases in a Gemm or in an Add behind a MatMul."""
    nodes, stored, name = [], [], "x"
    for k, (w, b) in enumerate(weights):
        last = k == len(weights) - 1
        stored += [numpy_helper.from_array(w, f"w{k}"), numpy_helper.from_array(b, f"b{k}")]
        z = "y" if last else f"z{k}"
        if gemm:
            nodes.append(helper.make_node("Gemm", [name, f"w{k}", f"b{k}"], [z]))
        else:
            nodes.append(helper.make_node("MatMul", [name, f"w{k}"], [f"p{k}"]))
            nodes.append(helper.make_node("Add", [f"p{k}", f"b{k}"], [z]))
        if not last:
            name = f"a{k}"
            nodes.append(helper.make_node(activation, [z], [name]))
    ends = [
        helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n", size])
        for n, size in (("x", SIZES[0]), ("y", SIZES[-1]))
    ]
    graph = helper.make_graph(nodes, "mlp", ends[:1], ends[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def by_the_paper(weights, function, x, target):
    """Bach et al. 2015, eq. 58: R_i = Σ_j x_i·w_ij / (z_j + ε·sign z_j)·R_j."""
    activations, sums = [x.astype(np.float64)], []
    for k, (w, b) in enumerate(weights):
        sums.append(activations[-1] @ w.astype(np.float64) + b)
        activations.append(sums[-1] if k == len(weights) - 1 else function(sums[-1]))
    relevance = np.where(np.arange(SIZES[-1]) == target, activations[-1], 0.0)
    for (w, _), a, z in reversed(list(zip(weights, activations[:-1], sums, strict=True))):
        share = relevance / (z + EPSILON * np.where(z >= 0, 1.0, -1.0))
        relevance = a * (w.astype(np.float64) @ share)
    return relevance


@pytest.mark.parametrize("gemm", [True, False], ids=["gemm", "matmul-add"])
@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("Relu", lambda z: np.maximum(z, 0)),
        ("Tanh", np.tanh),
        ("LeakyRelu", lambda z: np.where(z > 0, z, 0.01 * z)),
        ("Softsign", lambda z: z / (1 + np.abs(z))),
        ("HardSwish", lambda z: z * np.clip(z / 6 + 0.5, 0, 1)),
        ("Abs", np.abs),
    ],
)
def test_layer_by_layer(activation, function, gemm):
    rng = np.random.default_rng(0)
    weights, x = layers(rng), rng.normal(size=(4, SIZES[0])).astype(np.float32)
    found = igrt.explain(
        network(weights, activation, gemm=gemm),
        x,
        target=1,
        method=LRP(epsilon=EPSILON),
        provider="cpu",
    )
    for row in range(len(x)):
        want = by_the_paper(weights, function, x[row], 1)
        scale = np.abs(want).sum()
        assert np.abs(found.values["x"][row] - want).sum() <= FLOAT32 * scale


def test_with_relu_it_is_gradient_times_input():
    """Ancona et al. 2018, prop. 1, up to epsilon."""
    rng = np.random.default_rng(1)
    model = network(layers(rng), "Relu", gemm=True)
    x = rng.normal(size=(4, SIZES[0])).astype(np.float32)
    found = [
        igrt.explain(model, x, target=0, method=m, provider="cpu").values["x"]
        for m in (LRP(epsilon=1e-9), "input_x_gradient")
    ]
    assert np.allclose(*found, rtol=FLOAT32, atol=FLOAT32)


HEAD = '<ir_version: 8, opset_import: ["" : 18]> m (float[n,3] x) => (float[n,o] y) '
STORED = (
    "<float[3,3] W = {1,-2,3, -1,1,2, 0.25,1,-1}, float[3] b = {1,-1,0.5}, float zero = {0}, "
    "float one = {1}, float two = {2}, float less = {-1}, float half = {0.5}, int64[1] last = {1}> "
)


def relevance(body, x, target=0, **options):
    model = parser.parse_model(HEAD + STORED + "{ " + body + " }")
    x = np.asarray([x], np.float32)
    method = LRP(**options)
    return igrt.explain(model, x, target=target, method=method, provider="cpu").values["x"][0]


KEPT = {
    "linear": "h = MatMul(x, W) y = ReduceSum(h, last)",
    "tanh": "h = MatMul(x, W) t = Tanh(h) y = ReduceSum(t, last)",
    "clipped": "h = MatMul(x, W) t = Clip(h, less, two) y = ReduceSum(t, last)",
    "squared": "h = MatMul(x, W) t = Pow(h, two) y = ReduceSum(t, last)",
    "capped": "h = MatMul(x, W) t = Min(two, h) y = ReduceSum(t, last)",
    "winner": "h = MatMul(x, W) t = Tanh(h) y = ReduceMax(t, last)",
    "pair": "h = MatMul(x, W) t = Max(h, x) y = ReduceSum(t, last)",
    "residual": "h = MatMul(x, W) t = Tanh(h) k = Add(t, x) y = MatMul(k, W)",
    "last": "h = MatMul(x, W) y = Tanh(h)",
}


@pytest.mark.parametrize("body", KEPT.values(), ids=KEPT)
def test_relevance_is_kept_without_biases(body):
    x = [1.5, -0.5, 2.0]
    model = parser.parse_model(HEAD + STORED + "{ " + body + " }")
    found = igrt.explain(model, np.float32([x]), target=0, method="lrp", provider="cpu")
    # epsilon = 1e-6 beside preactivations of order one, and the rounding of float32
    assert abs(found.values["x"].sum() - found.output[0]) <= 2e-5 * np.abs(found.values["x"]).sum()
    assert abs(found.output[0]) > 0.1


def test_a_bias_keeps_its_share():
    """y = 2·x0 + 1 at x0 = 3: R = 7·6/7, and the bias has the remaining 1."""
    found = relevance("h = Gather<axis = 1>(x, last) k = Mul(h, two) y = Add(k, one)", [0, 3, 0])
    assert np.allclose(found, [0, 6, 0], atol=1e-5)


def test_the_sign_of_zero_is_one():
    """tanh 0 over 0 + epsilon is 0, not a quotient of zeros."""
    assert relevance("y = Tanh(x)", [0.0, 1.0, 2.0]).tolist() == [0.0, 0.0, 0.0]


REFUSED = {
    "Sigmoid": ("y = Sigmoid(x)", "Sigmoid.*not 0 at 0"),
    "Exp": ("y = Exp(x)", "Exp.*not 0 at 0"),
    "Clip": ("y = Clip(x, one, two)", "Clip.*not 0 at 0"),
    "Max": ("y = Max(x, one)", "Max.*not 0 at 0"),
    "Pow": ("h = Abs(x) y = Pow(h, half)", "Pow.*not 0 at 0"),
    "product": ("t = Tanh(x) y = Mul(t, x)", "Mul.*multiplies two"),
    "Softmax": ("y = Softmax(x)", "Softmax.*logits"),
    "norm": ("y = LpNormalization(x)", "LpNormalization.*not linear"),
    "mask": ("c = Less(x, one) y = Where(c, x, b)", "Less(.|\n)*Where"),
}


@pytest.mark.parametrize(("body", "pattern"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_rule_is_refused_by_name(body, pattern):
    with pytest.raises(UnsupportedOperator, match=pattern) as caught:
        relevance(body, [1, 2, 3])
    assert "LRP has no rule" in caught.value.message
    assert caught.value.hint
