"""Which models count as analytic."""

import onnx.parser
import pytest

from igrt.stage import is_smooth


def model(body, more=""):
    return onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 20]> g (float[N,4] x{more}) => (float[N,4] y) '
        f"{{ {body} }}"
    )


@pytest.mark.parametrize(
    "body",
    [
        "y = Tanh(x)",
        "y = Gelu(x)",
        "s = Shape(x) r = Reshape(x, s) y = Softmax(r)",
        "e = Exp(x) t = Transpose<perm = [1, 0]>(e) y = MatMul(x, t)",
        "h = Cast<to = 11>(x) i = Sin(h) y = Cast<to = 1>(i)",
        "m = Greater(c, c) t = Sigmoid(x) y = Where(m, t, x)",
        "two = Constant<value_float = 2.0>() y = Pow(x, two)",
        "r = Relu(c) y = Mul(r, x)",
    ],
)
def test_analytic_operators_make_a_smooth_model(body):
    assert is_smooth(model(body, ", float[N,4] c"), ["x"])


@pytest.mark.parametrize(
    "body",
    [
        "y = Relu(x)",
        "y = Elu(x)",
        "t = Tanh(x) y = Abs(t)",
        "m = Greater(x, c) y = Where(m, x, c)",
        "y = Pow(c, x)",
        "y = Max(x, c)",
        "h = Cast<to = 6>(x) y = Cast<to = 1>(h)",
        "i = ArgMax<axis = 1>(x) y = Gather(c, i)",
        "r = Round(x) y = Mul(r, x)",
        "y = com.microsoft.QuickGelu(x)",
    ],
)
def test_a_kink_a_step_and_what_is_unknown_do_not(body):
    assert not is_smooth(model(body, ", float[N,4] c"), ["x"])


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [("", True), ('activations = ["Relu"], ', False), ("clip = 1.0,", False)],
)
def test_recurrent_cells_are_as_smooth_as_their_gates(attributes, expected):
    made = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 20]> g (float[T,N,4] x, float[1,3,4] w, '
        f"float[1,3,3] r) => (float[T,1,N,3] y) "
        f"{{ y = RNN<{attributes} hidden_size = 3>(x, w, r) }}"
    )
    assert is_smooth(made, ["x"]) is expected
