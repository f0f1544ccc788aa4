"""Conductance and internal influence of inner tensors, against NumPy in float64."""

import numpy as np
import pytest
from onnx import parser

import igrt
from igrt.errors import InputError

RNG = np.random.default_rng(3)
W, V = RNG.normal(size=(3, 4)).astype(np.float32), RNG.normal(size=(4, 2)).astype(np.float32)
X = RNG.normal(size=(3, 3)).astype(np.float32)
B = RNG.normal(size=(3,)).astype(np.float32)


def stored(name, array):
    shape = ", ".join(map(str, array.shape))
    return f"float[{shape}] {name} = {{{', '.join(map(str, array.reshape(-1)))}}}"


def model(text, opset=18):
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> g {text}')


STORED = f"<{stored('W', W)}, {stored('V', V)}>"
NET = f"""(float[N, 3] x) => (float[N, 2] y) {STORED}
    {{ h = MatMul(x, W)  t = Tanh(h)  z = MatMul(t, V)  y = Softplus(z) }}"""
FINE = (np.arange(20_000) + 0.5) / 20_000


def reference(x, target, slope_only=False):
    """∫ ∂F/∂t_j dt_j, or the mean of ∂F/∂t_j, by 20,000 midpoints in float64."""
    d = x.astype(np.float64) - B
    h = (B + FINE[:, np.newaxis] * d) @ W.astype(np.float64)
    t, dt = np.tanh(h), (1 - np.tanh(h) ** 2) * (d @ W.astype(np.float64))
    z = t @ V.astype(np.float64)
    slope = V[:, target] / (1 + np.exp(-z[:, target : target + 1]))
    return slope.mean(axis=0) if slope_only else (slope * dt).mean(axis=0)


def relative(found, want):
    return np.abs(found - want).sum(axis=-1) / np.abs(want).sum(axis=-1)


@pytest.mark.parametrize("tolerance", [3e-2, 3e-3])
@pytest.mark.parametrize("method", ["conductance", "internal_influence"])
def test_a_smooth_network(method, tolerance):
    explainer = igrt.Explainer(model(NET), wrt=["t"])
    targets = [0, 1, 0]
    result = explainer.explain(X, baselines=B, target=targets, method=method, tolerance=tolerance)
    only = method == "internal_influence"
    want = np.stack([reference(x, t, only) for x, t in zip(X, targets, strict=True)])
    assert result.converged.all()
    assert (relative(result.values["t"], want) <= 2 * result.error + 1e-5).all()
    if only:
        assert np.isnan(result.delta).all()
    else:
        assert (np.abs(result.delta) <= result.error * np.abs(want).sum(axis=1) + 1e-5).all()


@pytest.mark.parametrize("chunk", [1, 5, 200])
@pytest.mark.parametrize("method", ["conductance", "internal_influence"])
def test_examples_share_chunks(method, chunk):
    explainer = igrt.Explainer(model(NET), wrt=["t"])
    options = {"baselines": B, "target": 1, "method": method, "internal_batch_size": chunk}
    result = explainer.explain(X, **options)
    for row, x in enumerate(X):
        alone = explainer.explain(x, **options)
        assert alone.values["t"].shape == (4,)
        np.testing.assert_allclose(result.values["t"][row], alone.values["t"], atol=1e-5)
        assert result.evaluations[row] == alone.evaluations[0]


def test_the_inner_tensor_is_shown_beside_its_conductance():
    result = igrt.explain(model(NET), X, baselines=B, target=0, wrt=["t"], method="conductance")
    np.testing.assert_allclose(result.inputs["t"], np.tanh(X @ W), rtol=1e-5)
    assert result.method == "conductance"
    assert result.provenance["wrt"] == ["t"]


@pytest.mark.parametrize("steps", [1, 6, 50])
def test_nothing_is_lost_at_the_ends_whatever_the_number_of_steps(steps):
    """y = x at 1 has the conductance 1; others lose 1/n of it (`conductance_gaps`)."""
    text = "(float[N, 1] x) => (float[N, 1] y) { h = Identity(x)  r = Relu(h)  y = Identity(r) }"
    result = igrt.explain(
        model(text), np.ones((1, 1), np.float32), wrt=["r"], method="conductance", n_steps=steps
    )
    assert result.values["r"][0, 0] == pytest.approx(1, abs=1e-6)
    assert result.evaluations.tolist() == [steps]


def test_a_fixed_rule_of_internal_influence_is_the_weighted_sum_of_slopes():
    explainer = igrt.Explainer(model(NET), wrt=["t"])
    result = explainer.explain(
        X, baselines=B, target=0, method="internal_influence", rule="gauss_legendre", n_steps=20
    )
    want = np.stack([reference(x, 0, slope_only=True) for x in X])
    np.testing.assert_allclose(result.values["t"], want, rtol=0, atol=1e-5)
    assert result.evaluations.tolist() == [20, 20, 20]


def test_conductance_along_the_input_is_integrated_gradients_of_it():
    """For y = x, ∫ ∂F/∂x dx is what Integrated Gradients gives."""
    text = NET.replace("h = MatMul(x, W)", "c = Identity(x)  h = MatMul(c, W)")
    through = igrt.explain(
        model(text), X, baselines=B, target=0, wrt=["c"], method="conductance", tolerance=1e-3
    )
    plain = igrt.explain(model(text), X, baselines=B, target=0, tolerance=1e-4)
    assert (relative(through.values["c"], plain.values["x"]) <= 2 * through.error + 1e-4).all()


