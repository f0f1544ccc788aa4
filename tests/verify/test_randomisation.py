"""Weights made random from the top down, and what of the attribution survives it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

import igrt
from igrt.errors import InputError
from igrt.inputs import Preprocess, read
from igrt.verify.measures import weights_matter
from igrt.verify.place import make_case
from igrt.verify.randomisation import layers, randomisation, randomised, ranks, spearman
from igrt.verify.run import Explaining

DIGITS = Path(__file__).parents[2] / "models" / "digits_cnn"

NET = parser.parse_model("""
<ir_version: 8, opset_import: ["": 17]>
net (float[N, 3] x, int64[N] token) => (float[N, 2] y, float[N, 2] unused)
<float[5, 3] table = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
 float[2, 3] wt = {1, 2, 3, 4, 5, 6}, float[2] bias = {1, 2}, float[2, 2] tied = {1, 2, 3, 4},
 float[2] shift = {5, 6}, int64[2] shape = {-1, 2}, float[3, 2] other = {1, 2, 3, 4, 5, 6},
 int8[2, 2] small = {1, 2, 3, 4}, float s = {0.5}, int8 zero = {0}> {
    e = Gather (table, token)
    h = Add (x, e)
    w = Transpose <perm = [1, 0]> (wt)
    a = MatMul (h, w)
    b = Gemm (a, tied, bias)
    c = Reshape (b, shape)
    d = Add (c, shift)
    f = MatMul (d, tied)
    q = DequantizeLinear (small, s, zero)
    y = MatMul (f, q)
    unused = MatMul (x, other)
}
""")


def stored(model):
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def test_layers_come_from_the_top_down_with_the_weights_behind_constant_nodes():
    found = layers(NET, "y")
    assert [(layer.op_type, layer.weights) for layer in found] == [
        ("MatMul", ("small",)),
        ("MatMul", ("tied",)),
        ("Gemm", ("bias",)),  # its matrix is taken with the layer above
        ("MatMul", ("wt",)),
        ("Gather", ("table",)),
    ]
    assert [layer.weights for layer in layers(NET, "unused")] == [("other",)]


@pytest.mark.parametrize("how", ["permute", "redraw"])
def test_only_what_is_named_becomes_random(how):
    before = stored(NET)
    after = stored(randomised(NET, ["table", "wt"], how=how, seed=1))
    changed = {n for n in before if not np.array_equal(before[n], after[n])}
    assert changed == {"table", "wt"}
    assert {n: (a.shape, a.dtype) for n, a in after.items()} == {
        n: (a.shape, a.dtype) for n, a in before.items()
    }
    if how == "permute":
        assert sorted(after["table"].flat) == sorted(before["table"].flat)
    again = stored(randomised(NET, ["table"], how=how, seed=1))
    np.testing.assert_array_equal(again["table"], after["table"])
    other = stored(randomised(NET, ["table"], how=how, seed=2))
    assert not np.array_equal(other["table"], after["table"])


def test_redrawn_weights_keep_mean_and_deviation():
    large = np.random.default_rng(0).gamma(2.0, 3.0, (200, 200)).astype(np.float32)
    model = onnx.ModelProto()
    model.CopyFrom(NET)
    model.graph.initializer.append(numpy_helper.from_array(large, "large"))
    made = stored(randomised(model, ["large"], how="redraw"))["large"]
    deviation = float(large.std())
    # standard errors over 40,000 draws: σ/200 of the mean, σ/283 of the deviation
    assert made.mean() == pytest.approx(large.mean(), abs=4 * deviation / 200)
    assert made.std() == pytest.approx(deviation, abs=4 * deviation / 283)


def test_whole_numbers_are_permuted_but_not_redrawn():
    after = stored(randomised(NET, ["small"], seed=3))["small"]
    assert after.dtype == np.int8
    assert sorted(after.flat) == [1, 2, 3, 4]
    with pytest.raises(InputError, match="`small` holds whole numbers"):
        randomised(NET, ["small"], how="redraw")
    with pytest.raises(InputError, match="unknown randomisation"):
        randomised(NET, [], how="zero")


def test_rank_correlation_is_that_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    draw = np.random.default_rng(0)
    for a, b in (draw.standard_normal((2, 50)), draw.integers(0, 4, (2, 50))):
        assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, rel=1e-12)
        np.testing.assert_array_equal(ranks(b), stats.rankdata(b) - 1)


def test_rank_correlation_in_closed_form():
    a = np.array([1.0, 2.0, 3.0, 4.0])
    assert spearman(a, np.exp(a)) == pytest.approx(1.0)
    assert spearman(a, -a) == pytest.approx(-1.0)
    # 1 - 6·Σd²/(n·(n² - 1)) for d = 1, -1, 0, 0
    assert spearman(a, np.array([2.0, 1.0, 3.0, 4.0])) == pytest.approx(1 - 12 / 60)
    assert spearman(a, np.ones(4)) == 0.0
    np.testing.assert_array_equal(ranks(np.array([5.0, 1.0, 5.0])), [1.5, 0.0, 1.5])


def linear(weights):
    size = len(weights)
    model = parser.parse_model(f"""
    <ir_version: 8, opset_import: ["": 17]>
    linear (float[N, {size}] x) => (float[N, 1] y) {{ y = MatMul (x, w) }}
    """)
    model.graph.initializer.append(numpy_helper.from_array(weights[:, np.newaxis], "w"))
    return model


def test_a_linear_model_in_closed_form():
    stats = pytest.importorskip("scipy.stats")
    draw = np.random.default_rng(0)
    w, x = draw.standard_normal((2, 40)).astype(np.float32)
    model = linear(w)

    def attribute(model):
        return np.asarray(stored(model)["w"][:, 0] * x, dtype=np.float64)[np.newaxis]

    found = randomisation(model, attribute, of="y", seed=4)
    permuted = stored(randomised(model, ["w"], seed=4))["w"][:, 0]
    expected = stats.spearmanr(np.abs(w * x), np.abs(permuted * x)).statistic
    assert found.magnitude.shape == (1, 1)
    assert found.magnitude[0, 0] == pytest.approx(expected, rel=1e-12)
    signed = stats.spearmanr(w * x, permuted * x).statistic
    assert found.signed[0, 0] == pytest.approx(signed)
    assert found.checks[0].figure == pytest.approx(min(abs(expected), abs(signed)))


def test_features_that_are_zero_by_definition_are_left_out():
    w = np.arange(1.0, 9.0, dtype=np.float32)
    x = np.array([1, 1, 1, 1, 0, 0, 0, 0], dtype=np.float32)

    def attribute(model):
        return np.asarray(stored(model)["w"][:, 0] * x, dtype=np.float64)[np.newaxis]

    every = randomisation(linear(w), attribute, of="y")
    live = randomisation(linear(w), attribute, of="y", live=(x != 0)[np.newaxis])
    assert every.checks[0].figure > live.checks[0].figure


def test_units_of_the_features_do_not_count_as_likeness():
    """A table in its own units: magnitudes follow the units with any weights, signs do not."""
    draw = np.random.default_rng(0)
    w, x = draw.standard_normal(40).astype(np.float32), 10.0 ** np.linspace(-6, 6, 40)

    def attribute(model):
        return np.asarray(stored(model)["w"][:, 0] * x, dtype=np.float64)[np.newaxis]

    found = randomisation(linear(w), attribute, of="y")
    assert found.magnitude[0, 0] > 0.95
    assert found.checks[0].holds


@pytest.mark.parametrize("form", ["function", "fused", "constant"])
def test_weights_are_found_wherever_an_exporter_puts_them(form):
    """A layer that is overlooked keeps what it learnt, and the verdict would be about nothing."""
    numbers = "{1, 2, 3, 4, 5, 6}"
    head, tail = '<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1, "own": 1]>', ""
    weight, body = f"<float[3, 2] w = {numbers}>", "y = MatMul (x, w)"
    if form == "function":
        body = "y = own.dense (x, w)"
        tail = '<domain: "own", opset_import: ["": 17]> dense (a, b) => (c) { c = MatMul (a, b) }'
    elif form == "fused":
        body = "y = com.microsoft.FusedMatMul <alpha = 2.0> (x, w)"
    else:
        weight, body = "", f"w = Constant <value = float[3, 2] {numbers}> ()  y = MatMul (x, w)"
    model = parser.parse_model(
        f"{head} g (float[N, 3] x) => (float[N, 2] y) {weight} {{ {body} }} {tail}"
    )
    seen = []

    def attribute(model):
        seen.append(model)
        x = np.array([[1.0, 2.0, -3.0]], dtype=np.float32)
        return igrt.explain(model, x, target=0, provider="cpu").values["x"]

    found = randomisation(model, attribute, of="y", seed=1)
    assert len(found.layers) == 1
    last = igrt.explain(seen[-1], np.ones((1, 3), np.float32), target=0, provider="cpu")
    factor = 2 if form == "fused" else 1
    column = numpy_helper.to_array(seen[-1].graph.initializer[0])[:, 0] * factor
    np.testing.assert_allclose(last.values["x"][0], column)
    assert not np.array_equal(column, factor * np.array([1, 3, 5]))


def test_weights_that_stay_are_said():
    body = "g () => (float[2, 2] k) { k = Constant <value = float[2, 2] {1, 2, 3, 4}> () }"
    model = parser.parse_model(f"""
    <ir_version: 8, opset_import: ["": 17]>
    g (float[N, 2] x, bool c) => (float[N, 2] y) <float[2, 2] w = {{1, 2, 3, 4}}> {{
        k = If (c) <then_branch = {body}, else_branch = {body}>
        h = MatMul (x, w)
        y = MatMul (h, k)
    }}
    """)
    found = randomisation(model, lambda model: np.arange(4.0).reshape(1, 4), of="y")
    assert "but for weights in bodies" in found.checks[0].detail


def test_a_model_without_weights_is_skipped():
    model = parser.parse_model("""
    <ir_version: 8, opset_import: ["": 17]>
    none (float[N, 2] x) => (float[N, 2] y) { y = Tanh (x) }
    """)
    found = randomisation(model, lambda model: np.zeros((1, 2)), of="y")
    assert found.layers == ()
    assert found.checks[0].holds is None
    with pytest.raises(InputError, match="most must be positive"):
        randomisation(model, lambda model: np.zeros((1, 2)), of="y", most=0)


@pytest.fixture(scope="module")
def digits():
    explainer = igrt.Explainer(DIGITS / "digits_cnn.onnx", provider="cpu")
    how = Preprocess.named(str(DIGITS / "preprocess.toml"))
    files = sorted((DIGITS / "inputs").iterdir())[:3]
    x = np.concatenate([read(f, explainer.inputs[0], how).array for f in files])
    method = igrt.methods.IntegratedGradients()
    explain = Explaining(method, 3e-2, 0, {"provider": "cpu"})
    return make_case(
        explainer,
        x,
        target=None,
        baseline=None,
        explain=explain,
        tolerance=3e-2,
        seed=0,
        layouts={},
    )


def test_integrated_gradients_depends_on_what_was_learnt(digits):
    found = weights_matter(digits, most=2)
    assert len(found.layers) == 2
    assert found.layers[-1] == "/conv1/Conv"
    assert found.checks[0].holds
    # signs are lost altogether: chance gives 1/√n for some 40 features in each of 3 rows
    assert abs(found.signed[-1].mean()) < 3 / np.sqrt(3 * 40)


def test_an_attribution_that_reads_the_input_alone_does_not_pass(digits):
    """As guided back-propagation nearly does: it redraws the edges of the picture."""
    found = randomisation(digits.model, lambda model: np.abs(digits.x), of=digits.of, most=2)
    np.testing.assert_allclose(found.magnitude, 1.0)
    assert found.checks[0].figure == pytest.approx(1.0)
    assert not found.checks[0].holds
