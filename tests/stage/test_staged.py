"""Explanations are the same whether the gradient graph runs in parts or as a whole."""

from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper, parser

import igrt
from igrt import engine, staged
from igrt.errors import NonFiniteError

MODELS = Path(__file__).parents[2] / "models"

# float32 sums in another order, relative to the largest attribution of the example
SAME = 2e-6


@pytest.fixture(autouse=True)
def free_runs(monkeypatch):
    """Parts serve however small the network."""
    monkeypatch.setattr(engine, "_RUN", 0.0)


def model(text, **weights):
    """A float32 model; weights are drawn at random where only a shape is given."""
    rng = np.random.default_rng(3)
    made = parser.parse_model('<ir_version: 8, opset_import: ["" : 18]> ' + text)
    for name, shape in weights.items():
        array = shape if isinstance(shape, np.ndarray) else 0.3 * rng.normal(size=shape)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        made.graph.initializer.append(numpy_helper.from_array(array, name))
    return made


def rows(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def both(made, inputs, **options):
    """The same explanation in parts and as a whole."""
    found = []
    for staging in (True, False):
        explainer = igrt.Explainer(made, provider="cpu", threads=1)
        explainer._integrator.staging = staging
        found.append(explainer.explain(inputs, **options))
    return found


def agree(in_parts, whole, same=SAME):
    for name, values in whole.values.items():
        scale = np.abs(values).max()
        assert np.abs(in_parts.values[name] - values).max() <= same * scale
    assert np.array_equal(in_parts.evaluations, whole.evaluations)
    assert whole.provenance["staged"] == ""


WIDE = "m (float[N,300] x) => (float[N,3] y) { h = Gemm(x, W, B) r = Tanh(h) y = MatMul(r, V) }"
STEM = """m (float[N,3,20,20] x) => (float[N,4] y) {
    c = Conv<strides=[2,2], pads=[3,3,3,3]>(x, W, B) r = Softplus(c)
    p = AveragePool<kernel_shape=[2,2], strides=[2,2]>(r) q = GlobalAveragePool(p)
    t = Flatten(q) y = MatMul(t, V)
}"""
PAIR = """m (float[N,300] x, float[N,300] z) => (float[N,3] y) {
    a = Gemm(x, W, B) s = Mul(z, z) b = MatMul(s, U) t = Add(a, b) r = Tanh(t) y = MatMul(r, V)
}"""
WITH_MASK = """m (float[N,T,40] x, int64[N,T] seen) => (float[N,2] y)
<int64[1] one={1}, float never={-inf}, float zero={0}, int64 whole={0}> {
    w = Cast<to=9>(seen) m = Where(w, zero, never) u = Unsqueeze(m, one)
    q = MatMul(x, Q) k = MatMul(x, K) kt = Transpose<perm=[0,2,1]>(k)
    s = MatMul(q, kt) a = Add(s, u) p = Softmax(a) v = MatMul(x, U) o = MatMul(p, v)
    g = ReduceMean<keepdims=0>(o, one) y = MatMul(g, V)
}"""
WITHOUT_BATCH = """m (float[300] x) => (float[3] y) {
    h = MatMul(x, W) r = Tanh(h) y = MatMul(r, V)
}"""
# each row is compared with the mean of all of them
LEANING = """m (float[N,300] x) => (float[N,3] y) <int64[1] zero={0}> {
    h = Gemm(x, W, B) m = ReduceMean(h, zero) d = Sub(h, m) r = Tanh(d) e = Tanh(h) s = Add(r, e)
    y = MatMul(s, V)
}"""

CASES = {
    "wide": (model(WIDE, W=(300, 5), B=5, V=(5, 3)), {"x": rows(3, 300)}),
    "stem": (model(STEM, W=(8, 3, 7, 7), B=8, V=(8, 4)), {"x": rows(3, 3, 20, 20)}),
    "pair": (
        model(PAIR, W=(300, 5), U=(300, 5), B=5, V=(5, 3)),
        {"x": rows(3, 300), "z": 0.1 * rows(3, 300, seed=1)},
    ),
    "without batch": (model(WITHOUT_BATCH, W=(300, 5), V=(5, 3)), {"x": rows(300)}),
    "leaning": (model(LEANING, W=(300, 5), B=5, V=(5, 3)), {"x": rows(3, 300)}),
}


@pytest.mark.parametrize("options", [{}, {"n_steps": 9, "rule": "trapezoid"}, {"n_steps": 15}])
@pytest.mark.parametrize("case", CASES)
def test_parts_explain_as_the_whole_does(case, options):
    made, inputs = CASES[case]
    in_parts, whole = both(made, inputs, target=1, baselines=[None, 0.5], **options)
    agree(in_parts, whole)
    assert "prologue" in in_parts.provenance["staged"]
    assert ("epilogue" in in_parts.provenance["staged"]) == bool(options)
    # both errors are differences of sums that agree to rounding
    assert np.allclose(in_parts.error, whole.error, rtol=1e-2, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("breast_cancer_mlp", {}),
        ("breast_cancer_mlp", {"n_steps": 8}),
        ("digits_cnn", {}),
        ("inception_cifar", {"n_steps": 6}),
    ],
)
@pytest.mark.skipif(not MODELS.exists(), reason="needs the shipped models")
def test_shipped_models(name, options):
    path = MODELS / name / f"{name}.onnx"
    explainer = igrt.Explainer(path, provider="cpu")
    shape = [d if isinstance(d, int) else 2 for d in explainer.inputs[0].shape]
    in_parts, whole = both(path, rows(*shape), target="top1", **options)
    agree(in_parts, whole)


