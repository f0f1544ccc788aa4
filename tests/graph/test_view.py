"""The read-only index of a model."""

import gc

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from igrt.graph import Graph
from igrt.graph.onnx_types import spec_of
from igrt.graph.view import all_inputs, collector_paused, constant_node, read_tensor
from igrt.specs import TensorSpec

TEXT = """
    <ir_version: 8, opset_import: ["": 18, "com.microsoft": 1]>
    g (float[N, 3] x, float[3] default, bool c, string[1] s) => (float[N, 3] y, float n, float[] z)
    <float[3] default = {1, 2, 3}, float[3, 3] w = {1, 0, 0, 0, 1, 0, 0, 0, 1}>
    {
        h = MatMul (x, w)
        y = Add (h, default)
        unused = Neg (h)
        n = If (c) <
            then_branch = t () => (float a) {
                inner = Mul (y, y)
                a = ReduceSum <keepdims = 0> (inner)
            },
            else_branch = e () => (float b) { b = ReduceMax <keepdims = 0> (h) }
        >
        z = com.microsoft.Odd (n)
    }
"""


@pytest.fixture
def graph():
    return Graph(parser.parse_model(TEXT))


def test_opsets(graph):
    assert graph.opset == 18
    assert graph.opsets == {"": 18, "com.microsoft": 1}


def test_the_long_name_of_the_standard_domain():
    model = parser.parse_model(TEXT)
    model.opset_import[0].domain = "ai.onnx"
    assert Graph(model).opset == 18


def test_inputs_are_those_without_a_stored_default(graph):
    assert graph.inputs == (
        TensorSpec("x", "float32", ("N", 3)),
        TensorSpec("c", "bool", ()),
        TensorSpec("s", "string", (1,)),
    )


def test_outputs(graph):
    assert [o.name for o in graph.outputs] == ["y", "n", "z"]
    assert graph.outputs[0] == TensorSpec("y", "float32", ("N", 3))


def test_types_between_are_inferred(graph):
    assert graph.spec("h") == TensorSpec("h", "float32", ("N", 3))
    assert graph.spec("w") == TensorSpec("w", "float32", (3, 3))
    assert graph.spec("nowhere") == TensorSpec("nowhere", "unknown", None)


def test_shapes_follow_sizes_that_the_graph_computes():
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["": 18]>
        g (float[N, 3, 4] x) => (float[a, b] y) {
            shape = Shape (x)
            zero = Constant <value_ints = [0]> ()
            batch = Gather (shape, zero)
            rest = Constant <value_ints = [12]> ()
            target = Concat <axis = 0> (batch, rest)
            h = Reshape (x, target)
            y = Exp (h)
        }
    """)
    assert Graph(model).spec("h").shape == ("N", 12)


def test_an_unknown_operator_leaves_a_gap_only():
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["": 18, "odd": 1]>
        g (float[2] x) => (float[2] y) { a = odd.Op (x) b = Exp (x) y = Add (a, b) }
    """)
    assert Graph(model).spec("a") == TensorSpec("a", "unknown", None)
    assert Graph(model).spec("b") == TensorSpec("b", "float32", (2,))


