"""Only what some outputs need."""

import numpy as np
import onnxruntime
import pytest
from onnx import checker, helper, numpy_helper, parser

from igrt.graph.prune import needed_names, prune

TEXT = """
    <ir_version: 8, opset_import: ["": 18], producer_name: "maker", model_version: 3>
    g (float[N, 2] x, float[N, 2] other, bool c) => (float[N, 2] y, float[N, 2] z)
    <float[2] w = {1, 2}, float[2] v = {3, 4}, float[2] captured = {5, 6}>
    {
        h = Mul (x, w)
        k = Mul (other, v)
        y = Exp (h)
        z = If (c) <
            then_branch = t () => (float[N, 2] a) { a = Add (k, captured) },
            else_branch = e () => (float[N, 2] b) { b = Identity (k) }
        >
    }
"""


@pytest.fixture
def model():
    return parser.parse_model(TEXT)


def names(items):
    return [i.name for i in items]


def test_nodes_and_stored_tensors_that_nobody_needs_go(model):
    pruned = prune(model, ["y"])
    assert [n.op_type for n in pruned.graph.node] == ["Mul", "Exp"]
    assert names(pruned.graph.initializer) == ["w"]
    assert names(pruned.graph.output) == ["y"]
    checker.check_model(pruned, full_check=True)


def test_inputs_stay_unless_told_otherwise(model):
    assert names(prune(model, ["y"]).graph.input) == ["x", "other", "c"]
    assert names(prune(model, ["y"], keep_inputs=False).graph.input) == ["x"]


def test_what_a_body_captures_stays(model):
    pruned = prune(model, ["z"], keep_inputs=False)
    assert names(pruned.graph.initializer) == ["v", "captured"]
    assert names(pruned.graph.input) == ["other", "c"]
    checker.check_model(pruned, full_check=True)


def test_an_inner_tensor_becomes_an_output_with_its_type(model):
    pruned = prune(model, ["h"], keep_inputs=False)
    (output,) = pruned.graph.output
    dims = output.type.tensor_type.shape.dim
    assert (dims[0].dim_param, dims[1].dim_value) == ("N", 2)
    session = onnxruntime.InferenceSession(pruned.SerializeToString())
    (h,) = session.run(None, {"x": np.ones((1, 2), np.float32)})
    np.testing.assert_array_equal(h, [[1, 2]])


def test_outputs_come_in_the_order_asked_for(model):
    assert names(prune(model, ["z", "k", "y"]).graph.output) == ["z", "k", "y"]


def test_the_model_itself_is_not_changed(model):
    before = model.SerializeToString()
    prune(model, ["h"], keep_inputs=False)
    assert model.SerializeToString() == before


def test_what_the_model_says_about_itself_stays(model):
    model.metadata_props.add(key="author", value="someone")
    pruned = prune(model, ["y"])
    assert (pruned.producer_name, pruned.model_version, pruned.ir_version) == ("maker", 3, 8)
    assert pruned.opset_import == model.opset_import
    assert pruned.metadata_props == model.metadata_props


def test_a_declared_type_goes_where_it_is_needed(model):
    for name in ("h", "k"):
        info = helper.make_tensor_value_info(name, 1, ["N", 2])
        model.graph.value_info.append(info)
    assert names(prune(model, ["y"]).graph.value_info) == ["h"]
    # as an output it is declared there, and twice would be an error
    assert names(prune(model, ["h"]).graph.value_info) == []


@pytest.mark.parametrize("of, kept", [("y", []), ("sum", ["sparse"])])
def test_sparse_constants(model, of, kept):
    values = numpy_helper.from_array(np.float32([1]), "sparse")
    indices = numpy_helper.from_array(np.array([0]), "")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2]))
    model.graph.node.append(helper.make_node("Add", ["y", "sparse"], ["sum"]))
    pruned = prune(model, [of])
    assert [t.values.name for t in pruned.graph.sparse_initializer] == kept


def test_a_node_stays_for_any_of_its_outputs():
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["": 18]>
        g (float[4] x) => (float[2] b) { a, b = Split <num_outputs = 2> (x) }
    """)
    assert needed_names(model.graph.node, ["b"]) == {"b", "x"}
    assert len(prune(model, ["b"]).graph.node) == 1
