"""A batch is attributed as each example is by itself: float64, one example and one point at a time.

The loop here knows neither igrt nor onnxruntime: `onnx.reference` in float64, central differences,
and NumPy's Gauss-Legendre nodes.
"""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

import igrt
from igrt.errors import InputError

RNG = np.random.default_rng(3)
W, V, TABLE = (RNG.standard_normal(s).astype(np.float32) for s in ((4, 3), (2, 3), (5, 3)))
STORED = {"W": W, "V": V, "T": TABLE}

# float32 in onnxruntime against float64; 24 nodes integrate these tanh networks to 1e-6 or better
RELATIVE = 2e-3
STEP = 1e-5
NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)


def build(text):
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}')
    used = {name for node in model.graph.node for name in node.input}
    for name in STORED.keys() & used:
        model.graph.initializer.append(numpy_helper.from_array(STORED[name], name))
    return model


def widened(model):
    """The same model in float64."""
    wide = onnx.ModelProto.FromString(model.SerializeToString())
    for info in (*wide.graph.input, *wide.graph.output):
        if info.type.tensor_type.elem_type == TensorProto.FLOAT:
            info.type.tensor_type.elem_type = TensorProto.DOUBLE
    for tensor in wide.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float64), tensor.name))
    return wide


def one_example(model, feeds, names, place, baseline=0.0):
    """Integrated Gradients of one element of the output, one difference quotient at a time."""
    run = ReferenceEvaluator(widened(model)).run
    x = {n: a.astype(np.float64) if a.dtype.kind == "f" else a for n, a in feeds.items()}
    found = {n: np.zeros(x[n].shape) for n in names}

    def score(**changed):
        return float(np.asarray(run(None, x | changed)[0])[place])

    for alpha, weight in zip((NODES + 1) / 2, WEIGHTS / 2, strict=True):
        point = {n: baseline + alpha * (x[n] - baseline) for n in names}
        for name in names:
            for i in np.ndindex(*x[name].shape):
                step = np.zeros(x[name].shape)
                step[i] = STEP
                up, down = (score(**point | {name: point[name] + s}) for s in (step, -step))
                found[name][i] += weight * (up - down) / (2 * STEP) * (x[name][i] - baseline)
    return found


X, Z, X3 = (RNG.standard_normal(s).astype(np.float32) for s in ((3, 4), (3, 2), (3, 2, 4)))
INDEX = np.array([0, 4, 2])
PERCEPTRON = "{ h = MatMul (x, W)  t = Tanh (h)  y = Mul (t, h) }"
TAIL = "h = MatMul (x, W)  t = Tanh (h)  m = Mul (t, h)"
TWO = """g (float[N, 4] x, float[N, 2] z) => (float[N, 3] y)
    { h = MatMul (x, W)  k = MatMul (z, V)  s = Add (h, k)  t = Tanh (s)  y = Mul (t, h) }"""

