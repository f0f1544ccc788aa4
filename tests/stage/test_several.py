"""A gradient graph with several cotangents per point gives what each gives alone."""

import numpy as np
import pytest
from onnx import parser
from onnx.reference import ReferenceEvaluator
from onnxruntime import InferenceSession

from igrt.graph.normalize import normalize
from igrt.graph.prune import prune
from igrt.parts import OF_POINT
from igrt.stage.several import Several
from igrt.stage.sized import sized_graph
from igrt.vjp.augment import differentiate

# rounding of float64 products of rows that stand in batches of other sizes, relative to the largest
EXACT = 1e-12

ROW = np.array([1, 0, 2, 1, 1])
"""The point of each of five cotangents at three points."""


def model(text):
    return parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')


def planned(proto, feeds, *, shared=()):
    """The gradient graph, what would be shared in it, and cotangents for `ROW`."""
    proto = normalize(proto)
    wrt = [n for n, a in feeds.items() if a.dtype.kind == "f" and n not in shared]
    augmented = differentiate(proto, wrt=wrt)
    gradients = list(augmented.gradients.values())
    lean = prune(augmented.model, gradients, keep_inputs=False)
    y = ReferenceEvaluator(proto).run([augmented.of.name], feeds)[0]
    cotangents = np.random.default_rng(2).normal(size=(len(ROW), *y.shape[1:]))
    shapes = {n: a.shape if n in shared else (1, *a.shape[1:]) for n, a in feeds.items()}
    shapes[augmented.cotangent] = (1, *y.shape[1:])
    shapes |= {g: shapes[n] for n, g in augmented.gradients.items()}
    sized = sized_graph(
        lean,
        shapes,
        moving=wrt,
        shared=shared,
        late=[augmented.cotangent],
        batched=True,
        any_rows=True,
    )
    return Several(sized, tuple(gradients), augmented.cotangent), lean, cotangents


def assert_same(proto, feeds, *, shared=(), once=1):
    plan, lean, cotangents = planned(proto, feeds, shared=shared)
    assert plan.refused == ""
    assert len(plan.once) >= once
    fed = {i.name for i in lean.graph.input}
    feeds = {n: a for n, a in feeds.items() if n in fed}
    apart = {n: a if n in shared else a[ROW] for n, a in feeds.items()}
    wanted = ReferenceEvaluator(lean).run(None, apart | {plan.cotangent: cotangents})
    together = feeds | {plan.cotangent: cotangents, OF_POINT: ROW}
    found = ReferenceEvaluator(plan.model).run(None, together)
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= EXACT * np.abs(b).max()
    return plan


def numbers(*shape):
    return np.random.default_rng(1).normal(size=shape)


def test_a_perceptron_runs_its_layers_once_per_point():
    net = model(
        """g (double[N, 3] x) => (double[N, 2] y)
           <double[3, 4] v = {1,2,3,4, -1,2,0.5,1, 3,1,-2,1}, double[4, 2] w = {1,2,3,4,-1,2,1,1}> {
             a = MatMul(x, v)  h = Tanh(a)  y = MatMul(h, w) }"""
    )
    plan = assert_same(net, {"x": numbers(3, 3)}, once=2)
    assert list(plan.gathered.values()) == [0]


def test_rows_on_another_axis():
    """As in recurrent networks, which have time in front."""
    net = model(
        """g (double[N, 5, 4] x) => (double[N, 4] y) <int64[1] first = {0}> {
             t = Transpose<perm = [1, 0, 2]>(x)  s = Softmax<axis = 0>(t)  e = Exp(s)
             y = ReduceSum<keepdims = 0>(e, first) }"""
    )
    plan = assert_same(net, {"x": numbers(3, 5, 4)})
    assert 1 in plan.gathered.values()


