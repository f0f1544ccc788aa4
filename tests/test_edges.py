"""What happens at the edges: no path, an infinite slope at its end, inputs that do nothing."""

import numpy as np
import pytest
from onnx import parser

import igrt
from igrt.errors import NonFiniteError
from igrt.methods import ExpectedGradients


def model(text, opset=18):
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> g {text}')


NET = model(
    """(float[N, 2] x) => (float[N, 2] y)
       <float[2, 2] W = {0.3, -1.1, 0.7, 0.2}, float[2] c = {0.1, -0.2}>
       { h = MatMul(x, W)  k = Add(h, c)  t = Tanh(k)  y = Exp(t) }"""
)
ROUNDING = 1e-5
"""Float32 sums of some hundred terms."""


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_steps": 7},
        {"rule": "trapezoid", "n_steps": 5},
        {"method": "expected_gradients"},
        {"method": ExpectedGradients(draws=9)},
        {"method": "conductance", "wrt": ["k"]},
        {"method": "conductance", "wrt": ["k"], "n_steps": 3},
    ],
    ids=str,
)
def test_nothing_moves_where_input_and_baseline_agree(options):
    """Exactly 0, not rounding: a feature that does not move is not why."""
    x = np.array([[0.3, -2.0]], np.float32)
    result = igrt.explain(NET, x, baselines=x.copy(), target=0, **options)
    for value in result.values.values():
        assert not value.any()
    assert not result.error.any()
    assert not result.delta.any()


def test_a_feature_that_does_not_move_gets_exactly_zero():
    x = np.array([[0.3, -2.0]], np.float32)
    result = igrt.explain(NET, x, baselines=np.array([[0.3, 1.0]], np.float32), target=1)
    assert result.values["x"][0, 0] == 0
    assert result.values["x"][0, 1] != 0


UNUSED = """(float[N, 2] x, float[N, 3] z) => (float[N, 2] y) { h = Tanh(x)  y = Mul(h, x) }"""


@pytest.mark.parametrize("method", ["integrated_gradients", "expected_gradients"])
def test_an_input_that_is_not_used_gets_zeros(method):
    feeds = {"x": np.ones((2, 2), np.float32), "z": np.full((2, 3), 7, np.float32)}
    result = igrt.explain(model(UNUSED), feeds, target=0, method=method)
    assert result.values["z"].shape == (2, 3)
    assert not result.values["z"].any()
    assert result.values["x"][:, 0].all()


def test_a_feature_that_is_not_used_gets_zero():
    text = """(float[N, 2] x) => (float[N, 1] y) <int64[1] i = {1}>
        { g = Gather<axis = 1>(x, i)  y = Tanh(g) }"""
    result = igrt.explain(model(text), np.array([[5.0, 1.0]], np.float32))
    assert result.values["x"][0, 0] == 0
    assert result.values["x"][0, 1] == pytest.approx(np.tanh(1), rel=0.01)


SINGULAR = {
    "sqrt": ("{ r = Sqrt(x)  y = ReduceSum(r, axis) }", np.sqrt),
    "x log x": (
        "<float zero = {0}> { l = Log(x)  p = Mul(x, l)  in = Greater(x, zero) "
        "w = Where(in, p, zero)  y = ReduceSum(w, axis) }",
        lambda x: x * np.log(x),
    ),
    "|x|^0.3": (
        "<float e = {0.3}> { a = Abs(x)  p = Pow(a, e)  y = ReduceSum(p, axis) }",
        lambda x: np.abs(x) ** 0.3,
    ),
}


@pytest.mark.parametrize("tolerance", [3e-2, 1e-2, 3e-3])
@pytest.mark.parametrize("name", SINGULAR)
def test_a_singular_end_is_integrated_by_interior_nodes(name, tolerance):
    """Slopes are infinite at 0, where no node is; f(0) = 0, so attributions are f(x)."""
    body, f = SINGULAR[name]
    stored, graph = (body.split("> {") if body.startswith("<") else ("<", body[2:]))[:2]
    stored += (", " if stored != "<" else "") + "int64[1] axis = {1}>"
    text = f"(float[N, 3] x) => (float[N, 1] y) {stored} {{ {graph}"
    x = np.array([[1.0, 4.0, 0.3]], np.float32)
    result = igrt.explain(model(text), x, tolerance=tolerance)
    want = f(x.astype(np.float64))
    true = np.abs(result.values["x"] - want).sum() / np.abs(want).sum()
    assert result.converged.all()
    assert true <= 2 * result.error[0] + ROUNDING
    assert true <= 2 * tolerance


def test_a_singular_end_on_a_node_of_the_rule_is_refused():
    with pytest.raises(NonFiniteError, match="alpha = 0 "):
        igrt.explain(
            model("(float[N, 1] x) => (float[N, 1] y) { r = Sqrt(x)  y = Identity(r) }"),
            np.ones((1, 1), np.float32),
            rule="trapezoid",
            n_steps=9,
        )


def test_x_log_x_without_a_guard_is_refused_with_the_logarithm():
    """0 · log 0 is NaN in every runtime: the model has no output at its baseline."""
    with pytest.raises(NonFiniteError, match="`l` \\(Log"):
        igrt.explain(
            model("(float[N, 1] x) => (float[N, 1] y) { l = Log(x)  y = Mul(x, l) }"),
            np.ones((1, 1), np.float32),
        )
