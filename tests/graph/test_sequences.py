"""Sequences that are taken apart before a model is differentiated."""

import numpy as np
import onnxruntime
import pytest
from onnx import parser

from igrt.errors import UnsupportedOperator
from igrt.graph.normalize import normalize
from igrt.vjp.augment import augment

X = np.float32([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]])


def parse(body, head="g (float[2, 5] x) => (float[a, b] y)", opset=18):
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> {head} {{ {body} }}')


CONSTANTS = "one = Constant <value_int = 1> () last = Constant <value_int = -1> () "
CASES = {
    "split and at": ("s = SplitToSequence <axis = 1, keepdims = 1> (x) y = SequenceAt (s, one)"),
    "split without the axis": (
        "s = SplitToSequence <axis = 1, keepdims = 0> (x) "
        "y = ConcatFromSequence <axis = 0, new_axis = 1> (s)"
    ),
    "split by a size": (
        "two = Constant <value_int = 2> () s = SplitToSequence <axis = 1> (x, two) "
        "a = SequenceAt (s, last) b = SequenceAt (s, one) y = Mul (a, b)"
    ),
    "split by sizes": (
        "sizes = Constant <value_ints = [2, 3]> () s = SplitToSequence <axis = 1> (x, sizes) "
        "t = Identity (s) y = SequenceAt (t, last)"
    ),
    "construct and concatenate": (
        "a = Tanh (x) s = SequenceConstruct (x, a, x) y = ConcatFromSequence <axis = -1> (s)"
    ),
    "stack": (
        "a = Tanh (x) s = SequenceConstruct (x, a) z = ConcatFromSequence <axis = 1, new_axis = 1> "
        "(s) axes = Constant <value_ints = [1]> () y = ReduceSum <keepdims = 0> (z, axes)"
    ),
    "insert and erase": (
        "a = Tanh (x) b = Exp (x) e = SequenceEmpty () f = SequenceInsert (e, x) "
        "g = SequenceInsert (f, a) zero = Constant <value_int = 0> () "
        "h = SequenceInsert (g, b, zero)"
        " i = SequenceErase (h, one) y = ConcatFromSequence <axis = 0> (i)"
    ),
    "erase the last": (
        "a = Tanh (x) s = SequenceConstruct (x, a, a) t = SequenceErase (s) n = SequenceLength (t) "
        "k = Cast <to = 1> (n) c = ConcatFromSequence <axis = 0> (t) y = Mul (c, k)"
    ),
    "optional": "a = Tanh (x) o = Optional (a) y = OptionalGetElement (o)",
    "optional tensor": "a = Tanh (x) y = OptionalGetElement (a)",
}


@pytest.mark.parametrize("name", CASES)
def test_sequences_give_way(name):
    model = parse(CONSTANTS + CASES[name])
    lowered = normalize(model)
    assert not [n.op_type for n in lowered.graph.node if "Sequence" in n.op_type]
    assert not [n.op_type for n in lowered.graph.node if "Optional" in n.op_type]
    (y,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": X})
    augmented = onnxruntime.InferenceSession(augment(model).SerializeToString())
    rng = np.random.default_rng(3)
    ct, v = rng.standard_normal(y.shape), rng.standard_normal(X.shape)
    feeds = {"x": X, "igrt/cotangent/y": ct.astype(np.float32)}
    again, gradient = augmented.run(["y", "igrt/grad/x"], feeds)
    np.testing.assert_array_equal(again, y)

    def value(h):
        session = onnxruntime.InferenceSession(model.SerializeToString())
        return float((ct * session.run(None, {"x": (X + h * v).astype(np.float32)})[0]).sum())

    # central differences in float32, h = 1e-2: 1e-7·1e4/h of rounding for values up to e¹⁰
    numeric, analytic = (value(1e-2) - value(-1e-2)) / 2e-2, float((gradient * v).sum())
    assert abs(numeric - analytic) <= 2e-3 * max(1.0, np.abs(gradient * v).sum())


def test_a_sequence_that_is_an_output_stays():
    head = "g (float[2, 5] x) => (float[2, 1] y, seq(float[2, 1]) s)"
    body = CONSTANTS + "s = SplitToSequence <axis = 1> (x) y = SequenceAt (s, one)"
    augmented = augment(parse(body, head), of="y")
    session = onnxruntime.InferenceSession(augmented.SerializeToString())
    feeds = {"x": X, "igrt/cotangent/y": np.ones((2, 1), np.float32)}
    s, gradient = session.run(["s", "igrt/grad/x"], feeds)
    assert len(s) == 5
    np.testing.assert_array_equal(gradient, [[0, 1, 0, 0, 0]] * 2)


def test_a_sequence_of_unknown_length_is_refused_by_name():
    head = "g (float[2, N] x) => (float[2, 1] y)"
    body = CONSTANTS + "[mine] s = SplitToSequence <axis = 1> (x) y = SequenceAt (s, one)"
    with pytest.raises(UnsupportedOperator, match=r"SplitToSequence-18.*mine"):
        augment(parse(body, head))