def test_a_model_that_inference_refuses_keeps_its_declarations():
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["": 18]>
        g (float[2] x) => (float[2] y) { y = Exp (x) }
    """)
    model.graph.node[0].domain = "odd"
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    assert Graph(model).spec("y") == TensorSpec("y", "float64", (2,))


@pytest.mark.parametrize("size, dim", [(-1, None), (0, 0), (5, 5)])
def test_sizes_below_zero_are_unknown(size, dim):
    model = parser.parse_model(TEXT)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = size
    assert Graph(model).inputs[0].shape == (dim, 3)


def test_a_question_mark_is_no_symbol():
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "?", "?"])
    assert spec_of("x", info.type).shape == ("n", 3, None, None)


def test_kinds_that_are_no_tensors():
    model = parser.parse_model(TEXT)
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    for name, kind in [
        ("q", helper.make_sequence_type_proto(tensor)),
        ("o", helper.make_optional_type_proto(tensor)),
    ]:
        model.graph.input.append(helper.make_value_info(name, kind))
    graph = Graph(model)
    assert (graph.spec("q").dtype, graph.spec("o").dtype) == ("sequence", "optional")


def test_producers_and_names(graph):
    assert graph.producers == {"h": 0, "y": 1, "unused": 2, "n": 3, "z": 4}
    assert {"x", "default", "w", "h", "y", "unused", "n", "z", "inner", "a", "b"} <= graph.names


def test_ancestors_include_what_bodies_capture(graph):
    assert graph.ancestors(["y"]) == {0, 1}
    assert graph.ancestors(["z"]) == {0, 1, 3, 4}
    assert graph.ancestors(["x"]) == set()


def test_captures_leave_out_what_a_body_makes_itself(graph):
    assert sorted(all_inputs(graph.nodes[3])) == ["c", "h", "y"]


def test_captures_of_a_body_in_a_body():
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["": 18]>
        g (float[2] x, bool c, bool d) => (float[2] y) {
            y = If (c) <
                then_branch = t () => (float[2] a) {
                    a = If (d) <
                        then_branch = u () => (float[2] p) { p = Exp (x) },
                        else_branch = v () => (float[2] q) { q = Neg (x) }
                    >
                },
                else_branch = e () => (float[2] b) { b = Identity (x) }
            >
        }
    """)
    assert set(all_inputs(model.graph.node[0])) == {"c", "d", "x"}


# -- constants ------------------------------------------------------------------------------------


def test_a_default_that_the_caller_can_replace_is_no_constant(graph):
    assert graph.constant("default") is None
    np.testing.assert_array_equal(graph.constant("w"), np.eye(3))
    assert graph.constant("x") is None


@pytest.mark.parametrize(
    "attribute, want",
    [
        ({"value_int": 3}, np.int64(3)),
        ({"value_ints": [1, 2]}, np.array([1, 2], np.int64)),
        ({"value_ints": []}, np.array([], np.int64)),
        ({"value_float": 0.5}, np.float32(0.5)),
        ({"value_floats": [0.5, 1.0]}, np.array([0.5, 1], np.float32)),
        ({"value": numpy_helper.from_array(np.array([True]))}, np.array([True])),
    ],
)
def test_constant_nodes(attribute, want):
    node = onnx.NodeProto(op_type="Constant", output=["c"])
    for name, value in attribute.items():
        node.attribute.append(
            helper.make_attribute(name, value, attr_type=onnx.AttributeProto.INTS)
            if isinstance(value, list) and not value
            else helper.make_attribute(name, value)
        )
    got = constant_node(node)
    np.testing.assert_array_equal(got, want)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Constant", [], ["c"], value_string="text"),
        helper.make_node("Constant", [], ["c"]),
        helper.make_node("Constant", [], ["c"], value_int=1, domain="odd"),
        helper.make_node("Exp", ["x"], ["c"]),
    ],
)
def test_what_is_no_constant_number(node):
    assert constant_node(node) is None


def test_tensors_that_are_not_read():
    text = helper.make_tensor("s", TensorProto.STRING, [1], [b"a"])
    large = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 10, 1 << 10])
    outside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    outside.data_location = TensorProto.EXTERNAL
    assert [read_tensor(t) for t in (text, large, outside)] == [None] * 3


def test_sparse_constants_have_a_name_and_a_type():
    model = parser.parse_model(TEXT)
    values = numpy_helper.from_array(np.float32([1, 2]), "sparse")
    indices = numpy_helper.from_array(np.array([0, 5]), "at")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3, 3]))
    graph = Graph(model)
    assert "sparse" in graph.names
    assert graph.spec("sparse") == TensorSpec("sparse", "float32", (3, 3))
    assert graph.constant("sparse") is None


# -- the garbage collector ------------------------------------------------------------------------


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_as_before_afterwards(enabled):
    was = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(ZeroDivisionError), collector_paused():
            assert not gc.isenabled()
            raise ZeroDivisionError
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if was else gc.disable)()