def test_shapes_that_are_computed_are_those_of_the_cotangents():
    """Heads of an attention layer as torch exports them: sizes read, divided, put together."""
    net = model(
        """g (double[N, 4, 6] x) => (double[N, 4, 6] y)
           <int64 zero = {0}, int64 one = {1}, int64 last = {2}, int64 two = {2}, int64[1] at = {0},
            int64[1] heads = {2}, int64[1] rest = {-1}> {
             s = Shape(x)  n = Gather(s, zero)  t = Gather(s, one)  d = Gather(s, last)
             n1 = Unsqueeze(n, at)  t1 = Unsqueeze(t, at)  half = Div(d, two)
             h1 = Unsqueeze(half, at)  into = Concat<axis = 0>(n1, t1, heads, h1)
             e = Exp(x)  split = Reshape(e, into)  q = Transpose<perm = [0, 2, 1, 3]>(split)
             k = Transpose<perm = [0, 2, 3, 1]>(split)  scores = MatMul(q, k)
             p = Softmax<axis = -1>(scores)  mixed = MatMul(p, q)
             back = Transpose<perm = [0, 2, 1, 3]>(mixed)
             whole = Concat<axis = 0>(n1, t1, rest)  y = Reshape(back, whole) }"""
    )
    assert_same(net, {"x": numbers(3, 4, 6)}, once=5)


def test_rows_that_are_folded_into_another_axis_run_per_cotangent():
    """[N, 2, 3] as [2·N, 3] has no axis of rows to gather on; its sizes are known all the same."""
    net = model(
        """g (double[N, 2, 3] x) => (double[N, 2, 3] y)
           <int64[2] flat = {-1, 3}, double[3, 3] w = {1,2,3,4,5,6,7,8,9}> {
             t = Tanh(x)  f = Reshape(t, flat)  m = MatMul(f, w)  e = Sigmoid(m)
             s = Shape(x)  y = Reshape(e, s) }"""
    )
    plan = assert_same(net, {"x": numbers(3, 2, 3)})
    assert all(axis == 0 for axis in plan.gathered.values())


def test_inputs_of_examples_and_shared_ones():
    net = model(
        """g (double[N, 3] x, double[N, 3] scale, double[3] shift, int64[N, 3] mask) =>
             (double[N, 3] y) {
             m = Cast<to = 11>(mask)  a = Mul(x, scale)  b = Add(a, shift)  c = Exp(b)
             y = Mul(c, m) }"""
    )
    feeds = {"x": numbers(3, 3), "scale": numbers(3, 3) + 2, "shift": numbers(3)}
    feeds["mask"] = np.array([[1, 0, 1], [1, 1, 1], [0, 1, 0]])
    assert_same(net, feeds, shared=["shift"])


def test_a_recurrent_network():
    """The reverse sweep is a Scan over what the forward pass has left, backwards in time."""
    net = model(
        """g (float[N, 4, 2] x) => (float[N, 3] y)
           <float[1, 9, 2] w = {1,2,-1,1,0.5,1,1,-2,1,0,1,1,1,1,-1,-1,2,0.5},
            float[1, 9, 3] r = {1,0,0.5,-1,1,0,0,1,1,0.5,0.5,1,1,-1,0,1,0,1,0.5,1,1,0,0,1,1,1,-1},
            int64[1] front = {0}> {
             t = Transpose<perm = [1, 0, 2]>(x)
             all, last = GRU<hidden_size = 3>(t, w, r)  y = Squeeze(last, front) }"""
    )
    x = numbers(3, 4, 2).astype(np.float32)
    plan, lean, cotangents = planned(net, {"x": x})
    assert plan.refused == ""
    apart = {"x": x[ROW], plan.cotangent: cotangents.astype(np.float32)}
    together = {"x": x, plan.cotangent: apart[plan.cotangent], OF_POINT: ROW}
    # onnx.reference has no Scan that runs backwards
    (wanted,), (found,) = (
        InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, f)
        for proto, f in ((lean, apart), (plan.model, together))
    )
    # float32
    assert np.abs(found - wanted).max() <= 1e-6 * np.abs(wanted).max()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("r = RandomUniformLike(x)  e = Exp(x)  y = Mul(e, r)", "random"),
        ("y = Add(x, x)", "nothing can run once"),
    ],
)
def test_what_cannot_be_shared_is_refused(body, words):
    net = model(f"g (double[N, 3] x) => (double[N, 3] y) {{ {body} }}")
    plan, _, _ = planned(net, {"x": numbers(3, 3)})
    assert words in plan.refused
