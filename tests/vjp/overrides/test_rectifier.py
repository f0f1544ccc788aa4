"""DeconvNet and guided back-propagation against their formulas in NumPy, and what is refused."""

import numpy as np
import pytest
from onnx import parser

import igrt
from igrt.errors import UnsupportedOperator

HEAD = '<ir_version: 8, opset_import: ["" : 18]> m (float[n,4] x) => (float[n,4] y) '
STORED = "<float[4,4] W = {1,-2,3,0.5, -1,1,2,-3, 0.25,1,-1,2, 3,-1,1,1}"
W = np.array([[1, -2, 3, 0.5], [-1, 1, 2, -3], [0.25, 1, -1, 2], [3, -1, 1, 1]])
X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
# a dozen float32 operations on numbers of order ten
ROUNDING = 1e-4


def explain(body, method, stored=""):
    model = parser.parse_model(HEAD + STORED + stored + "> { " + body + " }")
    return igrt.explain(model, X, target=2, method=method, provider="cpu").values["x"]


def sweep(method, open_):
    """y = W₃ᵀ relu(W₂ᵀ relu(W₁ᵀ x)) with the same W three times."""
    h1 = X @ W
    h2 = np.maximum(h1, 0) @ W
    ct = np.tile(W[:, 2], (len(X), 1))
    for h in (h2, h1):
        rectified = np.maximum(ct, 0)
        ct = (rectified if open_ else np.where(h > 0, rectified, 0)) @ W.T
    return ct


@pytest.mark.parametrize(("method", "open_"), [("deconvolution", True), ("guided_backprop", False)])
def test_equal_to_the_formula(method, open_):
    body = "h = MatMul(x, W) r = Relu(h) k = MatMul(r, W) q = Relu(k) y = MatMul(q, W)"
    assert np.allclose(explain(body, method), sweep(method, open_), atol=ROUNDING)


def test_a_maximum_behind_a_relu_does_not_close_it():
    """Plain gradients apply the mask of the Relu at the pooled size; DeconvNet has no mask."""
    stored = ", int64[4] shape = {0,1,2,2}, int64[2] flat = {0,-1}, float[1,4] V = {1,-2,3,0.5}"
    stored += ", float three = {3}"
    body = (
        "m = MatMul(x, W) h = Sub(m, three) r = Relu(h) p = Reshape(r, shape) "
        "w = MaxPool<kernel_shape = [2,2], strides = [2,2]>(p) f = Reshape(w, flat) "
        "y = MatMul(f, V)"
    )
    found = explain(body, "deconvolution", stored)
    h = X @ W - 3
    first = np.maximum(h, 0).argmax(axis=1)  # the first of several zeros
    assert (h.max(axis=1) <= 0).any()
    assert np.allclose(found, 3 * W[:, first].T, atol=ROUNDING)


@pytest.mark.parametrize("method", ["deconvolution", "guided_backprop"])
@pytest.mark.parametrize("name", ["LeakyRelu", "Elu", "Tanh"])
def test_other_activations_keep_their_derivatives(method, name):
    body = f"h = MatMul(x, W) r = {name}(h) y = MatMul(r, W)"
    assert np.array_equal(explain(body, method), explain(body, "gradients"))


@pytest.mark.parametrize("method", ["deconvolution", "guided_backprop"])
def test_a_relu_that_the_rule_cannot_reach_is_refused(method):
    stored = ", bool yes = {1}"
    body = (
        "y = If (yes) <then_branch = t () => (float[n,4] u) { u = Relu(x) }, "
        "else_branch = e () => (float[n,4] v) { v = Identity(x) }>"
    )
    with pytest.raises(UnsupportedOperator, match="If") as caught:
        explain(body, method, stored)
    assert caught.value.hint
    assert np.array_equal(explain(body, "gradients", stored), np.eye(4)[[2] * 6] * (X > 0))
    recurrent = (
        '<ir_version: 8, opset_import: ["" : 18]> m (float[s,n,2] x) => (float[s,1,n,2] y) '
        "<float[1,2,2] W = {1,2,3,4}, float[1,2,2] R = {1,0,0,1}> "
        '{ y = RNN<hidden_size = 2, activations = ["Relu"]>(x, W, R) }'
    )
    x = np.ones((3, 1, 2), np.float32)
    with pytest.raises(UnsupportedOperator, match="RNN"):
        igrt.explain(
            parser.parse_model(recurrent), x, target=(0, 0, 0, 0), method=method, provider="cpu"
        )
