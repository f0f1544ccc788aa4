"""What bodies read without a gradient: for nothing, through steps, or of an unknown rank."""

import numpy as np
import onnxruntime
import pytest
from onnx import parser

from igrt.errors import NoGradientPath, UnsupportedOperator
from igrt.vjp.augment import augment

OTHERWISE = "else_branch = b () => (float[2] r) { r = Exp (z) }"


def parse(body):
    head = "g (float[2] x, float[2] z, bool c) => (float[2] y)"
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": 18]> {head} {{ {body} }}')


def branch(body, ahead=""):
    return parse(
        f"{ahead} y = If (c) <then_branch = a () => (float[2] p) {{ {body} }}, {OTHERWISE}>"
    )


@pytest.mark.parametrize(
    ("body", "ahead"),
    [("q = Exp (x)  p = Tanh (z)", ""), ("q = Add (z, k)  p = Tanh (z)", "k = Exp (x)")],
)
def test_what_a_body_reads_for_nothing_has_no_gradient(body, ahead):
    session = onnxruntime.InferenceSession(
        augment(branch(body, ahead), wrt=["x"]).SerializeToString()
    )
    ones = np.ones(2, np.float32)
    feeds = {"x": ones, "z": ones, "c": np.array(True), "igrt/cotangent/y": ones}
    np.testing.assert_array_equal(session.run(["igrt/grad/x"], feeds)[0], [0, 0])


def test_a_step_inside_a_body_is_refused_by_the_name_of_the_node():
    with pytest.raises(NoGradientPath, match=r"\(If\), so .*`If_0`"):
        augment(branch("q = Round (x)  p = Add (z, q)"), wrt=["x"])


def test_a_step_in_front_of_a_body_is_named():
    with pytest.raises(NoGradientPath, match=r"`Round_0` \(Round\)"):
        augment(branch("p = Add (z, k)", "k = Round (x)"), wrt=["x"])


def test_a_captured_tensor_of_unknown_rank_is_refused_before_it_runs():
    """onnxruntime runs no Scan whose body leaves the shape of an output open."""
    body = """k = If (c) <then_branch = a () => (float p) { p = ReduceSum <keepdims = 0> (x) },
                          else_branch = b () => (float[2] r) { r = Exp (x) }>
        first = Constant <value = float {0}> ()
        s, y = Scan <num_scan_inputs = 1, body = d (float i, float e) => (float o, float w) {
            n = ReduceSum <keepdims = 0> (k)
            o = Add (i, n)
            w = Mul (o, e)
        }> (first, z)"""
    with pytest.raises(UnsupportedOperator, match=r"Scan-18 .*number of axes of k"):
        augment(parse(body), wrt=["x"])
