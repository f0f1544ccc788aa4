"""The golden cases of ``shared/golden``, in float32 on onnxruntime.

The cases describe their models in words; `MODELS` has the graphs. Expected values are closed forms
or 30-digit quadrature, made without igrt.
"""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from onnx import parser

import igrt
from igrt.errors import NoGradientPath
from igrt.methods import ExpectedGradients
from igrt.quadrature import fixed

FILE = Path(__file__).parents[3] / "shared" / "golden" / "ig-cases.json"
GOLDEN = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else None
pytestmark = pytest.mark.skipif(GOLDEN is None, reason=f"{FILE} is not there")
CASES = {c["id"]: c for c in GOLDEN["cases"]} if GOLDEN else {}

EPS = float(np.finfo(np.float32).eps)
ROUNDING = 32 * EPS
"""Of values of the size of what is computed with: a dozen float32 operations, and the sum over
kinks that are found to this part of the path."""

MLP = """<float[3, 4] W = {1,1,1,1,1,1,1,1,1,1,1,1}, float[4] b = {-10, 1, 1, 1},
          float[4, 2] V = {1,1,1,1,1,1,1,1}, float[2] c = {-1, 1}>
         { h = Gemm(x, W, b)  r = Relu(h)  y = Gemm(r, V, c) }"""
SATURATED = "(float[N, 1] x) => (float[N, 1] y) <float[1] one = {1}> " + (
    "{ d = Sub(one, x)  r = Relu(d)  y = Sub(one, r) }"
)
LINEAR1 = "(float[N, 3] x) => (float[N, 2] y) " + MLP
SPLIT = "u, v = Split<axis = 1, num_outputs = 2>(x)"
PRODUCT = f"(float[N, 2] x) => (float[N, 1] y) {{ {SPLIT}  y = Mul(u, v) }}"

