"""The reverse sweep: what is added up, what is skipped, what is refused."""

import numpy as np
import onnxruntime
import pytest
from onnx import parser

from igrt.errors import NoGradientPath, UnsupportedOperator
from igrt.vjp.augment import augment

HEAD = "g (float[N, 3] x) => (float[N, 3] y)"


def parse(body, head=HEAD, more=""):
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": 18{more}]> {head} {{ {body} }}')


def emitted(model):
    """Operators of the gradient graph, in order."""
    return [n.op_type for n in model.graph.node if n.output[0].startswith("igrt/")]


def gradients(model, wrt=None, of="y", **feeds):
    """Gradients for a cotangent of ones."""
    y = onnxruntime.InferenceSession(model.SerializeToString()).run([of], feeds)[0]
    session = onnxruntime.InferenceSession(augment(model, wrt=wrt, of=of).SerializeToString())
    names = [o.name for o in session.get_outputs() if o.name.startswith("igrt/grad/")]
    results = session.run(names, feeds | {f"igrt/cotangent/{of}": np.ones_like(y)})
    return {n.removeprefix("igrt/grad/"): g for n, g in zip(names, results, strict=True)}


X = np.float32([[1, 2, 3], [4, 5, 6]])
ODD = ', "odd": 2'


# -- what is added up -----------------------------------------------------------------------------


def test_several_uses_are_added():
    got = gradients(parse("a = Mul (x, x) b = Add (a, x) y = Add (b, x)"), x=X)
    np.testing.assert_array_equal(got["x"], 2 * X + 2)


def test_the_same_operand_in_both_places():
    np.testing.assert_array_equal(gradients(parse("y = Add (x, x)"), x=X)["x"], 2 + 0 * X)


def test_a_tensor_that_is_an_output_and_used_further():
    head = "g (float[N, 3] x) => (float[N, 3] y, float[N, 3] z)"
    model = parse("y = Mul (x, x) z = Mul (y, y)", head)
    np.testing.assert_array_equal(gradients(model, of="z", x=X)["x"], 4 * X**3)
    np.testing.assert_array_equal(gradients(model, of="y", x=X)["x"], 2 * X)


def test_both_branches_of_a_split():
    head = "g (float[N, 3] x) => (float[N, 1] y)"
    model = parse("a, b, c = Split <axis = 1, num_outputs = 3> (x) y = Mul (a, c)", head)
    got = gradients(model, x=X)["x"]
    np.testing.assert_array_equal(got, np.stack([X[:, 2], 0 * X[:, 1], X[:, 0]], axis=1))


# -- with respect to what -------------------------------------------------------------------------


def test_an_inner_tensor_together_with_one_in_front_of_it():
    got = gradients(parse("h = Mul (x, x) k = Mul (h, h) y = Add (k, x)"), wrt=["h", "x"], x=X)
    np.testing.assert_array_equal(got["h"], 2 * X**2)
    np.testing.assert_array_equal(got["x"], 4 * X**3 + 1)


def test_an_inner_tensor_alone_leaves_out_what_lies_in_front():
    model = parse("h = odd.Op (x) k = Identity (h) y = Mul (k, k)", HEAD + " <float[N, 3] h>", ODD)
    assert emitted(augment(model, wrt=["h"], of="y")) == ["Mul", "Add", "Identity"]


def test_the_explained_tensor_itself():
    got = gradients(parse("y = Mul (x, x)"), wrt=["y", "x"], x=X)
    np.testing.assert_array_equal(got["y"], np.ones_like(X))
    np.testing.assert_array_equal(got["x"], 2 * X)


def test_an_input_that_is_the_explained_output():
    head = "g (float[N, 3] x) => (float[N, 3] x, float[N, 3] y)"
    np.testing.assert_array_equal(
        gradients(parse("y = Exp (x)", head), of="x", x=X)["x"], 1 + 0 * X
    )


def test_an_input_that_the_output_does_not_depend_on_gets_zeros():
    head = "g (float[N, 3] x, float[N, 2] other) => (float[N, 3] y)"
    model = parse("y = Mul (x, x) unused = Exp (other)", head)
    got = gradients(model, x=X, other=np.ones((2, 2), np.float32))
    np.testing.assert_array_equal(got["other"], np.zeros((2, 2)))
    np.testing.assert_array_equal(got["x"], 2 * X)


def test_gradients_have_the_type_and_shape_of_their_tensor():
    head = "g (float16[N, 3] x, float16[3] b) => (float[N, 3] y)"
    augmented = augment(parse("s = Add (x, b) y = Cast <to = 1> (s)", head))
    declared = {o.name: o.type.tensor_type for o in augmented.graph.output}
    assert declared["igrt/grad/x"].elem_type == declared["igrt/grad/b"].elem_type == 10
    assert [d.dim_value for d in declared["igrt/grad/b"].shape.dim] == [3]
    assert [d.dim_param or d.dim_value for d in declared["igrt/grad/x"].shape.dim] == ["N", 3]


# -- nothing for nothing --------------------------------------------------------------------------


