"""The passes that bring a model into the form that the rules are written for."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, parser

from igrt.errors import ModelLoadError
from igrt.graph.normalize import name_nodes, normalize, raise_opset, sort_nodes
from igrt.graph.normalize.inline import inline_functions, inline_operators
from igrt.graph.normalize.opset import opset_of, pin_ir_version


def parse(body, opset=18, head="g (float[2, 3] x) => (float[a, b] y)", more="", functions=""):
    return parser.parse_model(
        f'<ir_version: 8, opset_import: ["": {opset}{more}]> {head} {{ {body} }} {functions}'
    )


def run(model, x):
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)


# -- normalize ------------------------------------------------------------------------------------

OLD = {
    "by attribute": (11, "s = Squeeze <axes = [1]> (u) u = Unsqueeze <axes = [1]> (x) y = Exp (s)"),
    "softmax over a flattened axis": (9, "y = Softmax <axis = 1> (x)"),
    "reduction": (10, "y = ReduceSum <axes = [1]> (x)"),
    "clip by attribute": (7, "y = Clip <min = -0.5, max = 0.5> (x)"),
    "pad by attribute": (10, "y = Pad <pads = [0, 1, 0, 1]> (x)"),
    "slice by attribute": (9, "y = Slice <starts = [0], ends = [1], axes = [1]> (x)"),
}


@pytest.mark.parametrize("case", OLD)
def test_what_the_model_computes_stays_the_same(case):
    opset, body = OLD[case]
    model = parse(body, opset)
    normal = normalize(model)
    assert opset_of(normal) == 18
    in_order = sort_nodes(onnx.ModelProto.FromString(model.SerializeToString()))
    np.testing.assert_array_equal(run(normal, X), run(in_order, X))


def test_the_model_given_is_not_changed():
    model = parse(OLD["by attribute"][1], 11)
    before = model.SerializeToString()
    normalize(model)
    assert model.SerializeToString() == before


def test_names_of_tensors_stay():
    model = normalize(parse(OLD["by attribute"][1], 11))
    made = {o for n in model.graph.node for o in n.output}
    assert {"s", "u", "y"} <= made


# -- opset ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("opset", [18, 21, 26])
def test_opsets_from_18_on_are_left_alone(opset):
    model = parse("y = Exp (x)", opset)
    assert raise_opset(model) is model


@pytest.mark.parametrize("opset", [1, 6, 7, 9, 13, 17])
def test_older_opsets_are_raised(opset):
    model = parse("y = Exp (x)", opset)
    model.metadata_props.add(key="author", value="someone")
    raised = raise_opset(model)
    assert opset_of(raised) == 18
    assert [(p.key, p.value) for p in raised.metadata_props] == [("author", "someone")]


@pytest.mark.parametrize("opset, word", [(99, "up to 26"), (0, "1 and newer")])
def test_opsets_out_of_range(opset, word):
    with pytest.raises(ModelLoadError, match=word):
        raise_opset(parse("y = Exp (x)", opset))


def test_an_operator_that_does_not_exist_is_named():
    with pytest.raises(ModelLoadError, match=r"Expo \(`here`\)"):
        raise_opset(parse("[here] y = Expo (x)", 12))


def test_operators_of_other_domains_pass_the_converter():
    model = parse("h = com.microsoft.Gelu (x) y = Exp (h)", 12, more=', "com.microsoft": 1')
    raised = raise_opset(model)
    assert [n.domain for n in raised.graph.node] == ["com.microsoft", ""]
    assert {o.domain: o.version for o in raised.opset_import} == {"": 18, "com.microsoft": 1}


def test_bodies_are_raised_too():
    head = "g (float[2, 1] x, bool c) => (float[a] y)"
    branch = "{0} = {0}_ () => (float[2] {0}) {{ {0} = Squeeze <axes = [1]> (x) }}"
    then, other = branch.format("p"), branch.format("q")
    body = f"y = If (c) <then_branch = {then[4:]}, else_branch = {other[4:]}>"
    raised = raise_opset(parse(body, 11, head))
    for attribute in raised.graph.node[-1].attribute:
        assert [len(n.input) for n in attribute.g.node if n.op_type == "Squeeze"] == [2]


def test_a_stored_default_listed_as_an_input_stays_both():
    head = "g (float[2, 3] x, float[3] w) => (float[2, 3] y) <float[3] w = {1, 2, 3}>"
    raised = raise_opset(parse("y = Mul (x, w)", 9, head))
    assert [i.name for i in raised.graph.input] == ["x", "w"]
    assert [t.name for t in raised.graph.initializer] == ["w"]


@pytest.mark.parametrize(
    "opset, given, ir", [(18, 3, 10), (21, 14, 10), (22, 14, 10), (23, 14, 11), (26, 3, 13)]
)
def test_ir_version(opset, given, ir):
    model = parse("y = Exp (x)", opset)
    model.ir_version = given
    pin_ir_version(model)
    assert model.ir_version == ir
    np.testing.assert_allclose(run(model, X), np.exp(X), rtol=1e-6)  # float32


# -- functions ------------------------------------------------------------------------------------

FUNCTION = """
    <domain: "mine", opset_import: ["": {opset}]>
    Twice (a) => (b) {{ one = Constant <value_float = 2.0> () b = Mul (a, one) }}
