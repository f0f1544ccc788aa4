"""Implementation invariance, linearity and symmetry, and the rewrites behind the first."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from verify_cases import KINKED, PRODUCT, SATURATED, SMOOTH, TWO, Broken, X, model

import igrt
from igrt.verify import rewrites

INVARIANCE = "implementation invariance"


def run(proto, x):
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("proto", [SMOOTH, KINKED], ids=["smooth", "kinked"])
def test_rewrites_compute_the_same_with_other_operators(proto):
    made, _ = rewrites.equivalents(proto)
    assert "respelled" in made
    before = [n.op_type for n in proto.graph.node]
    for name, other in made.items():
        np.testing.assert_allclose(run(other, X), run(proto, X), rtol=1e-5, err_msg=name)
        assert [n.op_type for n in other.graph.node] != before, name


def test_respelling_leaves_none_of_the_operators_it_spells():
    proto = model(
        """g (float[N, 3] x) => (float[N, 3] y) <float[3, 3] W = {1,2,3,4,5,6,7,8,9},
             float[3] c = {1, 2, 3}> {
             a = Relu(x)  b = Sigmoid(a)  d = Gemm(b, W, c)  y = Relu(d) }"""
    )
    made = rewrites.respell(proto)
    kinds = [n.op_type for n in made.graph.node]
    assert "Relu" not in kinds
    assert "Sigmoid" not in kinds
    assert all(len(n.input) == 2 for n in made.graph.node if n.op_type == "Gemm")
    np.testing.assert_allclose(run(made, X), run(proto, X), rtol=1e-6)


@pytest.mark.parametrize("proto", [SMOOTH, KINKED], ids=["smooth", "kinked"])
def test_integrated_gradients_do_not_depend_on_the_operators(proto):
    found = igrt.verify(proto, X, checks=[INVARIANCE])[INVARIANCE]
    assert found.holds is True
    assert found.figure < 1e-4
    assert "respelled" in found.detail


def test_what_depends_on_the_operators_is_seen():
    """An attribution that is larger, the more nodes there are."""
    explain = Broken(lambda v, proto: v * (1 + 0.1 * len(proto.graph.node)))
    found = igrt.verify(KINKED, X, explain=explain, checks=[INVARIANCE])[INVARIANCE]
    assert found.holds is False


def test_a_rewrite_that_computes_something_else_is_not_held_against_the_method(monkeypatch):
    def negated(proto):
        other = onnx.ModelProto()
        other.CopyFrom(proto)
        last = other.graph.node[-1]
        last.output[0] = "inner"
        other.graph.node.append(onnx.helper.make_node("Neg", ["inner"], ["y"]))
        return other

    monkeypatch.setattr(rewrites, "REWRITES", {"negated": negated})
    found = igrt.verify(KINKED, X, checks=[INVARIANCE])[INVARIANCE]
    assert found.holds is None
    assert "negated: it computes something else" in found.detail


def test_a_model_that_nothing_can_be_rewritten_in_is_said_to():
    found = igrt.verify(PRODUCT, {"a": TWO, "b": TWO}, checks=[INVARIANCE])[INVARIANCE]
    assert found.holds is None
    assert found.detail.count("changes nothing") == 3


F, G = (
    model(
        f"""g (float[N, 1] a, float[N, 1] b) => (float[N, 1] y) <float[1] one = {{1}}> {{
             {first}  q = Relu(b)  {second}  y = Relu(z) }}"""
    )
    for first, second in [
        ("p = Relu(a)", "u = Sub(p, one)  z = Sub(u, q)"),
        ("u = Sub(a, one)  p = Relu(u)", "z = Sub(p, q)"),
    ]
)
"""The paper's equal networks, ReLU(ReLU(a) − 1 − ReLU(b)) and ReLU(ReLU(a − 1) − ReLU(b))."""

PAIR = {"a": np.array([[3.0]], np.float32), "b": np.array([[1.0]], np.float32)}


def test_models_that_the_user_says_are_equal_count():
    found = igrt.verify(F, PAIR, equals=[G], checks=[INVARIANCE])[INVARIANCE]
    assert found.holds is True
    assert "equal 1" in found.detail
    # the second has its bias in front of a Relu: one node of the path is elsewhere
    explain = Broken(lambda v, proto: v * (1 + (proto.graph.node[0].op_type == "Sub")))
    found = igrt.verify(F, PAIR, equals=[G], explain=explain, checks=[INVARIANCE])[INVARIANCE]
    assert found.holds is False


def test_a_model_that_is_not_equal_is_said_to_be_another():
    other = model("g (float[N, 1] a, float[N, 1] b) => (float[N, 1] y) { y = Add(a, b) }")
    found = igrt.verify(F, PAIR, equals=[other], checks=[INVARIANCE])[INVARIANCE]
    assert "equal 1: it computes something else" in found.detail