CASES = {
    "a symbol": (f"g (float[N, 4] x) => (float[N, 3] y) {PERCEPTRON}", {"x": X}, 1, (0, 1)),
    "fixed at 1": (f"g (float[1, 4] x) => (float[1, 3] y) {PERCEPTRON}", {"x": X}, 1, (0, 1)),
    "fixed in a Reshape": (
        f"""g (float[1, 4] x) => (float[1, 3] y) <int64[2] one = {{1, 3}}>
            {{ {TAIL}  y = Reshape (m, one) }}""",
        {"x": X},
        -1,
        (0, 2),
    ),
    "lost in the output": (
        f"""g (float[1, 4] x) => (float[3] y) <int64[1] flat = {{3}}>
            {{ {TAIL}  y = Reshape (m, flat) }}""",
        {"x": X},
        1,
        (1,),
    ),
    "a scalar output": (
        f"g (float[N, 4] x) => (float y) {{ {TAIL}  y = ReduceSum <keepdims = 0> (m) }}",
        {"x": X},
        None,
        (),
    ),
    "an output of rank 1": (
        f"""g (float[N, 2, 4] x) => (float[N] y) <int64[2] all = {{1, 2}}>
            {{ {TAIL}  y = ReduceSum <keepdims = 0> (m, all) }}""",
        {"x": X3},
        None,
        (0,),
    ),
    "an output of rank 3": (
        f"g (float[N, 2, 4] x) => (float[N, 2, 3] y) {PERCEPTRON}",
        {"x": X3},
        (1, -1),
        (0, 1, 2),
    ),
    "an output of rank 4": (
        f"""g (float[N, 2, 4] x) => (float[N, 2, 1, 3] y) <int64[1] third = {{2}}>
            {{ {TAIL}  y = Unsqueeze (m, third) }}""",
        {"x": X3},
        (1, 0, -1),
        (0, 1, 0, 2),
    ),
    "rows that see each other": (
        """g (float[N, 4] x) => (float[N, 3] y)
            { h = MatMul (x, W)  p = Softmax <axis = 0> (h)  t = Tanh (h)  y = Mul (t, p) }""",
        {"x": X},
        2,
        (0, 2),
    ),
    "two inputs": (TWO, {"x": X, "z": Z}, 2, (0, 2)),
    "token numbers beside it": (
        """g (float[N, 4] x, int64[N] i) => (float[N, 3] y)
            { e = Gather (T, i)  h = MatMul (x, W)  s = Add (h, e)
              t = Tanh (s)  y = Mul (t, h) }""",
        {"x": X, "i": INDEX},
        2,
        (0, 2),
    ),
    "an input without a batch axis": (
        """g (float[N, 4] x, float c) => (float[N, 3] y)
            { m = MatMul (x, W)  h = Mul (m, c)  t = Tanh (h)  y = Mul (t, h) }""",
        {"x": X, "c": np.float32(0.7)},
        2,
        (0, 2),
    ),
}


def compare(text, inputs, target, place, chunk, wrt=None, baseline=0.0):
    model, shared = build(text), {n for n, a in inputs.items() if np.ndim(a) == 0}
    beside = any(np.asarray(a).dtype.kind == "i" for a in inputs.values())
    explainer = igrt.Explainer(
        model, provider="cpu", wrt=wrt or (["x"] if shared or beside else None)
    )
    result = explainer.explain(
        inputs, target=target, n_steps=20, internal_batch_size=chunk, baselines=baseline
    )
    for e in range(3):
        feeds = {n: np.asarray(a) if n in shared else a[e : e + 1] for n, a in inputs.items()}
        expected = one_example(model, feeds, list(result.values), place, baseline)
        for name, want in expected.items():
            scale = np.abs(want).max()
            np.testing.assert_allclose(
                result.values[name][e], want[0], rtol=RELATIVE, atol=RELATIVE * scale
            )


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("chunk", [None, 1, 2, 7])
def test_as_one_by_one(case, chunk):
    compare(*CASES[case], chunk)


@pytest.mark.parametrize("wrt", [["x"], ["z"], ["z", "x"]])
def test_some_of_the_inputs(wrt):
    compare(TWO, {"x": X, "z": Z}, 2, (0, 2), None, wrt=wrt)


def test_another_baseline():
    compare(*CASES["a symbol"], None, baseline=0.3)


def test_without_a_batch_axis_there_is_one_example():
    model = build(f"g (float[4] x) => (float[3] y) {PERCEPTRON}")
    explainer = igrt.Explainer(model, provider="cpu")
    result = explainer.explain(X[0], target=1, n_steps=20)
    expected = one_example(model, {"x": X[0]}, ["x"], (1,))["x"]
    scale = np.abs(expected).max()
    np.testing.assert_allclose(result.values["x"], expected, rtol=RELATIVE, atol=RELATIVE * scale)
    with pytest.raises(InputError, match="no batch axis: give one example"):
        explainer.explain(X, target=1)
