"""The first tensor that is not finite is named, and nothing that is meant to be infinite."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

import igrt
from igrt.errors import NonFiniteError
from igrt.graph.nonfinite import watch
from igrt.runtime.session import OrtSession


def model(text, opset=18, **stored):
    made = parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> g {text}')
    for name, array in stored.items():
        made.graph.initializer.append(numpy_helper.from_array(array, name))
    return made


def first(text, x, apart="igrt/", **stored):
    seen = watch(model(text, **stored), apart=apart, bound=1e15)
    names = [n for pair in seen.outputs for n in pair]
    return seen.first(OrtSession(seen.model.SerializeToString()).run(names, {"x": x}))


ONE_IN = "(float[N, 2] x) => (float[N, 2] y)"
X = np.array([[0.0, 1.0]], np.float32)
NAN = np.array([[1, 2], [3, np.nan]], np.float32)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{ h = Log(x)  k = Tanh(h)  y = Mul(h, x) }", "`h` (Log)"),
        ("<float[1] one = {1}> { h = Div(one, x)  y = Relu(h) }", "`h` (Div)"),
        ("{ h = Div(x, x)  y = Relu(h) }", "`h` (Div)"),
        ("<float[1] k = {200}> { s = Mul(k, x)  h = Exp(s)  y = Sub(h, h) }", "`h` (Exp)"),
        ("{ y = Tanh(x) }", None),
    ],
)
def test_the_node_that_made_it_is_named(text, named):
    assert first(f"{ONE_IN} {text}", X) == named


def test_a_weight_that_is_nan_is_named_with_its_reader():
    text = f"{ONE_IN} {{ h = MatMul(x, W)  y = Relu(h) }}"
    assert first(text, X, W=NAN) == "`W` (stored in the model, read by MatMul)"


def test_a_mask_of_minus_infinity_is_not_blamed():
    """Attention masks are infinite on purpose; what overflows behind them is not."""
    mask, k = np.array([[0, -np.inf]], np.float32), np.float32(500)
    text = f"{ONE_IN} {{ s = Add(x, m)  p = Softmax(s)  t = Mul(p, k)  h = Exp(t)  y = Mul(h, p) }}"
    assert first(text, X, m=mask, k=k) == "`h` (Exp)"


def test_a_softmax_of_nothing_but_masks_is_where_nan_begins():
    mask = np.full((1, 2), -np.inf, np.float32)
    text = f"{ONE_IN} {{ s = Add(x, m)  p = Softmax(s)  y = Relu(p) }}"
    assert first(text, X, m=mask) == "`p` (Softmax)"


@pytest.mark.parametrize("dtype", ["float16", "double"])
def test_other_float_types(dtype):
    text = f"({dtype}[N, 2] x) => ({dtype}[N, 2] y) {{ h = Log(x)  y = Add(h, x) }}"
    x = X.astype({"double": np.float64}.get(dtype, dtype))
    assert first(text, x) == "`h` (Log)"


def test_empty_tensors_count_as_finite():
    text = (
        "(float[N, 2] x) => (float[N, 2] y) <int64[1] o = {0}, int64[1] a = {1}> "
        "{ e = Slice(x, o, o, a)  c = Concat<axis = 1>(e, x)  y = Log(c) }"
    )
    assert first(text, X) == "`y` (Log)"


def explained(text, x, **options):
    made = model(text, **options.pop("stored", {}))
    return igrt.explain(made, np.array([x], np.float32), target=0, **options)


def test_an_output_that_is_not_finite_says_at_which_end_and_where():
    with pytest.raises(NonFiniteError) as caught:
        explained(f"{ONE_IN} {{ h = Log(x)  y = Mul(h, x) }}", [1, 2])
    assert "row 0 of the baselines" in str(caught.value)
    assert "first tensor where it appears: `h` (Log `Log_0`)" in str(caught.value)
    with pytest.raises(NonFiniteError, match="row 0 of the inputs"):
        explained(f"{ONE_IN} {{ h = Log(x)  y = Mul(h, x) }}", [1, -2], baselines=1)


def test_the_row_of_a_batch_is_named():
    x = np.array([[1, 1], [1, -1]], np.float32)
    with pytest.raises(NonFiniteError, match="row 1 of the inputs"):
        igrt.explain(model(f"{ONE_IN} {{ y = Sqrt(x) }}"), x, target=0)


@pytest.mark.parametrize("chunk", [None, 1])
def test_a_gradient_that_is_not_finite_says_at_which_step_and_where(chunk):
    """The left rule evaluates the square root's slope at 0."""
    with pytest.raises(NonFiniteError) as caught:
        explained(
            f"{ONE_IN} {{ s = Sqrt(x)  y = Identity(s) }}",
            [1, 1],
            rule="left",
            n_steps=4,
            internal_batch_size=chunk,
        )
    message = str(caught.value)
    assert "at alpha = 0 on the path of example 0" in message
    assert "(Div in the gradient graph, at `s` (Sqrt `Sqrt_0`))" in message


@pytest.mark.parametrize("method", ["expected_gradients", "conductance"])
def test_other_methods_say_it_as_well(method):
    """x² - x is 0 at both ends of the path and negative between, where it has no root."""
    text = """(float[N, 1] x) => (float[N, 1] y)
        { s = Mul(x, x)  p = Sub(s, x)  h = Sqrt(p)  y = Add(h, x) }"""
    with pytest.raises(NonFiniteError) as caught:
        explained(text, [1], method=method, wrt=["p"] if method == "conductance" else None)
    assert "at alpha = 0." in str(caught.value)
    assert "first tensor where it appears: `h` (Sqrt `Sqrt_2`)" in str(caught.value)


def test_a_model_that_cannot_be_watched_still_gives_the_error(monkeypatch):
    def broken(*_, **__):
        raise igrt.IgrtError("no")

    monkeypatch.setattr("igrt.graph.nonfinite.watch", broken)
    with pytest.raises(NonFiniteError, match="row 0") as caught:
        explained(f"{ONE_IN} {{ h = Log(x)  y = Mul(h, x) }}", [1, 2])
    assert "first tensor" not in str(caught.value)


def test_the_counting_model_is_valid():
    text = f"{ONE_IN} {{ h = Log(x)  y = Mul(h, x) }}"
    onnx.checker.check_model(watch(model(text), apart="igrt/", bound=1e15).model, full_check=True)
