"""Which tensors token numbers look up, and in which rows of the table."""

import numpy as np
import pytest
from onnx import TensorProto, helper, parser

import igrt
from igrt.graph import Graph
from igrt.graph.normalize import normalize
from igrt.specs import Lookup
from igrt.vjp.augment import differentiable
from igrt.vjp.lookups import default_sources, lookups

HEAD = '<ir_version: 8, opset_import: ["": 17, "ai.onnx.ml": 3]> g '
WEIGHTS = "float[4,2] table = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8}"
TABLE = f"<{WEIGHTS}>"
IDS = "(int64[N,T] i) => (float[N,T,2] y)"

# model, tensor that is looked up, token numbers that the table has rows for
LOOKED_UP = {
    "lookup": (IDS + TABLE + " { e = Gather(table, i) y = Exp(e) }", "e", 4),
    "cast and shifted down": (
        "(int32[N,T] i) => (float[N,T,2] y)"
        f"<{WEIGHTS}, int64 three = {{3}}>"
        " { w = Cast<to = 7>(i) z = Sub(w, three) e = Gather(table, z) y = Exp(e) }",
        "e",
        7,
    ),
    "shifted up": (
        IDS + f"<{WEIGHTS}, int64[1] one = {{1}}>"
        " { z = Add(one, i) e = Gather(table, z) y = Exp(e) }",
        "e",
        3,
    ),
    "computed": (
        IDS + TABLE + " { z = Sub(i, i) e = Gather(table, z) y = Exp(e) }",
        "e",
        None,
    ),
    "flat, and reshaped afterwards": (
        IDS + f"<{WEIGHTS}, int64[1] flat = {{-1}}, int64[1] two = {{2}}>"
        " { f = Reshape(i, flat) e = Gather(table, f) s = Shape(i) w = Concat<axis = 0>(s, two)"
        " r = Reshape(e, w) y = Exp(r) }",
        "r",
        4,
    ),
    "one hot": (
        "(int64[N,T] i) => (float[N,T,4] y) <int64 four = {4}, float[2] v = {0, 1}>"
        " { e = OneHot(i, four, v) y = Exp(e) }",
        "e",
        4,
    ),
    "numbers written as floats": (
        "(float[N,T] i) => (float[N,T,2] y)" + TABLE + " { u = Unsqueeze(i, at)"
        " s = Squeeze(u, at) n = Cast<to = 6>(s) e = Gather(table, n) y = Exp(e) }",
        "e",
        4,
    ),
    "words": (
        "(string[N] i) => (float[N,2] y)"
        + TABLE
        + ' { k = ai.onnx.ml.LabelEncoder<keys_strings = ["a", "b"], values_int64s = [0, 1]>(i)'
        " e = Gather(table, k) y = Exp(e) }",
        "e",
        None,
    ),
}
LOOKED_UP["numbers written as floats"] = (
    LOOKED_UP["numbers written as floats"][0].replace(WEIGHTS, f"{WEIGHTS}, int64[1] at = {{0}}"),
    *LOOKED_UP["numbers written as floats"][1:],
)


def normal(text):
    return normalize(parser.parse_model(HEAD + text))


@pytest.mark.parametrize("name", LOOKED_UP)
def test_token_numbers_are_explained_by_what_they_look_up(name):
    text, tensor, ids = LOOKED_UP[name]
    model = normal(text)
    assert [s.name for s in differentiable(model).wrt] == [tensor]
    assert lookups(Graph(model), "i") == [Lookup("i", tensor, ids)]


def test_a_float_that_something_is_computed_with_looks_up_nothing():
    text = (
        "(float[N] x) => (float[N,2] y)" + TABLE + " { i = Cast<to = 7>(x) e = Gather(table, i)"
        " a = Unsqueeze(x, one) y = Mul(e, a) }"
    ).replace(WEIGHTS, f"{WEIGHTS}, int64[1] one = {{1}}")
    assert default_sources(Graph(normal(text))) == ["x"]


def test_positions_made_from_sizes_are_no_lookup():
    text = (
        "(int64[N] i) => (float[N,2] y)"
        + TABLE
        + " { s = Shape(i) e = Gather(table, i) p = Gather(table, s) y = Add(e, p) }"
    )
    assert default_sources(Graph(normal(text))) == ["e"]


@pytest.mark.parametrize("beside", ["token_type_ids", "segment_ids", "position_ids"])
def test_positions_and_segments_stay_fixed_beside_tokens(beside):
    text = f"(int64[N,T] i, int64[N,T] {beside}) => (float[N,T,2] y)" + TABLE
    text += f" {{ e = Gather(table, i) p = Gather(table, {beside}) y = Add(e, p) }}"
    assert default_sources(Graph(normal(text))) == ["e"]
    alone = f"(int64[N,T] {beside}) => (float[N,T,2] y)" + TABLE
    alone += f" {{ e = Gather(table, {beside}) y = Exp(e) }}"
    assert default_sources(Graph(normal(alone))) == ["e"]


def test_of_a_fused_embedding_the_words_alone_are_attributed():
    rng = np.random.default_rng(0)
    names = {"words": 5, "places": 6, "segments": 2}
    arrays = {n: rng.standard_normal((k, 4)).astype(np.float32) for n, k in names.items()}
    arrays |= {"gamma": np.ones(4, np.float32), "beta": np.zeros(4, np.float32)}
    ids = [helper.make_tensor_value_info(n, TensorProto.INT32, ["N", "T"]) for n in ("ids", "sg")]
    node = helper.make_node(
        "EmbedLayerNormalization",
        ["ids", "sg", "words", "places", "segments", "gamma", "beta"],
        ["y", "counted"],
        domain="com.microsoft",
    )
    # segments under a name that says nothing are attributed as well
    for second, expected in (("sg", 2), ("token_type_ids", 1)):
        node.input[1], ids[1].name = second, second
        graph = helper.make_graph(
            [node],
            "g",
            ids,
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", "T", 4])],
            [helper.make_tensor(n, TensorProto.FLOAT, a.shape, a) for n, a in arrays.items()],
        )
        domains = [helper.make_opsetid(d, v) for d, v in (("", 17), ("com.microsoft", 1))]
        model = helper.make_model(graph, opset_imports=domains, ir_version=8)
        found = Graph(normalize(model))
        assert len(default_sources(found)) == expected
        assert [x.ids for x in lookups(found, "ids")] == [5]


def test_a_sum_over_tokens_has_the_attribution_of_each():
    table = TABLE.replace(">", ", int64[1] a = {1}>")
    text = "(int64[N,T] i) => (float[N,2] y)" + table + " { e = Gather(table, i)"
    text += " y = ReduceSum<keepdims = 0>(e, a) }"
    result = igrt.explain(parser.parse_model(HEAD + text), np.array([[0, 3, 1]]), target=1)
    rows = np.arange(1, 9).reshape(4, 2) / 10
    expected = rows[[0, 3, 1]] * [0, 1]  # linear, from a baseline of zeros
    np.testing.assert_allclose(result.values["e"][0], expected, atol=1e-6)  # float32