# graphs by case, without a name; those with several must agree
MODELS = {
    "sensitivity_a_saturated": [SATURATED],
    "negative_region": [SATURATED],
    "tf_tutorial_saturation": [
        """(float[N, 1] x) => (float[N, 1] y) <float[1] t = {0.8}>
           { below = Less(x, t)  y = Where(below, x, t) }""",
        "(float[N, 1] x) => (float[N, 1] y) <float[1] t = {0.8}> { y = Min(x, t) }",
        "(float[N, 1] x) => (float[N, 1] y) <float no = {-9}, float t = {0.8}> "
        "{ y = Clip(x, no, t) }",
    ],
    "paper_fig_g": [
        """(float[N, 1] x1, float[N, 1] x2) => (float[N, 1] y) <float[1] one = {1}>
           { d = Sub(x1, one)  p = Relu(d)  q = Relu(x2)  s = Sub(p, q)  y = Relu(s) }"""
    ],
    "two_inputs_aux_divisor": [
        """(float[N, 3] a, float[N, 3] b, float[N, 3] c) => (float[N, 1] y)
           <float[1] one = {1}, int64[1] two = {2}>
           { d = Sub(a, one)  p = Relu(d)  q = Relu(b)  r = Div(q, c)  s = Sub(p, r)
             all = Relu(s)  y = Gather<axis = 1>(all, two) }"""
    ],
    "mlp_one_hot_100": [LINEAR1],
    "neuron_relu0": [
        "(float[N, 3] x) => (float[N, 4] y) " + MLP.split("r = Relu")[0] + "y = Relu(h) }"
    ],
    "neuron_sum_selector": [
        "(float[N, 3] x) => (float[N, 1] y) "
        + MLP.split("{ h")[0].replace(
            ">", ", int64[1] s = {2}, int64[1] e = {4}, int64[1] a = {1}>"
        )
        + "{ h = Gemm(x, W, b)  r = Relu(h)  k = Slice(r, s, e, a)  y = ReduceSum(k, a) }"
    ],
    "two_attributed_one_aux_batch": [
        "(float[N, 3] x1, float[N, 3] x2, float[N, 3] x3) => (float[N, 4] y) "
        + MLP.split("{ h")[0].replace(">", ", float[1] half = {0.5}>")
        + "{ s = Add(x1, x2)  t = Add(s, x3)  x = Mul(half, t)  h = Gemm(x, W, b)  y = Relu(h) }"
    ],
    "conductance_linear1": [LINEAR1],
    "conductance_linear2": [LINEAR1],
    "internal_influence_linear1_22": [LINEAR1],
    "internal_influence_linear1_24": [LINEAR1],
    "separable_linear_square_sin": [
        """(float[N, 3] x) => (float[N, 1] y) <float[1] five = {5}, float two = {2}>
           { u, v, w = Split<axis = 1, num_outputs = 3>(x)
             p = Mul(five, u)  q = Pow(v, two)  r = Sin(w)  s = Add(p, q)  y = Add(s, r) }"""
    ],
    "quadratic_independent": [
        f"""(float[N, 2] x) => (float[N, 1] y) <float two = {{2}}>
           {{ {SPLIT}  a = Pow(u, two)  c = Mul(two, a)  b = Pow(v, two)  y = Add(c, b) }}"""
    ],
    "quadratic_dependent": [
        """(float[N, 2] x) => (float[N, 1] y) <float[2, 1] W = {2, 1}, float two = {2}>
           { s = MatMul(x, W)  y = Pow(s, two) }"""
    ],
    "relu_shift_separable": [
        """(float[N, 1] x1, float[N, 1] x2) => (float[N, 1] y) <float k = {1.5}, float two = {2}>
           { p = Relu(x1)  d = Sub(x2, k)  q = Relu(d)  a = Mul(two, p)  b = Mul(two, q)
             y = Add(a, b) }"""
    ],
    "relu_linear_two_branches": [
        """(float[N, 3] u, float[N, 3] v) => (float[N, 1] y)
           <float[3, 1] A = {3, 1, 0}, float[3, 1] B = {2, 3, 0}, float[2, 1] C = {1, 1}>
           { p = MatMul(u, A)  q = MatMul(v, B)  r = Relu(p)  s = Relu(q)
             j = Concat<axis = 1>(r, s)  y = MatMul(j, C) }"""
    ],
    "maxpool_switch_midway": [
        """(float[N, 2] x) => (float[N, 1] y) <int64[1] one = {1}>
           { c = Unsqueeze(x, one)  m = MaxPool<kernel_shape = [2]>(c)  y = Squeeze(m, one) }""",
        f"(float[N, 2] x) => (float[N, 1] y) {{ {SPLIT}  y = Max(u, v) }}",
    ],
    "symmetry_product": [PRODUCT],
    "product_nonzero_baseline": [PRODUCT],
    "quadratic_form": [
        """(float[N, 3] x) => (float[N, 1] y)
           <float[3, 3] A = {2, 1, 0, 1, -1, 3, 0, 3, 4}, float[3, 1] b = {1, -2, 0.5},
            float half = {0.5}, int64[1] axis = {1}>
           { g = MatMul(x, A)  p = Mul(g, x)  s = ReduceSum(p, axis)  q = Mul(half, s)
             l = MatMul(x, b)  y = Add(q, l) }"""
    ],
    "single_index_deep_saturation": [
        """(float[N, 1] x) => (float[N, 1] y) <float k = {0.9}, float steep = {100}>
           { d = Sub(x, k)  s = Mul(steep, d)  y = Sigmoid(s) }"""
    ],
    "gelu_erf_separable": [
        """(float[N, 3] x) => (float[N, 1] y)
           <float root = {1.4142135623730951}, float one = {1}, float half = {0.5},
            float[3] c = {1, 2, -3}, int64[1] axis = {1}>
           { d = Div(x, root)  e = Erf(d)  a = Add(one, e)  h = Mul(half, a)  g = Mul(x, h)
             w = Mul(c, g)  y = ReduceSum(w, axis) }"""
    ],
    "sqrt_singular_baseline": [
        """(float[N, 2] x) => (float[N, 1] y) <int64[1] axis = {1}>
           { r = Sqrt(x)  y = ReduceSum(r, axis) }"""
    ],
    "bias_free_relu_homogeneous": [
        """(float[N, 2] x) => (float[N, 1] y)
           <float[2, 3] W = {1, 2, -1, -1, 0.5, 3}, float[3, 1] V = {1, -2, 1}>
           { h = MatMul(x, W)  r = Relu(h)  y = MatMul(r, V) }"""
    ],
    "non_differentiable_step": [
        """(float[N, 1] x) => (float[N, 1] y) <float half = {0.5}>
           { above = Greater(x, half)  y = Cast<to = 1>(above) }"""
    ],
    "layernorm_weighted": [
        """(float[N, 4] x) => (float[N, 1] y)
           <float[4] ones = {1, 1, 1, 1}, float[4, 1] gamma = {1, -0.5, 2, 0.25}>
           { n = LayerNormalization<epsilon = 1e-5>(x, ones)  y = MatMul(n, gamma) }""",
        """(float[N, 4] x) => (float[N, 1] y)
           <int64[1] axis = {1}, float two = {2}, float eps = {1e-5},
            float[4, 1] gamma = {1, -0.5, 2, 0.25}>
           { m = ReduceMean(x, axis)  d = Sub(x, m)  s = Pow(d, two)  v = ReduceMean(s, axis)
             e = Add(v, eps)  r = Sqrt(e)  n = Div(d, r)  y = MatMul(n, gamma) }""",
    ],
    "attention_last_token": [
        """(float[N, 3] x) => (float[N, 1] y)
           <int64[1] last = {2}, float k = {1.5}, int64[1] axis = {1}>
           { q = Gather<axis = 1>(x, last)  s = Mul(q, x)  t = Mul(k, s)  p = Softmax<axis = 1>(t)
             w = Mul(p, x)  y = ReduceSum(w, axis) }"""
    ],
    "expected_gradients_product_three_baselines": [PRODUCT],
}
LAYERS = {"linear1 output": "h", "linear2 output": "y"}
METHOD = {"layer_conductance": "conductance", "internal_influence": "internal_influence"}


