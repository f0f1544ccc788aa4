"""Smooth maxima, against NumPy."""

import numpy as np
import onnxruntime
import pytest
from onnx import parser

from igrt.errors import InputError
from igrt.graph.soften import soften

X = np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4)


def model(body, more=""):
    return parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 20]> g (float[N, 4] x) => (float y) '
        f"<int64[1] axis = {{1}}{more}> {{ {body} }}"
    )


def run(made):
    session = onnxruntime.InferenceSession(made.SerializeToString())
    return session.run(["y"], {"x": X})[0]


def soft(x, beta):
    return np.logaddexp(0, beta * x) / beta


@pytest.mark.parametrize("beta", [0.5, 10, 1000])
@pytest.mark.parametrize(
    ("body", "want"),
    [
        ("y = Relu(x)", soft),
        ("y = LeakyRelu<alpha = 0.2>(x)", lambda x, b: 0.2 * x + 0.8 * soft(x, b)),
        ("y = LeakyRelu(x)", lambda x, b: 0.01 * x + 0.99 * soft(x, b)),
        (
            "y = ReduceMax<keepdims = 0>(x, axis)",
            lambda x, b: np.logaddexp.reduce(b * x, axis=1) / b,
        ),
    ],
)
def test_each_against_its_formula(body, want, beta):
    made, count = soften(model(body), beta)
    assert count == 1
    np.testing.assert_allclose(run(made), want(X.astype(np.float64), beta), rtol=1e-5, atol=1e-6)


def test_several_nodes_have_names_of_their_own_and_whole_numbers_stay():
    body = (
        "a = Relu(x) b = Relu(a) s = Shape(b) m = ReduceMax<keepdims = 0>(s) f = Cast<to = 1>(m) "
    )
    made, count = soften(model(body + "y = Mul(b, f)"), 10.0)
    assert count == 2
    assert [n.op_type for n in made.graph.node].count("ReduceMax") == 1
    np.testing.assert_allclose(run(made), 4 * soft(soft(X, 10), 10), rtol=1e-5)


@pytest.mark.parametrize("beta", [0, -1, "10", True, float("nan"), float("inf")])
def test_the_steepness_is_a_positive_number(beta):
    with pytest.raises(InputError, match="softplus must be a positive number"):
        soften(model("y = Relu(x)"), beta)
