"""Paths that begin at a token, against the closed form of an additive model."""

import numpy as np
import pytest
from onnx import parser

import igrt
from igrt.errors import InputError

ROWS = np.arange(10).reshape(5, 2) / 10
# y = Σ_t tanh(table[i_t]), beside a float input; the lookup is flat, as some exporters write it
TEXT = """<ir_version: 8, opset_import: ["": 17]>
g (int64[N,T] i, float[N,2] x) => (float[N,2] y)
<float[5,2] table = {0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9}, int64[1] flat = {-1},
 int64[1] two = {2}, int64[1] one = {1}> {
    f = Reshape(i, flat) e = Gather(table, f) s = Shape(i) w = Concat<axis = 0>(s, two)
    r = Reshape(e, w) t = Tanh(r) p = ReduceSum<keepdims = 0>(t, one) y = Add(p, x)
}"""
MODEL = parser.parse_model(TEXT)
IDS = np.array([[1, 2, 3], [4, 1, 0]])
X = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
# float32 sums of six terms of order 1; seven nodes integrate the derivative of tanh to 1e-9
CLOSE = {"atol": 1e-6}


def explained(baselines, **options):
    return igrt.explain(
        MODEL, {"i": IDS, "x": X}, baselines=baselines, target=0, provider="cpu", **options
    )


@pytest.mark.parametrize(
    ("baseline", "tokens", "said"),
    [
        ("token:2", 2, "token:2"),
        (" TOKEN:2", 2, " TOKEN:2"),
        ({"i": "token:2"}, 2, "i: token:2"),
        ({"r": "token:2"}, 2, "r: token:2"),
        ({"i": 2}, 2, "i: 2"),
        ({"i": [0, 1, 2]}, [0, 1, 2], "i: array"),
        ({"i": [[0, 1, 2], [2, 1, 0]]}, [[0, 1, 2], [2, 1, 0]], "i: array"),
    ],
)
def test_a_path_may_begin_at_tokens(baseline, tokens, said):
    result = explained(baseline)
    tokens = np.broadcast_to(tokens, IDS.shape)
    expected = np.tanh(ROWS[IDS][..., 0]) - np.tanh(ROWS[tokens][..., 0])
    np.testing.assert_allclose(result.values["r"][..., 0], expected, **CLOSE)
    np.testing.assert_allclose(result.values["x"][:, 0], X[:, 0], **CLOSE)  # from zero as before
    np.testing.assert_allclose(result.delta, 0, atol=1e-5)  # float32 sums of order 5
    assert result.provenance["baselines"] == said


def test_each_input_may_have_a_baseline_of_its_own():
    result = explained({"i": "token:0", "x": 1.0})
    np.testing.assert_allclose(result.values["x"][:, 0], X[:, 0] - 1, **CLOSE)


def test_baselines_are_averaged_also_over_tokens():
    result = explained(["token:0", "token:4", None])
    mean = np.mean([np.tanh(ROWS[0, 0]), np.tanh(ROWS[4, 0]), 0])
    np.testing.assert_allclose(
        result.values["r"][..., 0], np.tanh(ROWS[IDS][..., 0]) - mean, **CLOSE
    )


def test_expected_gradients_draws_tokens():
    result = explained(["token:2"], method="expected_gradients", n_steps=64)
    assert result.provenance["baselines"] == "token:2"
    # draws of one baseline: completeness holds up to the sampling error that the result states
    limit = 3 * result.error * np.abs(result.values["r"]).sum(axis=(1, 2))
    expected = np.tanh(ROWS[IDS][..., 0]) - np.tanh(ROWS[2, 0])
    assert (np.abs(result.values["r"][..., 0] - expected).max(axis=1) <= limit).all()


@pytest.mark.parametrize(
    ("baseline", "words"),
    [
        ("token:5", "token 5; there are 0 to 4"),
        ("token:[PAD]", "'[PAD]' is no token number"),
        ("token:", "'' is no token number"),
        ("token:-1", "'-1' is no token number"),
        ({"i": "token:٣"}, "is no token number"),
        ({"i": [0, 1]}, "has the shape [2], the input [2, 3]"),
        ({"i": -1}, "token -1; there are 0 to 4"),
        ({"i": 0.5}, "is not made of token numbers"),
        ({"x": "token:0"}, "`x` looks up no tokens"),
    ],
)
def test_a_token_that_does_not_exist_is_refused(baseline, words):
    with pytest.raises(InputError) as caught:
        explained(baseline)
    assert words in caught.value.message


def test_a_model_without_tokens_has_no_token_baseline():
    text = (
        '<ir_version: 8, opset_import: ["": 17]> g (float[N,2] x) => (float[N,2] y) { y = Exp(x) }'
    )
    with pytest.raises(InputError, match="`x` looks up no tokens"):
        igrt.explain(parser.parse_model(text), X, baselines="token:0", target=0)