def test_a_mask_of_infinities_and_sizes_that_change_from_call_to_call():
    made = model(WITH_MASK, Q=(40, 40), K=(40, 40), U=(40, 2), V=(2, 2))
    explainers = [igrt.Explainer(made, provider="cpu", wrt=["x"]) for _ in range(2)]
    explainers[1]._integrator.staging = False
    for length in (6, 9):
        inputs = {
            "x": rows(2, length, 40),
            "seen": np.array([[1] * length, [1] * 4 + [0] * (length - 4)]),
        }
        in_parts, whole = (e.explain(inputs, target=0, n_steps=8) for e in explainers)
        agree(in_parts, whole)
        assert in_parts.provenance["staged"]


def test_paths_in_blocks_that_fit_into_memory(monkeypatch):
    made, inputs = CASES["stem"]
    seen = []
    options = {"target": [0, 1, 2], "baselines": [None, 0.5], "n_steps": 8}
    one, _ = both(made, inputs, **options)
    # the ends of one path at the cut take 2 x 8 x 10 x 10 x 4 bytes
    monkeypatch.setattr(staged, "_ENDS_BYTES", 13_000)
    explainer = igrt.Explainer(made, provider="cpu", threads=1)
    blocks = explainer.explain(inputs, progress=lambda done, _: seen.append(done), **options)
    assert np.array_equal(one.values["x"], blocks.values["x"])
    assert seen[-1] == 6 * 8


def test_infinite_slopes_are_refused_as_by_the_whole_graph():
    text = "m (float[N,300] x) => (float[N,3] y) { h = MatMul(x, W) r = Sqrt(h) y = MatMul(r, V) }"
    made = model(text, W=np.abs(rows(300, 5)).astype(np.float64), V=(5, 3))
    said = []
    for staging in (True, False):
        explainer = igrt.Explainer(made, provider="cpu")
        explainer._integrator.staging = staging
        with pytest.raises(NonFiniteError) as refused:
            # the trapezoidal rule begins at zero
            explainer.explain(np.abs(rows(1, 300)), target=0, n_steps=8, rule="trapezoid")
        said.append(str(refused.value))
    assert said[0] == said[1]


def test_float16_is_not_staged():
    # an end that is rounded to float16 is off by the same at every step (igrt.stage.regions)
    text = "m (float16[N,300] x) => (float16[N,3] y) { h = Gemm(x, W, B) r = Tanh(h) "
    made = model(
        text + "y = MatMul(r, V) }",
        **{n: rows(*s).astype(np.float16) for n, s in [("W", (300, 5)), ("B", [5]), ("V", (5, 3))]},
    )
    result = igrt.explain(made, rows(2, 300).astype(np.float16), target=1, n_steps=8)
    assert result.provenance["staged"] == ""


@pytest.mark.parametrize("options", [{"n_steps": 3}, {"method": "gradients"}])
def test_few_evaluations_are_not_staged(options):
    made, inputs = CASES["wide"]
    assert igrt.explain(made, inputs, target=0, **options).provenance["staged"] == ""


def test_small_networks_are_staged_where_a_path_has_many_evaluations(monkeypatch):
    # a step of this one saves the work of some 8,000 bytes
    monkeypatch.setattr(engine, "_RUN", 1e5)
    made, inputs = CASES["wide"]
    explainer = igrt.Explainer(made, provider="cpu")
    few, many = (explainer.explain(inputs, target=0, n_steps=n) for n in (4, 100))
    assert few.provenance["staged"] == ""
    assert "epilogue" in many.provenance["staged"]


def test_an_affine_model_needs_one_evaluation_and_no_parts():
    made = model("m (float[N,300] x) => (float[N,3] y) { y = Gemm(x, W, B) }", W=(300, 3), B=3)
    result = igrt.explain(made, rows(2, 300), target=0)
    assert (result.rule, result.provenance["staged"]) == ("constant", "")


def test_nothing_is_staged_where_all_is_curved():
    text = "m (float[N,8] x) => (float[N,3] y) { h = Exp(x) g = Mul(h, x) y = MatMul(g, V) }"
    made = model(text, V=(8, 3))
    result = igrt.explain(made, rows(2, 8), target=0)
    assert result.provenance["staged"] == ""
    notes = igrt.Explainer(made).staging_of(rows(2, 8))
    assert notes["adaptive"].startswith("nothing to stage")


def test_parts_are_cached(tmp_path):
    made, inputs = CASES["wide"]
    data = made.SerializeToString()
    first, second = (
        igrt.Explainer(data, provider="cpu", cache=tmp_path).explain(inputs, target=0, n_steps=8)
        for _ in range(2)
    )
    assert first.provenance["staged"] == second.provenance["staged"] != ""
    assert np.array_equal(first.values["x"], second.values["x"])
