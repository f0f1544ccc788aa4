"""DeepLIFT: contributions add up to the change of every operator, and nothing unknown passes."""

import numpy as np
import pytest
from onnx import parser

import igrt
from igrt.errors import UnsupportedOperator
from igrt.methods import DeepLift
from igrt.specs import Sweep
from igrt.vjp.augment import differentiate

# some dozens of float32 operations, relative to the sizes that are added up
ROUNDING = 1e-5

HEAD = '<ir_version: 8, opset_import: ["" : 22]> m (float[n,4] x) => (float[n,o] y) '
STORED = (
    "<float[4,4] W = {1,-2,3,0.5, -1,1,2,-3, 0.25,1,-1,2, 3,-1,1,1}, float[4] b = {1,-1,0.5,2}, "
    "float[4,4] ones = {1,1,1,1, 1,1,1,1, 1,1,1,1, 1,1,1,1}, "
    "float[4] s = {0.1,0.2,0.3,-0.4}, float zero = {0}, float one = {1}, float two = {2}, "
    "int64[1] last = {1}, int64[4] shape = {0,1,2,2}, int64[2] flat = {0,-1}> "
)


def model(body):
    return parser.parse_model(HEAD + STORED + "{ " + body + " }")


def explain(body, x, baseline, target=0, **options):
    return igrt.explain(
        model(body),
        np.asarray(x, np.float32),
        baselines=np.asarray(baseline, np.float32),
        target=target,
        method=DeepLift(**options),
        provider="cpu",
    )


EVERYWHERE = {
    "Abs": "Abs(x)",
    "Asinh": "Asinh(x)",
    "Atan": "Atan(x)",
    "Celu": "Celu<alpha = 0.7>(x)",
    "Clip": "Clip(x, zero, one)",
    "Cos": "Cos(x)",
    "Cosh": "Cosh(x)",
    "Elu": "Elu(x)",
    "Erf": "Erf(x)",
    "Exp": "Exp(x)",
    "Gelu": "Gelu(x)",
    "HardSigmoid": "HardSigmoid(x)",
    "HardSwish": "HardSwish(x)",
    "LeakyRelu": "LeakyRelu<alpha = 0.3>(x)",
    "Max": "Max(x, s)",
    "Max-second": "Max(s, x)",
    "Min": "Min(zero, x)",
    "Mish": "Mish(x)",
    "PRelu": "PRelu(x, s)",
    "Pow": "Pow(x, two)",
    "Relu": "Relu(x)",
    "Selu": "Selu(x)",
    "Shrink": "Shrink<bias = 0.1>(x)",
    "Sigmoid": "Sigmoid(x)",
    "Sin": "Sin(x)",
    "Sinh": "Sinh(x)",
    "Softplus": "Softplus(x)",
    "Softsign": "Softsign(x)",
    "Tan": "Tan(x)",
    "Tanh": "Tanh(x)",
    "ThresholdedRelu": "ThresholdedRelu<alpha = 0.2>(x)",
}
INSIDE = {"Acos": "Acos(x)", "Asin": "Asin(x)", "Atanh": "Atanh(x)"}
POSITIVE = {"Log": "Log(x)", "Reciprocal": "Reciprocal(x)", "Sqrt": "Sqrt(x)"}
ABOVE = {"Acosh": "Acosh(x)"}
UNARY = [
    *((b, -1.4, 1.4) for b in EVERYWHERE.values()),
    *((b, -0.9, 0.9) for b in INSIDE.values()),
    *((b, 0.2, 2.0) for b in POSITIVE.values()),
    *((b, 1.1, 3.0) for b in ABOVE.values()),
]


