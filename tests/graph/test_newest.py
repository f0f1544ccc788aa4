"""Models of opsets that onnxruntime does not accept yet."""

import numpy as np
import onnxruntime
import pytest
from onnx import parser

from igrt.errors import ModelLoadError
from igrt.graph.normalize import normalize
from igrt.vjp.augment import augment


def parse(body, head="g (float[2, 3] x) => (float[2, 3] y)", opset=28):
    return parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}]> {head} {{ {body} }}')


def opset(model):
    return next(o.version for o in model.opset_import if o.domain == "")


def test_operators_that_opset_26_has_are_left_alone():
    lowered = normalize(parse("a = Tanh (x) y = Celu (a)"))
    assert opset(lowered) == 26
    assert [n.op_type for n in lowered.graph.node] == ["Tanh", "Celu"]


def test_a_new_operator_gives_way_to_its_body():
    model = parse("y = SwiGLU <alpha = 2.0> (x, x)")
    augmented = augment(model)
    x = np.float32([[-1, 0, 1], [2, -3, 0.5]])
    session = onnxruntime.InferenceSession(augmented.SerializeToString())
    feeds = {"x": x, "igrt/cotangent/y": np.ones_like(x)}
    y, gradient = session.run(["y", "igrt/grad/x"], feeds)
    s = 1 / (1 + np.exp(-2 * x.astype(np.float64)))
    np.testing.assert_allclose(y, x * x * s, rtol=1e-5)  # float32
    np.testing.assert_allclose(gradient, 2 * x * s + x * x * 2 * s * (1 - s), rtol=1e-5, atol=1e-6)


def test_new_operators_in_a_body_are_found():
    head = "g (bool c, float[2, 3] x) => (float[2, 3] y)"
    body = """
        y = If <
            then_branch = t () => (float[2, 3] a) { a = SwiGLU (x, x) },
            else_branch = e () => (float[2, 3] b) { b = Identity (x) }
        > (c)
    """
    lowered = normalize(parse(body, head))
    session = onnxruntime.InferenceSession(lowered.SerializeToString())
    x = np.float32([[-1, 0, 1], [2, -3, 0.5]])
    (y,) = session.run(None, {"c": np.array(True), "x": x})
    np.testing.assert_allclose(y, x * x / (1 + np.exp(-x)), rtol=1e-5, atol=1e-7)  # float32


def test_what_cannot_be_lowered_is_refused_by_name():
    model = parse("[mine] y = Tanh (x)")
    model.graph.node[0].op_type = "Einsum"
    model.graph.node[0].attribute.add(name="novel", i=1, type=2)
    with pytest.raises(ModelLoadError, match=r"cannot be written in it: Einsum \(`mine`\)"):
        normalize(model)


def test_an_opset_that_the_onnx_package_does_not_know():
    with pytest.raises(ModelLoadError, match="opset 999"):
        normalize(parse("y = Tanh (x)", opset=999))