"""


@pytest.mark.parametrize("opset", [12, 18])
def test_functions_of_the_model_become_their_bodies(opset):
    body = "h = mine.Twice (x) y = mine.Twice (h)"
    functions = FUNCTION.format(opset=opset)
    model = parse(body, opset, more=', "mine": 1', functions=functions)
    inlined = inline_functions(model)
    assert not inlined.functions
    assert {n.op_type for n in inlined.graph.node} == {"Constant", "Mul"}
    np.testing.assert_array_equal(run(normalize(model), X), 4 * X)


def test_a_function_of_another_opset_is_raised_to_the_models():
    functions = """
        <domain: "mine", opset_import: ["": 11]>
        Column (a) => (b) { b = Unsqueeze <axes = [0]> (a) }
    """
    head = "g (float[2, 3] x) => (float[1, 2, 3] y)"
    model = parse("y = mine.Column (x)", 18, head, ', "mine": 1', functions)
    np.testing.assert_array_equal(run(normalize(model), X), X[None])


def test_operators_become_the_body_that_onnx_defines():
    model = parse("h = HardSwish (x) y = Exp (h)")
    inlined = inline_operators(model, [("", "HardSwish")])
    used = [n.op_type for n in inlined.graph.node]
    assert "HardSwish" not in used
    assert used[-1] == "Exp"
    # two implementations of the same function in float32
    np.testing.assert_allclose(run(inlined, X), run(model, X), rtol=1e-6)


# -- names ----------------------------------------------------------------------------------------


def test_every_node_gets_a_name_of_its_own():
    nodes = "[a] p = Exp (x) [a] q = Exp (p) r = Exp (q) [Exp_2] y = Exp (r)"
    names = [n.name for n in name_nodes(parse(nodes)).graph.node]
    assert len(set(names)) == 4
    assert (names[0], names[3]) == ("a", "Exp_2")
    assert names[1].startswith("a_") and names[2].startswith("Exp_")


# -- order ----------------------------------------------------------------------------------------


def test_nodes_in_order_stay_as_they_are():
    model = parse("h = Exp (x) y = Neg (h)")
    before = model.SerializeToString()
    assert sort_nodes(model).SerializeToString() == before


def test_nodes_come_behind_what_they_read():
    model = sort_nodes(parse("y = Add (h, k) k = Neg (h) h = Exp (x)"))
    assert [n.output[0] for n in model.graph.node] == ["h", "k", "y"]


def test_nodes_come_behind_what_their_bodies_read():
    head = "g (float[2, 3] x, bool c) => (float[2, 3] y)"
    body = """
        y = If (c) <
            then_branch = t () => (float[2, 3] p) { p = Exp (h) },
            else_branch = e () => (float[2, 3] q) { q = Neg (x) }
        >
        h = Neg (x)
    """
    assert [n.op_type for n in sort_nodes(parse(body, head=head)).graph.node] == ["Neg", "If"]


def test_a_circle_is_refused():
    with pytest.raises(ModelLoadError, match=r"circle: `[pq]`, `[pq]`"):
        sort_nodes(parse("[p] h = Add (x, k) [q] k = Neg (h) y = Exp (k)"))


def test_a_tensor_from_nowhere_is_refused():
    with pytest.raises(ModelLoadError, match="`lost`, an input of node `p`"):
        sort_nodes(parse("[p] y = Add (x, lost)"))


def test_sparse_constants_come_from_somewhere():
    model = parse("y = Add (x, sparse)")
    sparse = onnx.SparseTensorProto(dims=[3])
    sparse.values.CopyFrom(helper.make_tensor("sparse", TensorProto.FLOAT, [1], [1.0]))
    sparse.indices.CopyFrom(helper.make_tensor("", TensorProto.INT64, [1], [0]))
    model.graph.sparse_initializer.append(sparse)
    assert len(sort_nodes(model).graph.node) == 1


def test_trailing_omitted_inputs_are_left_out():
    """onnxruntime 1.32 crashes when it loads a LayerNormalization with an empty third input."""
    node = onnx.helper.make_node("LayerNormalization", ["x", "s", ""], ["y"])
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [info("x", 1, ["N", 4]), info("s", 1, [4])],
        [info("y", 1, ["N", 4])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    assert list(normalize(model).graph.node[0].input) == ["x", "s"]


def test_omitted_inputs_do_not_keep_a_body_from_being_expanded():
    """ONNX's inliner fails an assertion on an Attention that omits an inner input."""
    info = onnx.helper.make_tensor_value_info
    names = ["Q", "K", "V", "past_key", "past_value"]
    node = onnx.helper.make_node(
        "Attention", ["Q", "K", "V", "", "past_key", "past_value"], ["Y", "pk", "pv"]
    )
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [info(n, 1, [1, 2, 3, 4]) for n in names],
        [info(n, 1, None) for n in ("Y", "pk", "pv")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 24)])
    expanded = inline_operators(model, [("", "Attention")])
    assert expanded is not None
    assert "Attention" not in {n.op_type for n in expanded.graph.node}
    assert [o.domain for o in expanded.opset_import] == [""]


def test_an_operator_without_a_body_is_not_expanded():
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]> g (float[2] x) => (float[2] y) { y = Abs (x) }'
    )
    expanded = inline_operators(model, [("", "Abs")])
    assert expanded is None or [n.op_type for n in expanded.graph.node] == ["Abs"]