@pytest.mark.parametrize("proto", [SMOOTH, KINKED], ids=["smooth", "kinked"])
def test_integrated_gradients_are_linear(proto):
    found = igrt.verify(proto, X, checks=["linearity"])["linearity"]
    assert found.holds is True
    assert "elements" in found.detail


@pytest.mark.parametrize(
    "change", [lambda v, _: np.abs(v), lambda v, _: v * v, lambda v, _: v + 1.0]
)
def test_what_is_not_linear_is_seen(change):
    found = igrt.verify(SMOOTH, X, explain=Broken(change), checks=["linearity"])["linearity"]
    assert found.holds is False


def test_a_model_of_one_output_is_held_to_twice_itself():
    found = igrt.verify(SATURATED, TWO, checks=["linearity"])["linearity"]
    assert found.holds is True
    assert "no other element" in found.detail
    explain = Broken(lambda v, _: v * v)
    found = igrt.verify(SATURATED, TWO, explain=explain, checks=["linearity"])["linearity"]
    assert found.holds is False


def test_the_weighted_sum_weighs_the_outputs():
    output = run(SMOOTH, X)
    proto, name = rewrites.weighted_sum(SMOOTH, "y", np.array([2.0, -0.5]), batched=True)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (total,) = session.run([name], {"x": X})
    np.testing.assert_allclose(total[:, 0], output @ [2, -0.5], rtol=1e-5)


EVEN = model(
    """g (float[N, 4] x) => (float[N, 1] y) <float[4, 1] W = {1, 2, 1, -3}> {
         h = Tanh(x)  s = Mul(h, h)  y = MatMul(s, W) }"""
)


def test_exchangeable_features_get_equal_attributions():
    x = np.array([[0.3, -0.4, 1.2, 0.9]], np.float32)
    found = igrt.verify(EVEN, x, checks=["symmetry"])["symmetry"]
    assert found.holds is True
    assert "1 exchangeable pair, such as x[0], x[2]" in found.detail


def test_unequal_attributions_of_exchangeable_features_are_seen():
    x = np.array([[0.3, -0.4, 1.2, 0.9]], np.float32)
    explain = Broken(lambda v, _: v * np.array([1.0, 1, 0.9, 1]))
    found = igrt.verify(EVEN, x, explain=explain, checks=["symmetry"])["symmetry"]
    assert found.holds is False


def test_the_factors_of_a_product_are_exchangeable():
    inputs = {"a": np.array([[3.0]], np.float32), "b": np.array([[5.0]], np.float32)}
    found = igrt.verify(PRODUCT, inputs, checks=["symmetry"])["symmetry"]
    assert (found.holds, found.figure) == (True, 0)


def test_whole_inputs_are_exchangeable_where_single_features_are_not():
    """F = Σ (V(a − b))² is the same with a and b swapped."""
    proto = model(
        """g (float[N, 2] a, float[N, 2] b) => (float[N, 1] y)
           <float[2, 2] V = {1, 2, 3, 5}, float[2, 1] one = {1, 1}> {
             p = MatMul(a, V)  q = MatMul(b, V)  t = Tanh(p)  u = Tanh(q)
             r = Mul(t, u)  y = MatMul(r, one) }"""
    )
    inputs = {"a": X[:1, :2], "b": X[1:, :2]}
    found = igrt.verify(proto, inputs, checks=["symmetry"])["symmetry"]
    assert found.holds is True
    assert "a[0], b[0] and what follows" in found.detail


def test_the_maximum_of_a_pool_is_symmetric_though_the_first_wins_a_tie():
    proto = model(
        """g (float[N, 1, 1, 4] x) => (float[N, 1, 1, 2] y) {
             y = MaxPool<kernel_shape = [1, 2], strides = [1, 2]>(x) }"""
    )
    x = np.array([[[[0.3, 0.9, 0.5, 0.2]]]], np.float32)
    found = igrt.verify(proto, x, target=(0, 0, 0), checks=["symmetry"])["symmetry"]
    assert (found.holds, found.figure) == (True, 0)
    assert "such as x[0, 0, 0], x[0, 0, 1]" in found.detail


@pytest.mark.parametrize("proto", [SMOOTH, KINKED], ids=["smooth", "kinked"])
def test_features_that_are_not_exchangeable_are_not_taken_for_it(proto):
    found = igrt.verify(proto, X, checks=["symmetry"])["symmetry"]
    assert found.holds is None
    assert "no two features are exchangeable, 3 of their pairs tried" in found.detail
