"""What could be explained instead: by name, and it works."""

import re

import numpy as np
import pytest
from onnx import parser

import igrt
from igrt.errors import IgrtError, InputError, NoGradientPath, UnsupportedOperator
from igrt.graph.normalize import normalize
from igrt.vjp.augment import augment, differentiable

HEAD = '<ir_version: 8, opset_import: ["": 17, "odd": 1, "ai.onnx.ml": 3]> g '
TABLE = "<float[4,2] table = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8}>"

# model, words of the refusal, arguments in its hint
REFUSED = {
    "argmax": (
        "(float[N,3] x) => (int64[N,1] y) { s = Tanh(x) y = ArgMax<axis = 1>(s) }",
        ["no output", "y: int64[N, 1]"],
        {"of": "s"},
    ),
    "choice beside a threshold": (
        "(float[N,3] x, float limit) => (int64[N,1] y) { s = Tanh(x) t = ReduceMax<axes = [1]>(s)"
        " b = Less(t, limit) a = ArgMax<axis = 1>(s) y = Where(b, a, a) }",
        ["no output"],
        {"of": "s"},
    ),
    "positions of the largest": (
        "(float[N,3] x) => (float[N,1] y) <int64[1] one = {1}>"
        " { s = Tanh(x) v, i = TopK(s, one) y = Cast<to = 1>(i) }",
        ["locally constant (TopK)"],
        {"of": "s"},
    ),
    "boxes": (
        "(float[1,6,4] x, float[1,1,6] c) => (int64[K,3] y)"
        " { b = Exp(x) s = Sigmoid(c) y = NonMaxSuppression(b, s) }",
        ["no output"],
        {"of": "b"},
    ),
    "codes of a table": (
        "(float[N] x) => (float[N,2] y)" + TABLE + " { f = Floor(x) i = Cast<to = 7>(f)"
        " e = Gather(table, i) y = Tanh(e) }",
        ["locally constant (Floor)", "`Floor_0` (Floor)"],
        {"wrt": ["e"]},
    ),
    "rounded on the way": (
        "(float[N,3] x) => (float[N,3] y) { a = Tanh(x) b = Round(a) y = Tanh(b) }",
        ["locally constant (Round)"],
        {"of": "a", "wrt": ["b"]},
    ),
    "number as it is": (
        "(int64[N] i) => (float[N] y) { h = Cast<to = 1>(i) y = Tanh(h) }",
        ["no input of the model is a float tensor"],
        {"wrt": ["h"]},
    ),
    "unknown operator": (
        "(float[N,3] x) => (float[N,3] y) { a = Tanh(x) b = odd.Op(a) c = Cast<to = 1>(b)"
        " y = Tanh(c) }",
        ["odd.Op-1"],
        {"of": "a", "wrt": ["c"]},
    ),
}


def arguments(hint):
    found = dict(re.findall(r'(of)="([^"]*)"', hint)[:1])
    names = re.search(r"wrt=\[([^]]*)\]", hint)
    return found | ({"wrt": re.findall(r'"([^"]*)"', names[1])} if names else {})


@pytest.mark.parametrize("name", REFUSED)
def test_the_refusal_names_what_works_instead(name):
    text, words, expected = REFUSED[name]
    model = parser.parse_model(HEAD + text)
    with pytest.raises((InputError, NoGradientPath, UnsupportedOperator)) as caught:
        augment(model)
    assert all(w in caught.value.message for w in words), caught.value.message
    assert arguments(caught.value.hint) == expected
    for key, value in expected.items():
        found = differentiable(normalize(model), **{key: value})
        assert found.found.reached


def test_an_input_of_whole_numbers_named_by_hand_says_what_to_name():
    text = "(int64[N] i) => (float[N,2] y)" + TABLE + " { e = Gather(table, i) y = Tanh(e) }"
    with pytest.raises(InputError, match="cannot attribute to i: int64") as caught:
        augment(parser.parse_model(HEAD + text), wrt=["i"])
    assert arguments(caught.value.hint) == {"wrt": ["e"]}


def test_an_output_of_whole_numbers_named_by_hand_says_what_to_name():
    model = parser.parse_model(HEAD + REFUSED["argmax"][0])
    with pytest.raises(InputError, match="cannot explain y: int64") as caught:
        augment(model, of="y")
    assert arguments(caught.value.hint) == {"of": "s"}


def test_trees_have_no_inner_tensor():
    text = """(float[N,1] x) => (float[N,1] y) { y = ai.onnx.ml.TreeEnsembleRegressor
        <n_targets = 1, nodes_treeids = [0], nodes_nodeids = [0], nodes_featureids = [0],
        nodes_modes = ["LEAF"], nodes_values = [0.0], nodes_truenodeids = [0],
        nodes_falsenodeids = [0], target_ids = [0], target_nodeids = [0], target_treeids = [0],
        target_weights = [1.0]> (x) }"""
    with pytest.raises(NoGradientPath, match="TreeEnsembleRegressor") as caught:
        augment(parser.parse_model(HEAD + text))
    assert "trees" in caught.value.hint


# -- paths that end -------------------------------------------------------------------------------


def test_paths_that_end_are_recorded():
    text = "(float[N,3] x) => (float[N,3] y) { a = Round(x) b = Tanh(x) y = Mul(a, b) }"
    result = igrt.explain(parser.parse_model(HEAD + text), np.ones((1, 3), np.float32), target=0)
    assert result.provenance["locally_constant"] == ["Round_0 (Round)"]


def test_sizes_are_no_paths_that_end():
    text = "(float[N,3] x) => (float[N,3] y) { s = Shape(x) a = Reshape(x, s) y = Tanh(a) }"
    result = igrt.explain(parser.parse_model(HEAD + text), np.ones((1, 3), np.float32), target=0)
    assert "locally_constant" not in result.provenance


def test_an_error_that_names_nothing_still_has_a_hint():
    text = "(float[N,3] x) => (int64[N,3] y) { y = Cast<to = 7>(x) }"
    with pytest.raises(IgrtError) as caught:
        augment(parser.parse_model(HEAD + text))
    assert caught.value.hint