def build(text):
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": 18]> g {text}')


def arrays(by_name):
    return {n: np.asarray(a, dtype=np.float32) for n, a in by_name.items()}


def expected_of(case, result):
    if isinstance(case["expected"], dict):
        return {n: np.asarray(a) for n, a in case["expected"].items()}
    (name,) = result.values
    return {name: np.asarray(case["expected"])}


def numbers(value):
    """All numbers in a nested structure."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [n for v in value for n in numbers(v)]
    return [abs(float(value))]


def magnitude(case):
    """The size of the numbers that are computed with, which rounding is relative to."""
    keys = ("inputs", "baselines", "expected", "f_input", "f_baseline")
    return max(1.0, *numbers([case[k] for k in keys if k in case]))


def test_every_case_has_a_model():
    assert MODELS.keys() == CASES.keys()


INTEGRALS = [
    pytest.param(n, t, id=f"{n}-{k}")
    for n, texts in MODELS.items()
    for k, t in enumerate(texts)
    if n not in ("non_differentiable_step", "expected_gradients_product_three_baselines")
]


def explained(name, text, **options):
    case = CASES[name]
    layer = LAYERS.get(case.get("layer"))
    return igrt.explain(
        build(text),
        arrays(case["inputs"] | case.get("aux_inputs_not_attributed", {})),
        wrt=[layer] if layer else list(case["inputs"]),
        baselines=arrays(case["baselines"]),
        target=case.get("target", 0),
        method=METHOD.get(case["method"], "integrated_gradients"),
        **options,
    )


def norm(by_name):
    """L1 norm of all rows, [rows]."""
    return sum(np.abs(a).reshape(len(a), -1).sum(axis=1) for a in by_name.values())


# the needle, and the steep middle of a LayerNorm, are smooth: many Gauss nodes resolve them to
# rounding, where halving gaps ends at the cap on evaluations
SMOOTH = {"single_index_deep_saturation": 250, "layernorm_weighted": 250}
# an infinite slope at an end: halving gains a digit for some ten evaluations, up to the cap
SINGULAR = {"sqrt_singular_baseline": 2e-4}


@pytest.mark.parametrize(("name", "text"), INTEGRALS)
def test_case(name, text):
    case = CASES[name]
    steps = SMOOTH.get(name)
    result = explained(name, text, **({"n_steps": steps} if steps else {"tolerance": 1e-7}))
    rounding = ROUNDING * magnitude(case)
    limit = max(case["suggested_abs_tol_converged"], rounding, SINGULAR.get(name, 0))
    for tensor, want in expected_of(case, result).items():
        np.testing.assert_allclose(result.values[tensor], want, rtol=0, atol=limit)
    if "f_input" in case:
        before = case["f_baseline"]
        np.testing.assert_allclose(result.output, case["f_input"], rtol=0, atol=rounding)
        np.testing.assert_allclose(result.baseline_output, before, rtol=0, atol=rounding)
        assert (np.abs(result.delta) <= 4 * limit).all()


@pytest.mark.parametrize("tolerance", [1e-2, 1e-3])
@pytest.mark.parametrize(("name", "text"), INTEGRALS)
def test_error_is_honest_and_within_the_tolerance(name, text, tolerance):
    case = CASES[name]
    result = explained(name, text, tolerance=tolerance)
    want = expected_of(case, result)
    true = norm({n: result.values[n] - a for n, a in want.items()})
    assert result.converged.all()
    assert (result.error <= tolerance).all()
    slack = ROUNDING * magnitude(case)
    assert (true <= 2 * result.error * norm(result.values) + slack).all()


def test_expected_gradients_over_all_baselines_is_exact():
    case = CASES["expected_gradients_product_three_baselines"]
    x, background = arrays(case["inputs"])["x"], np.asarray(case["baseline_set"], np.float32)
    result = igrt.explain(build(PRODUCT), x, baselines=list(background), target=0)
    np.testing.assert_allclose(result.values["x"], case["expected"]["x"], atol=ROUNDING * 6)
    np.testing.assert_allclose(result.baseline_output, case["mean_f_baselines"], atol=ROUNDING)
    assert abs(result.delta[0]) <= ROUNDING * 6


def test_expected_gradients_by_drawing_is_within_its_error():
    case = CASES["expected_gradients_product_three_baselines"]
    x, background = arrays(case["inputs"])["x"], np.asarray(case["baseline_set"], np.float32)
    want = np.asarray(case["expected"]["x"])
    result = igrt.explain(
        build(PRODUCT), x, baselines=background, target=0, method=ExpectedGradients(draws=600)
    )
    np.testing.assert_allclose(result.baseline_output, case["mean_f_baselines"], atol=ROUNDING)
    assert result.evaluations.tolist() == [600]
    # three standard errors: one seed in several hundred is outside
    assert np.abs(result.values["x"] - want).sum() <= 3 * result.error[0] * np.abs(want).sum()
    assert result.error[0] < 0.01


PAIRS = [n for n, case in CASES.items() if "integrated_hessians" in case.get("variants", {})]


@pytest.mark.parametrize("name", PAIRS)
def test_integrated_hessians(name):
    case = CASES[name]
    for text in MODELS[name]:
        result = igrt.explain(
            build(text),
            arrays(case["inputs"]),
            baselines=arrays(case["baselines"]),
            method="integrated_hessians",
        )
        want = case["variants"]["integrated_hessians"]
        limit = ROUNDING * magnitude(case)
        np.testing.assert_allclose(result.interactions["x"][0], want, rtol=0, atol=limit)
        np.testing.assert_allclose(result.values["x"], case["expected"]["x"], rtol=0, atol=limit)


def test_a_step_is_refused_rather_than_given_zero():
    with pytest.raises(NoGradientPath, match="Greater_0"):
        igrt.explain(build(MODELS["non_differentiable_step"][0]), np.ones((1, 1), np.float32))


RULES = {
    "left": "left",
    "right": "right",
    "middle": "midpoint",
    "trapezoid": "trapezoid",
    "gausslegendre": "gauss_legendre",
    "simpson": "simpson",
}
CUBE = "(float[N, 1] x) => (float[N, 1] y) { s = Mul(x, x)  y = Mul(s, x) }"
TABLE = GOLDEN["rule_accuracy_golden"]["expected_by_rule"] if GOLDEN else {}


@pytest.mark.parametrize("key", [k for k in TABLE if k.split("_")[0] in RULES])
def test_rule_on_a_cube(key):
    name, count = key.split("_")[:2]
    result = igrt.explain(
        build(CUBE), np.ones((1, 1), np.float32), rule=RULES[name], n_steps=int(count), target=0
    )
    # x³ and 3x² of float32 numbers below 1, each rounded a few times
    exact = float(Fraction(TABLE[key]["exact"]))
    assert result.values["x"][0, 0] == pytest.approx(exact, abs=4 * EPS)
    assert result.evaluations.tolist() == [int(count)]


def test_the_table_has_every_rule():
    assert {k.split("_")[0] for k in TABLE} - RULES.keys() == {"captum", "saliency"}
    assert len([k for k in TABLE if k.split("_")[0] in RULES]) == 18


@pytest.mark.parametrize("nodes", range(1, 6))
def test_gauss_legendre_nodes_and_weights(nodes):
    rule, want = fixed("gauss_legendre", nodes), GOLDEN["quadrature_rules"]
    for what in ("alphas", "weights"):
        table = [float(a) for a in want[f"gausslegendre_n{nodes}"][what]]
        np.testing.assert_allclose(getattr(rule, what), table, rtol=0, atol=4e-16)