def test_what_flows_past_the_tensor_is_the_gap():
    """y = t·t + x: x flows past t."""
    text = "(float[N, 2] x) => (float[N, 2] y) { t = Tanh(x)  s = Mul(t, t)  y = Add(s, x) }"
    x = np.array([[0.7, -1.2]], np.float32)
    result = igrt.explain(model(text), x, target=0, wrt=["t"], method="conductance", tolerance=1e-3)
    np.testing.assert_allclose(result.values["t"], [[np.tanh(0.7) ** 2, 0]], atol=1e-3)
    assert result.delta[0] == pytest.approx(-0.7, abs=2e-3)
    assert result.converged.all()


def test_several_tensors_at_once():
    text = """(float[N, 2] x) => (float[N, 2] y)
        { a = Tanh(x)  e = Exp(x)  s = Mul(a, e)  y = Relu(s) }"""
    x = np.array([[0.7, 1.2]], np.float32)
    result = igrt.explain(
        model(text), x, target=1, wrt=["a", "e"], method="conductance", tolerance=1e-3
    )
    at = FINE * 1.2
    slope = 1 - np.tanh(at) ** 2
    want = [(np.exp(at) * slope).mean() * 1.2, (np.tanh(at) * np.exp(at)).mean() * 1.2]
    found = [result.values[n][0, 1] for n in ("a", "e")]
    np.testing.assert_allclose(found, want, rtol=3e-3)
    assert not result.values["a"][0, 0]


BASELINES = [B, np.zeros(3, np.float32)]


def test_several_baselines_are_averaged():
    explainer = igrt.Explainer(model(NET), wrt=["t"])
    options = {"target": 0, "method": "conductance", "n_steps": 30}
    result = explainer.explain(X, baselines=BASELINES, **options)
    alone = [explainer.explain(X, baselines=b, **options).values["t"] for b in BASELINES]
    np.testing.assert_allclose(result.values["t"], np.mean(alone, axis=0), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        NET.replace("[N, 3]", "[1, 3]").replace("[N, 2]", "[1, 2]"),
        NET.replace("[N, 3]", "[3]").replace("[N, 2]", "[2]"),
        # the inner tensor has the batch axis behind
        f"""(float[N, 3] x) => (float[N, 2] y) {STORED}
            {{ h = MatMul(x, W)  q = Transpose(h)  t = Tanh(q)  r = Transpose(t)
               z = MatMul(r, V)  y = Softplus(z) }}""",
    ],
    ids=["fixed at 1", "no batch axis", "batch axis behind"],
)
def test_models_whose_rows_run_one_by_one(text):
    explainer = igrt.Explainer(model(text), wrt=["t"])
    for x in X[:2]:
        result = explainer.explain(x, baselines=B, target=0, method="conductance")
        found = result.values["t"].reshape(4)
        assert relative(found, reference(x, 0)) <= 2 * result.error[0] + 1e-5


def test_token_numbers_do_not_move():
    text = f"""(float[N, 4] x, int64[N] i) => (float[N, 2] y)
        <float[2, 4] T = {{1, 2, 3, 4, -1, -2, 0.5, 1}}, {stored("V", V)}>
        {{ e = Gather(T, i)  s = Mul(x, e)  t = Tanh(s)  y = MatMul(t, V) }}"""
    x, i = RNG.normal(size=(2, 4)).astype(np.float32), np.array([1, 0])
    table = np.array([[1, 2, 3, 4], [-1, -2, 0.5, 1]])
    result = igrt.explain(model(text), {"x": x, "i": i}, target=0, wrt=["t"], method="conductance")
    # the output is linear in t
    want = np.tanh(x * table[i]) * V[:, 0]
    np.testing.assert_allclose(result.values["t"], want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("wrt", [None, ["x"], ["x", "t"]])
def test_inputs_are_refused(wrt):
    with pytest.raises(InputError, match="`x` is an input"):
        igrt.explain(model(NET), X, target=0, wrt=wrt, method="conductance")


def test_a_model_of_token_numbers_has_no_path():
    text = """(int64[N, 2] i) => (float[N, 2] y) <float[2] T = {0.5, 1.5}>
        { e = Gather(T, i)  t = Tanh(e)  y = Mul(t, t) }"""
    with pytest.raises(InputError, match="path of float inputs"):
        igrt.explain(
            model(text), np.zeros((1, 2), np.int64), target=0, wrt=["t"], method="conductance"
        )


@pytest.mark.parametrize("steps", [0, -1, 2.5, True])
def test_steps_are_a_whole_number(steps):
    with pytest.raises(InputError, match="n_steps"):
        igrt.explain(model(NET), X, target=0, wrt=["t"], method="conductance", n_steps=steps)


def test_one_explainer_serves_all_methods():
    explainer = igrt.Explainer(model(NET), wrt=["t"])
    baseline = {"x": B}
    first = explainer.explain(X, baselines=baseline, target=0).values["t"]
    explainer.explain(X, baselines=baseline, target=0, method="conductance")
    explainer.explain(X, baselines=baseline, target=0, method="expected_gradients", n_steps=8)
    again = explainer.explain(X, baselines=baseline, target=0).values["t"]
    np.testing.assert_array_equal(first, again)