@pytest.mark.parametrize(("body", "low", "high"), UNARY, ids=[b[0].split("(")[0] for b in UNARY])
def test_a_function_of_one_element_gets_its_change(body, low, high):
    x, x0 = np.random.default_rng(0).uniform(low, high, (2, 1, 4))
    found = explain(f"y = {body}", x, x0, target=2)
    change = found.output[0] - found.baseline_output[0]
    want = np.zeros(4)
    want[2] = change
    assert np.allclose(found.values["x"][0], want, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize(("body", "low", "high"), UNARY, ids=[b[0].split("(")[0] for b in UNARY])
def test_the_derivative_where_nothing_changes(body, low, high):
    """z = x0 + x1 is the same at both ends, so contributions are f'(z)·(1, -1)·step."""
    z, step, h = low + 0.37 * (high - low), 0.25, 1e-3
    applied = body.replace("(x", "(z").replace(", x)", ", z)")
    body = f"z = MatMul(x, ones) y = {applied}"
    x, x0 = [[z, 0, 0, 0]], [[z - step, step, 0, 0]]
    found = explain(body, x, x0, target=0, epsilon=1e-4).values["x"][0]
    ends = [[z + h, 0, 0, 0], [z - h, 0, 0, 0]]
    up, down = (explain(body, [e], [e]).output[0] for e in ends)
    slope = (up - down) / (2 * h)
    # float32 outputs, rounded by 1e-7, over the step 2e-3, and a curvature of h² = 1e-6
    assert np.allclose(found, np.array([slope, -slope, 0, 0]) * step, atol=1e-3)


WINNERS = {
    "overlapping": "MaxPool<kernel_shape = [2,2], pads = [1,1,0,0]>(p)",
    "padded": "MaxPool<kernel_shape = [2,2], strides = [2,2], pads = [1,1,1,1]>(p)",
    "apart": "MaxPool<kernel_shape = [2,2], strides = [2,2]>(p)",
    "global": "GlobalMaxPool(p)",
}


@pytest.mark.parametrize("body", WINNERS.values(), ids=WINNERS)
def test_a_maximum_gives_its_change_to_the_elements_that_made_it(body):
    rng = np.random.default_rng(1)
    whole = f"h = MatMul(x, W) p = Reshape(h, shape) w = {body} y = Reshape(w, flat)"
    for _ in range(3):
        x, x0 = rng.normal(size=(2, 2, 4))
        found = explain(whole, x, x0)
        # contributions to h, in a slow form: window 0 holds the elements `member`
        member = {"overlapping": [0], "padded": [0]}
        key = next(k for k, v in WINNERS.items() if v == body)
        weights = np.array([[1, -2, 3, 0.5], [-1, 1, 2, -3], [0.25, 1, -1, 2], [3, -1, 1, 1]])
        for row in range(2):
            h, h0 = x[row] @ weights, x0[row] @ weights
            at = member.get(key, [0, 1, 2, 3])
            y, y0 = h[at].max(), h0[at].max()
            most = max(y, y0)
            m = np.zeros(4)
            i, i0 = at[int(h[at].argmax())], at[int(h0[at].argmax())]
            m[i] += (most - y0) / (h[i] - h0[i])
            m[i0] += (y - most) / (h[i0] - h0[i0])
            want = (weights @ m) * (x[row] - x0[row])
            assert np.allclose(found.values["x"][row], want, rtol=1e-4, atol=1e-4)
        assert np.abs(found.delta).max() <= ROUNDING * 10


NETWORKS = {
    "mlp": "h = Gemm(x, W, b) r = Relu(h) k = Gemm(r, W, s) t = Tanh(k) y = MatMul(t, W)",
    "residual": "h = Gemm(x, W, b) r = Relu(h) k = Add(r, x) t = Sigmoid(k) y = MatMul(t, W)",
    "twice": "h = MatMul(x, W) r = Relu(h) t = Softplus(h) c = Concat<axis = 1>(r, t, x) "
    "y = ReduceSum(c, last)",
    "normalised": "v = Abs(b) h = MatMul(x, W) c = BatchNormalization(h, b, s, s, v) r = Relu(c) "
    "y = MatMul(r, W)",
    "shift": "h = Sub(b, x) k = Div(h, b) q = Mul(k, s) r = LeakyRelu(q) y = MatMul(r, W)",
    "shaped": "d = Shape(x) h = Reshape(x, d) r = Relu(h) e = Expand(r, d) y = MatMul(e, W)",
    "most": "h = MatMul(x, W) r = ReduceMax(h, last) t = Softsign(r) y = Mul(t, b)",
}


@pytest.mark.parametrize("body", NETWORKS.values(), ids=NETWORKS)
def test_contributions_sum_to_the_change(body):
    rng = np.random.default_rng(2)
    x, x0 = rng.normal(size=(2, 6, 4))
    found = explain(body, x, x0)
    scale = np.abs(found.values["x"]).sum(axis=1) + 1
    assert (np.abs(found.delta) <= ROUNDING * scale).all()
    assert np.abs(found.output - found.baseline_output).mean() > 0.1


def test_input_and_baseline_may_be_the_same():
    found = explain(NETWORKS["mlp"], [[1, 2, 3, 4]], [[1, 2, 3, 4]])
    assert found.values["x"].tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize("kind", ["float", "float16", "double"])
def test_element_types(kind):
    """The threshold is a number of the type: in float16, 1e-7 is one of the smallest."""
    text = HEAD.replace("float[", f"{kind}[") + "{ r = Tanh(x) q = Relu(r) y = Identity(q) }"
    dtype = {"float": np.float32, "float16": np.float16, "double": np.float64}[kind]
    x = np.array([[0.5, 1.0, -1.0, 2.0]], dtype)
    found = igrt.explain(parser.parse_model(text), x, method="deeplift", target=1, provider="cpu")
    want = max(np.tanh(1.0), 0.0)
    assert abs(found.values["x"][0, 1] - want) <= 4 * np.finfo(dtype).eps


def test_an_inner_tensor_and_several_inputs():
    text = (
        '<ir_version: 8, opset_import: ["" : 18]> m (float[n,2] x, float[n,2] z) => (float[n,2] y) '
        "{ h = Mul(x, x) r = Relu(h) q = Tanh(z) s = Add(r, q) y = Sigmoid(s) }"
    )
    built = parser.parse_model(text)
    feeds = {n: np.array([[0.5, -1.5]], np.float32) for n in "xz"}
    with pytest.raises(UnsupportedOperator, match=r"Mul.*multiplies two tensors"):
        igrt.explain(built, feeds, method="deeplift", target=0, provider="cpu")
    found = igrt.explain(built, feeds, method="deeplift", target=0, wrt=["h", "z"], provider="cpu")
    assert set(found.values) == {"h", "z"}
    assert abs(found.delta[0]) <= ROUNDING
    # both reach the Sigmoid as what they change: 0.25 and tanh 0.5
    ratio = found.values["h"][0, 0] / found.values["z"][0, 0]
    assert abs(ratio - 0.25 / np.tanh(0.5)) <= ROUNDING


def test_without_a_batch_axis():
    text = (
        '<ir_version: 8, opset_import: ["" : 18]> m (float[3,2] x) => (float y) '
        "{ r = Relu(x) t = Sigmoid(r) y = ReduceSum<keepdims = 0>(t) }"
    )
    x = np.random.default_rng(3).normal(size=(3, 2)).astype(np.float32)
    found = igrt.explain(parser.parse_model(text), x, method="deeplift", provider="cpu")
    want = 1 / (1 + np.exp(-np.maximum(x, 0))) - 0.5
    assert np.allclose(found.values["x"], want, atol=ROUNDING)


REFUSED = {
    "Softmax": ("y = Softmax(x)", "Softmax.*logits"),
    "LayerNormalization": ("y = LayerNormalization(x, b)", "LayerNormalization"),
    "product": ("r = Tanh(x) y = Mul(x, r)", "Mul.*multiplies two"),
    "square": ("y = Mul(x, x)", "Mul.*multiplies two"),
    "attention": ("t = Transpose(x) h = MatMul(x, t) y = MatMul(h, x)", "2 nodes(.|\n)*MatMul"),
    "quotient": ("r = Exp(x) y = Div(one, r)", "Div.*divides"),
    "mask": ("c = Greater(x, zero) y = Where(c, x, s)", "2 nodes(.|\n)*Greater(.|\n)*Where"),
    "factor": ("g = Greater(x, zero) c = Cast<to = 1>(g) y = Mul(c, x)", "Greater"),
    "rounding": ("r = Round(x) y = Add(r, x)", "Round"),
    "maximum": ("r = Tanh(x) y = Max(r, x)", "Max.*compares several"),
    "exponent": ("e = Abs(x) y = Pow(two, e)", "Pow"),
    "position": ("i = ArgMax<axis = 1>(x) g = Gather(b, i) y = Add(x, g)", "ArgMax"),
    "norm": ("y = ReduceL2(x, last)", "ReduceL2"),
}


@pytest.mark.parametrize(("body", "pattern"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_rule_is_refused_by_name(body, pattern):
    with pytest.raises(UnsupportedOperator, match=pattern) as caught:
        explain(body, [[1, 2, 3, 4]], [[0, 0, 0, 0]])
    assert "DeepLIFT has no rule" in caught.value.message
    assert caught.value.hint


def test_the_forward_graph_of_the_model_is_left_alone():
    built = model(NETWORKS["residual"])
    plain, compared = (differentiate(built, sweep=s) for s in (Sweep(), Sweep("deeplift", 1e-7)))
    assert plain.references == {}
    assert compared.references == {"x": "igrt/baseline/x"}
    assert [i.name for i in compared.model.graph.input] == [
        *("x", "igrt/baseline/x", "igrt/cotangent/y")
    ]
    nodes = len(built.graph.node)
    assert compared.model.graph.node[:nodes] == plain.model.graph.node[:nodes]