def test_operands_that_nobody_asked_for_cost_nothing():
    head = "g (float[N, 3] x, float[3] b) => (float[N, 3] y) <float[3, 3] w = {1,2,3,4,5,6,7,8,9}>"
    model = parse("h = MatMul (x, w) s = Add (h, b) y = Mul (s, b)", head)
    both, only = emitted(augment(model)), emitted(augment(model, wrt=["x"]))
    assert "ReduceSum" in both
    assert "ReduceSum" not in only
    assert len(only) < len(both)


def test_nothing_dead_is_emitted():
    head = "g (float[N, 4] x, float[N, 4] z) => (float[N, 2] y)"
    body = """
        a, b = Split <axis = 1, num_outputs = 2> (x)
        c, d = Split <axis = 1, num_outputs = 2> (z)
        e = Mul (a, c)
        f = Tanh (e)
        r = Relu (f)
        y = Mul (r, b)
    """
    for wrt in (["x"], ["z"], ["x", "z"], ["f"]):
        graph = augment(parse(body, head), wrt=wrt).graph
        read = {n for node in graph.node for n in node.input} | {o.name for o in graph.output}
        # `d` is dead in the model itself, which stays as it is
        assert {o for node in graph.node for o in node.output} - read == {"d"}
        assert {t.name for t in graph.initializer} <= read


def test_shared_terms_are_computed_once():
    model = parse("s = Tanh (x) a = Mul (s, s) b = Mul (s, s) y = Add (a, b)")
    assert emitted(augment(model)).count("Mul") == 2  # ȳ·s, ·(1 - s²); s² is the model's own


# -- what is refused ------------------------------------------------------------------------------


def test_all_missing_rules_are_reported_at_once():
    body = """
        [first] a = odd.Op (x)
        [second] b = odd.Op (a)
        [third] c = odd.Op (b)
        [fourth] d = odd.Op (c)
        [other] y = odd.Other (d, x)
    """
    with pytest.raises(UnsupportedOperator) as caught:
        augment(parse(body, more=ODD))
    lines = caught.value.message.splitlines()
    assert lines[0] == "2 operators between `x` and `y` have no gradient rule"
    assert lines[1].split() == "odd.Op-2 (0) 4 nodes first, second, third, …".split()
    assert lines[2].split() == "odd.Other-2 (0, 1) 1 node other".split()
    assert "of" in caught.value.hint and "wrt" in caught.value.hint


def test_one_missing_rule():
    with pytest.raises(UnsupportedOperator, match="1 operator between `x` and `y` has no"):
        augment(parse("y = odd.Op (x)", more=ODD))


def test_a_missing_rule_off_the_way_does_not_matter():
    head = "g (float[N, 3] x, float[N, 3] z) => (float[N, 3] y, float[N, 3] w) <float[N, 3] k>"
    body = "a = odd.Op (z) k = Cast <to = 1> (a) y = Mul (x, k) w = odd.Op (y)"
    augmented = augment(parse(body, head, ODD), wrt=["x"], of="y")
    assert emitted(augmented) == ["Mul", "Identity"]
    with pytest.raises(UnsupportedOperator, match=r"odd\.Op-2"):
        augment(parse(body, head, ODD), wrt=["x", "z"], of="y")


def test_a_missing_rule_behind_a_locally_constant_operator_does_not_matter():
    body = "r = Round (x) s = odd.Op (r) k = Cast <to = 1> (s) y = Mul (x, k)"
    model = parse(body, HEAD + " <float[N, 3] k>", ODD)
    assert emitted(augment(model)) == ["Mul", "Identity"]


@pytest.mark.parametrize(
    "body, operator",
    [
        ("[cut] r = Round (x) y = Mul (r, r)", "Round"),
        ("[cut] i = Cast <to = 7> (x) y = Cast <to = 1> (i)", "Cast"),
        ("a = Tanh (x) [cut] r = Floor (a) y = Exp (r)", "Floor"),
    ],
)
def test_a_path_that_is_cut_everywhere_is_refused_by_name(body, operator):
    with pytest.raises(NoGradientPath) as caught:
        augment(parse(body))
    assert f"`cut` ({operator})" in caught.value.message
    assert "`x`" in caught.value.message and "`y`" in caught.value.message


def test_the_hint_names_the_tensor_in_front():
    head = "g (float[N, 3] x) => (int64[N] label)"
    with pytest.raises(NoGradientPath) as caught:
        augment(parse("h = Tanh (x) label = ArgMax <axis = 1, keepdims = 0> (h)", head))
    assert 'of="h"' in caught.value.hint


CUT_FOR_ONE = "r = Round (z) y = Mul (x, r)"
TWO = "g (float[N, 3] x, float[N, 3] z) => (float[N, 3] y)"


def test_an_input_whose_paths_are_all_cut_is_left_out_unless_asked_for():
    outputs = [o.name for o in augment(parse(CUT_FOR_ONE, TWO)).graph.output]
    assert outputs == ["y", "igrt/grad/x"]
    with pytest.raises(NoGradientPath, match="every path from `z`"):
        augment(parse(CUT_FOR_ONE, TWO), wrt=["x", "z"])


def test_one_smooth_path_is_enough():
    got = gradients(parse("r = Round (x) y = Mul (x, r)"), x=X)
    np.testing.assert_array_equal(got["x"], X)
