"""Which operators have kinks."""

import onnx.parser
import pytest

from igrt.stage.kinks import kinks


def model(body, more=""):
    return onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 20]> g (float[N,4] x{more}) => (float[N,4] y) '
        f"{{ {body} }}"
    )


@pytest.mark.parametrize(
    ("body", "operators"),
    [
        ("h = Relu(x) y = Abs(h)", ["Relu", "Abs"]),
        ("r = Relu(c) y = Mul(r, x)", []),
        ("y = Elu(x)", []),
        ("y = Elu<alpha = 2.0>(x)", ["Elu"]),
        ("y = Selu(x)", ["Selu"]),
        ("y = LpNormalization<p = 1>(x)", ["LpNormalization"]),
        ("y = LpNormalization(x)", []),
        ("m = Max(x, c) t = Tanh(m) y = Min(t, c)", ["Max", "Min"]),
        ("s = Shape(x) y = Reshape(x, s)", []),
    ],
)
def test_nodes_that_what_is_attributed_reaches(body, operators):
    assert [op for _, op in kinks(model(body, ", float[N,4] c"), ["x"])] == operators


def test_bodies_are_looked_into():
    body = "y = If(flag) <then_branch = t () => (float[N,4] a) { a = Relu(x) }, "
    body += "else_branch = e () => (float[N,4] b) { b = Tanh(x) }>"
    assert [op for _, op in kinks(model(body, ", bool flag"), ["x"])] == ["Relu"]


@pytest.mark.parametrize(
    ("attributes", "count"), [("", 0), ('activations = ["Relu"], ', 1), ("clip = 1.0,", 1)]
)
def test_recurrent_cells_have_the_kinks_of_their_gates(attributes, count):
    made = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 20]> g (float[T,N,4] x, float[1,3,4] w, '
        f"float[1,3,3] r) => (float[T,1,N,3] y) "
        f"{{ y = RNN<{attributes} hidden_size = 3>(x, w, r) }}"
    )
    assert len(kinks(made, ["x"])) == count
