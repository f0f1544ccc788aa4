"""One evaluation is exact for affine and bias-free piecewise linear models, and only there."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import parser

import igrt
from igrt.stage import constant_gradient

HEAD = '<ir_version: 8, opset_import: ["" : 18]> m (float[N,4] x) => (float[N,3] y) '
WEIGHTS = (
    "<float[4,4] W = {1,-2,3,0.5, -1,1,2,-3, 0.25,1,-1,2, 3,-1,1,1}, float[4] b = {1,-1,0.5,2}, "
)
V = "float[4,3] V = {1,2,-3, -1,1,0.5, 2,-2,1, 1,1,-1}, float zero = {0}, float one = {1}, "
V += "int64[1] two = {2}, int64[1] first = {1}, int64[1] second = {1}, int64[4] four = {0,2,5,7}, "
V += "float[3] b3 = {1,-2,3}, float[4] nil = {0,0,0,0}, float[4] var = {1,2,3,0.5}, "
V += "int64[2] pair = {3,0}, int64[2,1] at = {2,1}, float[3] scales = {1,1,2}, float half = {0.5}> "
SCATTER = "{ t = Transpose(x) h = MatMul(x, W) r = Relu(h) u = Transpose(r) p = Gather(u, pair) "

AFFINE = {
    "matmul": "{ h = MatMul(x, W) c = Add(h, b) y = MatMul(c, V) }",
    "gemm": "{ h = Gemm(x, W, b) y = MatMul(h, V) }",
    "scaled": "{ h = Mul(x, b) g = Sub(h, one) k = Div(g, b) y = MatMul(k, V) }",
}
HOMOGENEOUS = {
    "relu": "{ h = MatMul(x, W) r = Relu(h) y = MatMul(r, V) }",
    "leaky": "{ h = MatMul(x, W) r = LeakyRelu<alpha=0.3>(h) y = MatMul(r, V) }",
    "maximum": "{ h = MatMul(x, W) r = Max(h, x) s = Abs(r) y = MatMul(s, V) }",
    "residual": "{ h = MatMul(x, W) r = Relu(h) s = Add(r, x) y = MatMul(s, V) }",
    "where": "{ c = Greater(x, zero) h = MatMul(x, W) r = Where(c, h, x) y = MatMul(r, V) }",
    "clip": "{ h = MatMul(x, W) r = Clip(h, zero) y = MatMul(r, V) }",
    "top": "{ h = MatMul(x, W) t, i = TopK(h, two) s = ReduceSum(t, first) y = Mul(s, b3) }",
    "unshifted": "{ h = MatMul(x, W) n = BatchNormalization(h, b, nil, nil, var) r = Relu(n) "
    "y = MatMul(r, V) }",
    "scattered": SCATTER + "s = ScatterND(t, at, p) v = Transpose(s) y = MatMul(v, V) }",
    "resized": "{ h = MatMul(x, W) r = Relu(h) u = Unsqueeze(r, first) "
    "z = Resize(u, , scales) m = ReduceMean<keepdims=0>(z, second) g = Gather<axis=1>(m, four) "
    "y = MatMul(g, V) }",
}
NEITHER = {
    "bias": "{ h = Gemm(x, W, b) r = Relu(h) y = MatMul(r, V) }",
    "tanh": "{ h = MatMul(x, W) r = Tanh(h) y = MatMul(r, V) }",
    "square": "{ h = Mul(x, x) y = MatMul(h, V) }",
    "ratio": "{ h = MatMul(x, W) r = Relu(h) s = Add(r, one) q = Div(r, s) y = MatMul(q, V) }",
    "clip": "{ h = MatMul(x, W) r = Clip(h, zero, one) y = MatMul(r, V) }",
    "threshold": "{ c = Greater(x, one) h = MatMul(x, W) r = Where(c, h, x) y = MatMul(r, V) }",
    "maximum": "{ h = MatMul(x, W) r = Max(h, one) y = MatMul(r, V) }",
    "shifted": "{ h = MatMul(x, W) n = BatchNormalization(h, b, nil, b, var) r = Relu(n) "
    "y = MatMul(r, V) }",
    "multiplied": SCATTER + 's = ScatterND<reduction = "mul">(t, at, p) v = Transpose(s) '
    "y = MatMul(v, V) }",
    # as many times the sum as there are numbers above a threshold: it is a size that varies
    "counted": "{ c = Greater(x, half) k = NonZero(c) n = Shape(k) l = Gather(n, first) "
    "f = Cast<to=1>(l) h = Mul(x, f) y = MatMul(h, V) }",
}


def gradient_graph(body):
    model = parser.parse_model(HEAD + WEIGHTS + V + body)
    augmented = igrt.augment(model)
    keep = [o for o in augmented.graph.output if o.name.startswith("igrt/grad")]
    del augmented.graph.output[:]
    augmented.graph.output.extend(keep)
    return model, augmented


def varies(augmented):
    """Whether the gradient differs between points of some ray from zero."""
    session = ort.InferenceSession(
        augmented.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 4)).astype(np.float32)
    ct = rng.normal(size=(50, 3)).astype(np.float32)
    found = [session.run(None, {"x": a * x, "igrt/cotangent/y": ct})[0] for a in (0.1, 0.5, 1.0)]
    # rounding of float32: the same numbers up to a scale
    return any(not np.allclose(f, found[-1], rtol=1e-5, atol=1e-5) for f in found)


@pytest.mark.parametrize("name", AFFINE)
def test_affine_models_need_one_evaluation_on_any_path(name):
    model, augmented = gradient_graph(AFFINE[name])
    assert constant_gradient(augmented, ["x"])
    x = np.array([[1, -2, 0.5, 3]], np.float32)
    result = igrt.explain(model, x, baselines=0.7, target=1)
    assert result.evaluations.tolist() == [1]
    assert result.rule == "constant"
    assert result.error.tolist() == [0]
    # float32 sums of a few products of order ten
    assert abs(result.delta[0]) < 1e-5


@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_networks_without_biases_need_one_evaluation_from_zero(name):
    model, augmented = gradient_graph(HOMOGENEOUS[name])
    assert not varies(augmented)
    assert constant_gradient(augmented, ["x"], from_zero=True)
    assert not constant_gradient(augmented, ["x"])
    x = np.array([[1, -2, 0.5, 3]], np.float32)
    one = igrt.explain(model, x, target=1)
    many = igrt.explain(model, x, target=1, n_steps=64)
    assert one.evaluations.tolist() == [1]
    np.testing.assert_allclose(one.values["x"], many.values["x"], rtol=1e-5)
    assert igrt.explain(model, x, target=1, baselines=0.1).evaluations[0] > 1


@pytest.mark.parametrize("name", NEITHER)
def test_other_models_are_integrated(name):
    _, augmented = gradient_graph(NEITHER[name])
    assert varies(augmented)
    assert not constant_gradient(augmented, ["x"], from_zero=True)


def test_a_steps_count_that_is_asked_for_is_kept():
    model, _ = gradient_graph(AFFINE["gemm"])
    x = np.ones((1, 4), np.float32)
    assert igrt.explain(model, x, target=0, n_steps=9).evaluations.tolist() == [9]


def test_random_nodes_never_count_as_constant():
    text = '<ir_version: 8, opset_import: ["" : 18]> m (float[3] x) => (float[3] y) '
    model = parser.parse_model(text + "{ r = RandomUniformLike(x) y = Add(r, r) }")
    onnx.checker.check_model(model)
    assert not constant_gradient(model, ["x"], from_zero=True)
