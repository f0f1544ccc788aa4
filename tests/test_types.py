"""Models in float16, bfloat16 and float64, from the file to the attribution."""

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser

import igrt
from igrt.errors import InputError, ModelLoadError

NUMPY = {
    "float": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "double": np.float64,
}
X = np.random.default_rng(0).standard_normal((2, 6)) / 4

# a few roundings on the way, of 2^-11 in float16 and 2^-24 in float32 (relative to the largest)
CLOSE = {"float": 1e-5, "float16": 1e-2, "double": 1e-12}


def perceptron(dtype, opset=18):
    """Tanh(x W) twice, with a Gather whose gradient adds up and a mask."""
    model = parser.parse_model(f"""<ir_version: 10, opset_import: ["": {opset}]>
        g ({dtype}[N, 6] x) => ({dtype}[N, 3] y) {{
            at = Constant <value = int64[4] {{0, 2, 2, 5}}> ()
            picked = Gather <axis = 1> (x, at)
            h = MatMul (picked, W)
            t = Relu (h)
            y = Softmax <axis = -1> (t)
        }}""")
    w = np.random.default_rng(1).standard_normal((4, 3))
    model.graph.initializer.append(numpy_helper.from_array(w.astype(NUMPY[dtype]), "W"))
    return model


def closed_form(x, target, alphas):
    """Integrated gradients of the same in NumPy, float64."""
    w = np.random.default_rng(1).standard_normal((4, 3))
    total = np.zeros_like(x)
    for alpha in alphas:
        h = (alpha * x)[:, [0, 2, 2, 5]] @ w
        t = np.maximum(h, 0)
        p = np.exp(t) / np.exp(t).sum(axis=1, keepdims=True)
        ct = p * ((np.arange(3) == target) - p[:, [target]]) * (h > 0)
        back = ct @ w.T
        for k, column in enumerate([0, 2, 2, 5]):
            total[:, column] += back[:, k]
    return total / len(alphas) * x


@pytest.mark.parametrize("dtype", CLOSE)
def test_attributions_are_those_of_float64(dtype):
    x = X.astype(NUMPY[dtype])
    result = igrt.explain(perceptron(dtype), x, target=1, rule="midpoint", n_steps=16)
    want = closed_form(X, 1, (np.arange(16) + 0.5) / 16)
    error = np.abs(result.values["x"] - want).max() / np.abs(want).max()
    assert error < CLOSE[dtype]
    assert result.values["x"].dtype == np.float64


@pytest.mark.parametrize(
    "node, shape",
    [
        ("Gather <axis = 0> (x, at)", (3, 2)),
        ("GatherElements <axis = 0> (x, pairs)", (3, 2)),
        ("GatherND (x, places)", (3,)),
        ("Expand (x, bigger)", (2, 3, 2)),
    ],
)
def test_float16_gradients_are_added_in_float32(node, shape):
    """onnxruntime's CPU has no float16 scatter-add: it fails when it runs."""
    model = parser.parse_model(f"""<ir_version: 10, opset_import: ["": 18]>
        g (float16[3, 2] x) => (float16{list(shape)} y)
        <int64[3] at = {{1, 1, 1}}, int64[3, 2] pairs = {{1, 1, 1, 1, 1, 1}},
         int64[3, 2] places = {{1, 0, 1, 0, 1, 1}}, int64[3] bigger = {{2, 3, 2}}> {{
            y = {node}
        }}""")
    session = onnxruntime.InferenceSession(igrt.augment(model).SerializeToString())
    x, ct = np.zeros((3, 2), np.float16), np.full(shape, 0.5, np.float16)
    (gradient,) = session.run(["igrt/grad/x"], {"x": x, "igrt/cotangent/y": ct})
    assert gradient.dtype == np.float16
    assert gradient.sum() == ct.sum()


def test_float16_runs_without_a_warning():
    """The limit on gradients is beyond float16: NumPy warned of the cast."""
    result = igrt.explain(perceptron("float16"), X.astype(np.float16), target=0, n_steps=2)
    assert np.isfinite(result.values["x"]).all()


def test_bfloat16_at_the_ends_is_cast_there():
    """NumPy cannot hold it and onnxruntime's Python not feed it; the model itself may round."""
    model = parser.parse_model("""<ir_version: 10, opset_import: ["": 18]>
        g (bfloat16[N, 4] x) => (bfloat16[N, 4] y) {
            wide = Cast <to = 1> (x)
            h = Tanh (wide)
            y = Cast <to = 16> (h)
        }""")
    explainer = igrt.Explainer(model)
    assert [str(i) for i in explainer.inputs] == ["x: float32[N, 4]"]
    x = np.float32([[0.5, -1, 0.25, 0.75]])
    result = explainer.explain(x, target=2)
    # three digits: the point is rounded to 8 bits of mantissa before Tanh
    assert result.values["x"][0, 2] == pytest.approx(np.tanh(0.25), rel=2**-7)
    assert result.values["x"][0, [0, 1, 3]].tolist() == [0, 0, 0]


def test_bfloat16_in_the_middle_is_refused():
    model = parser.parse_model("""<ir_version: 10, opset_import: ["": 18]>
        g (float[N, 4] x) => (float[N, 4] y) {
            narrow = Cast <to = 16> (x)
            y = Cast <to = 1> (narrow)
        }""")
    with pytest.raises(InputError, match="inner bfloat16") as caught:
        igrt.Explainer(model, wrt=["narrow"])
    assert "float32" in caught.value.hint


def test_bfloat16_bodies_take_the_outer_name():
    model = parser.parse_model("""<ir_version: 10, opset_import: ["": 18]>
        g (bfloat16[2] x, bool flag) => (float[2] y) {
            y = If (flag) <
                then_branch = a () => (float[2] p) { p = Cast <to = 1> (x) },
                else_branch = b () => (float[2] q) { x = Constant <value = float[2] {1, 1}> ()
                                                     q = Neg (x) }
            >
        }""")
    from igrt.graph.normalize.bfloat16 import NARROW, widen_ends

    node = widen_ends(model).graph.node[1]
    bodies = {a.name: a.g for a in node.attribute}
    assert bodies["then_branch"].node[0].input[0] == f"{NARROW}x"
    assert bodies["else_branch"].node[1].input[0] == "x"


@pytest.mark.parametrize(
    "text, operator",
    [
        (
            "(double[1, 1, 4] x) => (double[1, 1, 3] y) <double[1, 1, 2] W = {1, 2}> "
            "{ y = Conv (x, W) }",
            "Conv",
        ),
        ("(bfloat16[2, 2] x) => (bfloat16[2, 2] y) { y = MatMul (x, x) }", "MatMul"),
    ],
)
def test_what_onnxruntime_cannot_run_is_said(text, operator):
    """The forward pass itself has no kernel, so there is nothing to explain here."""
    model = parser.parse_model(f'<ir_version: 10, opset_import: ["": 18]> g {text}')
    assert isinstance(igrt.augment(model), onnx.ModelProto)
    explainer = igrt.Explainer(model, provider="cpu")
    shape = [d for d in explainer.inputs[0].shape]
    with pytest.raises(ModelLoadError, match=f"no kernel for {operator}") as caught:
        explainer.explain(np.ones(shape, np.float32), target=(0,) * (len(shape) - 1))
    assert "float32" in caught.value.hint
