"""Token numbers where no text is known."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from igrt import explain
from igrt.specs import Display, Lookup, Token
from igrt.text import numbers_as_tokens

LOOKUP = Lookup("ids", "e")


@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_every_number_is_written_with_all_its_digits(dtype):
    fed = {"ids": np.array([[7, 1_234_567]], dtype)}
    assert numbers_as_tokens([LOOKUP], fed, Display()) == {"e": ((Token("7"), Token("1234567")),)}


def test_known_tokens_are_kept():
    known = Display(tokens={"e": ((Token("a"),),)})
    assert numbers_as_tokens([LOOKUP], {"ids": np.array([[7]])}, known) == known.tokens


def test_words_that_the_model_makes_numbers_of_have_none():
    """The words are fed to the part behind the lookup, too, as a mask made of them would be."""
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["words"],
            ["ids"],
            domain="ai.onnx.ml",
            keys_strings=["a", "b"],
            values_int64s=[0, 1],
            default_int64=0,
        ),
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("ReduceSum", ["e", "last"], ["summed"], keepdims=0),
        helper.make_node("Cast", ["ids"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["summed", "mask"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "words",
        [helper.make_tensor_value_info("words", TensorProto.STRING, ["N", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [
            numpy_helper.from_array(np.array([[1, 2], [3, 4]], np.float32), "table"),
            numpy_helper.from_array(np.array([2]), "last"),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    result = explain(model, {"words": np.array([["a", "b"]])}, target=1)
    # y[1] = 3 + 4, linear in what `b` looks up
    np.testing.assert_allclose(result.values["e"], [[[0, 0], [3, 4]]], rtol=1e-6)
    assert not result.display.tokens
