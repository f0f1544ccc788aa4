"""Properties that hold for every model of a kind, on drawn models and paths."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import parser

import igrt
from igrt.methods import ExpectedGradients

FEW = settings(max_examples=25, deadline=None)
EPS = float(np.finfo(np.float32).eps)


def model(text):
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": 18]> g {text}')


def vectors(*shape):
    number = st.floats(-2, 2, width=32, allow_subnormal=False)
    return hnp.arrays(np.float32, shape, elements=number)


# weights are inputs that are not attributed, so that one session serves all of them
INDEX = """(float[N, 4] x, float[N, 4] w, float[N, 1] c) => (float[N, 1] y)
   <int64[1] axis = {1}> { p = Mul(w, x)  s = ReduceSum(p, axis)  t = Add(s, c)  PHI }"""
PHI = {
    "tanh": ("y = Tanh(t)", np.tanh),
    "sigmoid": ("y = Sigmoid(t)", lambda t: 1 / (1 + np.exp(-t))),
    "softplus": ("y = Softplus(t)", lambda t: np.log1p(np.exp(t))),
    "relu": ("y = Relu(t)", lambda t: np.maximum(t, 0)),
    "exp": ("y = Exp(t)", np.exp),
}
SINGLE = {n: igrt.Explainer(model(INDEX.replace("PHI", b)), wrt=["x"]) for n, (b, _) in PHI.items()}


@pytest.mark.parametrize("name", PHI)
@given(x=vectors(1, 4), b=vectors(1, 4), w=vectors(1, 4), c=vectors(1, 1))
@FEW
def test_a_single_index_shares_its_change_by_weight_times_displacement(name, x, b, w, c):
    """F = φ(w·x + c): IG_i = w_i d_i / (w·d) · (F(x) - F(b)) with d = x - b."""
    phi = PHI[name][1]
    x64, b64, w64, c64 = (a.astype(np.float64) for a in (x, b, w, c))
    shares = w64 * (x64 - b64)
    total = shares.sum()
    assume(abs(total) > 1e-2)
    change = phi((w64 * x64).sum() + c64) - phi((w64 * b64).sum() + c64)
    want = shares / total * change
    result = SINGLE[name].explain({"x": x, "w": w, "c": c}, baselines=b, tolerance=1e-3)
    size = np.abs(want).sum()
    # t is rounded relative to the sum of its terms, and φ moves by at most its slope there
    terms = max(np.abs(w64 * x64).sum(), np.abs(w64 * b64).sum()) + np.abs(c64).sum()
    scale = max(1, *(float(phi(t)) for t in (terms,))) if name == "exp" else 1
    # around a kink rounding decides on which side a node is: one node's weight of the whole slope
    rounding = 16 * EPS * (1 + terms) * scale * max(1, np.abs(shares).sum())
    assert np.abs(result.values["x"] - want).sum() <= 2 * result.error[0] * size + 2 * rounding
    assert abs(result.output[0] - phi((w64 * x64).sum() + c64).item()) <= rounding


QUADRATIC = igrt.Explainer(
    model(
        """(float[N, 3] x, float[N, 3, 3] A, float[N, 3] b) => (float[N, 1] y)
           <int64[1] one = {1}, int64[1] two = {2}>
           { c = Unsqueeze(x, two)  h = MatMul(A, c)  v = Squeeze(h, two)  s = Add(v, b)
             p = Mul(s, x)  y = ReduceSum(p, one) }"""
    ),
    wrt=["x"],
)


@pytest.mark.parametrize("rule", ["midpoint", "gauss_legendre"])
@given(x=vectors(2, 3), b=vectors(2, 3), a=vectors(2, 3, 3), c=vectors(2, 3))
@FEW
def test_a_quadratic_form_is_exact_with_one_evaluation_in_the_middle(rule, x, b, a, c):
    """F = xᵀA x + c·x: IG_i = d_i ((A + Aᵀ) m + c)_i with m in the middle."""
    x64, b64, a64, c64 = (v.astype(np.float64) for v in (x, b, a, c))
    middle = (x64 + b64) / 2
    slope = np.einsum("nij,nj->ni", a64 + a64.transpose(0, 2, 1), middle) + c64
    result = QUADRATIC.explain({"x": x, "A": a, "b": c}, baselines=b, rule=rule, n_steps=1)
    assert result.evaluations.tolist() == [1, 1]
    # some ten products of numbers up to 2, added up, times a displacement up to 4
    np.testing.assert_allclose(
        result.values["x"], (x64 - b64) * slope, rtol=0, atol=64 * 4 * 4 * EPS
    )


NET = model(
    """(float[N, 5] x) => (float[N, 3] y)
       <float[5, 4] W = {0.3, -1.1, 0.7, 0.2, 0.9, 0.4, -0.6, 1.3, -0.8, 0.5, 0.1, -0.2,
                         1.2, -0.7, 0.6, 0.3, -0.4, 0.8, -1.5, 0.9},
        float[4, 3] V = {1, -1, 0.5, 2, -1.5, 0.3, 0.8, 0.6, -0.9, 0.2, 1.1, -0.7}>
       { h = MatMul(x, W)  r = Relu(h)  t = Tanh(r)  z = MatMul(t, V)  y = Softmax(z) }"""
)
ONE_THREAD, TWO_THREADS = (igrt.Explainer(NET, threads=n) for n in (1, 2))
INNER = igrt.Explainer(NET, threads=1, wrt=["r"])
KINDS = {
    "integrated gradients": (ONE_THREAD, {"tolerance": 1e-2}),
    "a fixed rule": (ONE_THREAD, {"n_steps": 9}),
    "expected gradients": (ONE_THREAD, {"method": ExpectedGradients(draws=11)}),
    "conductance": (INNER, {"method": "conductance", "tolerance": 1e-2}),
    "internal influence": (INNER, {"method": "internal_influence", "n_steps": 9}),
}


def values(explainer, x, options, **more):
    result = explainer.explain(x, **options, **more)
    (found,) = result.values.values()
    return found, result.evaluations


@pytest.mark.parametrize("kind", KINDS)
@given(
    x=vectors(6, 5),
    order=st.permutations(range(6)),
    chunk=st.integers(2, 40),
    classes=st.lists(st.integers(0, 2), min_size=6, max_size=6),
)
@settings(max_examples=8, deadline=None)
def test_neither_order_nor_chunk_changes_the_answer(kind, x, order, chunk, classes):
    explainer, options = KINDS[kind]
    one = {"internal_batch_size": 1}
    want, spent = values(explainer, x, options, target=classes, **one)
    turned, turned_spent = values(
        explainer, x[order], options, target=[classes[i] for i in order], **one
    )
    # with rows run alone on one thread there is nothing that could differ
    np.testing.assert_array_equal(turned, want[order])
    np.testing.assert_array_equal(turned_spent, spent[order])
    again, _ = values(explainer, x, options, target=classes, **one)
    np.testing.assert_array_equal(again, want)
    chunked, chunked_spent = values(
        explainer, x, options, target=classes, internal_batch_size=chunk
    )
    # onnxruntime multiplies matrices of another height in another order, and a gradient rounded
    # otherwise may decide otherwise where the adaptive rules evaluate next
    same = chunked_spent == spent
    np.testing.assert_allclose(chunked[same], want[same], rtol=0, atol=256 * EPS)


@given(x=vectors(6, 5), chunk=st.integers(1, 40))
@settings(max_examples=8, deadline=None)
def test_threads_do_not_change_the_answer(x, chunk):
    options = {"n_steps": 9, "target": 0, "internal_batch_size": chunk}
    one, two = (e.explain(x, **options).values["x"] for e in (ONE_THREAD, TWO_THREADS))
    np.testing.assert_allclose(two, one, rtol=0, atol=256 * EPS)
