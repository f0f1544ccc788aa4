"""Which axiom each method breaks, on networks whose attributions are known in closed form."""

import numpy as np
import onnx.parser
import pytest

import igrt
from igrt import methods
from igrt.methods import LRP

# A dozen float32 operations on numbers of order one, each rounded to 6e-8.
ROUNDING = 1e-5


def network(body, features=2):
    """y [n, 1] from x [n, features]; `a` and `b` are the first two features, [n, 1] each."""
    text = f"""
    <ir_version: 8, opset_import: ["" : 18]>
    net (float[n, {features}] x) => (float[n, 1] y)
    <float one = {{1.0}}, float nought = {{0.0}}, int64[1] at0 = {{0}}, int64[1] at1 = {{1}}> {{
        a = Gather<axis = 1>(x, at0)
        {"b = Gather<axis = 1>(x, at1)" if features > 1 else ""}
        {body}
    }}"""
    return onnx.parser.parse_model(text)


def values(model, x, method, **options):
    x = np.asarray([x], dtype=np.float32)
    return igrt.explain(model, x, method=method, provider="cpu", **options)


SATURATING = "n = Sub(one, a)\n r = Relu(n)\n y = Sub(one, r)"  # 1 - Relu(1 - x)

# Sundararajan et al. 2017, appendix B: f and g agree wherever a and b are not negative.
PAIR_F = "ra = Relu(a)\n rb = Relu(b)\n l = Sub(ra, one)\n d = Sub(l, rb)\n y = Relu(d)"
PAIR_G = "l = Sub(a, one)\n rl = Relu(l)\n rb = Relu(b)\n d = Sub(rl, rb)\n y = Relu(d)"
PAIR_H = "k = Clip(a, nought, one)\n l = Sub(a, k)\n rb = Relu(b)\n d = Sub(l, rb)\n y = Relu(d)"


METHODS = [n for n, m in methods.METHODS.items() if hasattr(m, "scheme")]
"""Those of an input, over a path or at a point."""
LOCAL = sorted(set(METHODS) - {"integrated_gradients", "deeplift"})


@pytest.mark.parametrize("name", LOCAL)
def test_a_saturated_feature_gets_nothing_from_local_methods(name):
    found = values(network(SATURATING, 1), [2.0], name)
    assert found.output[0] - found.baseline_output[0] == 1.0
    assert found.values["x"].item() == 0.0  # breaks sensitivity (a)
    assert found.delta[0] == -1.0  # and completeness: the gap says so


@pytest.mark.parametrize("name", ["integrated_gradients", "deeplift"])
def test_a_saturated_feature_gets_the_change_from_methods_with_a_baseline(name):
    found = values(network(SATURATING, 1), [2.0], name)
    # the kink lies inside an adaptive path, whose error may be as large as its tolerance
    assert abs(found.values["x"].item() - 1.0) <= (
        ROUNDING if name == "deeplift" else 2 * found.error[0]
    )


def test_guided_backprop_gives_nothing_to_what_lowers_the_score():
    """F = Relu(a) - Relu(b): the cotangent of the second Relu is -1, which is cut off."""
    model = network("ra = Relu(a)\n rb = Relu(b)\n y = Sub(ra, rb)")
    x = [2.0, 3.0]
    assert values(model, x, "guided_backprop").values["x"].tolist() == [[1.0, 0.0]]
    assert values(model, x, "gradients").values["x"].tolist() == [[1.0, -1.0]]


def test_deconvolution_passes_where_the_relu_is_closed():
    """F = Relu(a) + Relu(b) at a < 0: the gradient is 0 there, that of DeconvNet is 1."""
    model = network("ra = Relu(a)\n rb = Relu(b)\n y = Add(ra, rb)")
    x = [-2.0, 3.0]
    assert values(model, x, "deconvolution").values["x"].tolist() == [[1.0, 1.0]]
    assert values(model, x, "guided_backprop").values["x"].tolist() == [[0.0, 1.0]]


def test_deeplift_differs_on_equal_networks_and_integrated_gradients_does_not():
    x = [3.0, 1.0]
    f = {m: values(network(PAIR_F), x, m).values["x"][0] for m in METHODS}
    g = {m: values(network(PAIR_G), x, m).values["x"][0] for m in METHODS}
    assert np.allclose(g["deeplift"], [2.0, -1.0], atol=ROUNDING)  # the paper's figure 7
    assert np.allclose(f["deeplift"], [1.5, -0.5], atol=ROUNDING)
    # the tolerance of the default is 1e-2 of the L1 norm 2, and its error at most twice that
    for found in (f, g):
        assert np.abs(found["integrated_gradients"] - [1.5, -0.5]).sum() <= 0.04
    assert f["gradients"].tolist() == g["gradients"].tolist() == [1.0, -1.0]


def test_lrp_differs_on_equal_networks_too():
    """With Relu alone LRP is gradient times input up to epsilon, and that is invariant.

    So the third form of the same function has a Clip: Relu(a - 1) = a - Clip(a, 0, 1) for a >= 0.
    By hand at (3, 1): z = 3 - 1 - 1; the Clip hands its -1 on to a as a whole, 3 - 1 = 2.
    """
    x = [3.0, 1.0]
    f, g, h = (values(network(body), x, "lrp").values["x"][0] for body in (PAIR_F, PAIR_G, PAIR_H))
    # epsilon = 1e-6 beside preactivations of order one
    assert np.allclose(f, [3.0, -1.0], atol=ROUNDING)
    assert np.allclose(g, [3.0, -1.0], atol=ROUNDING)
    assert np.allclose(h, [2.0, -1.0], atol=ROUNDING)
    deeplift = values(network(PAIR_H), x, "deeplift").values["x"][0]
    assert np.allclose(deeplift, [2.0, -1.0], atol=ROUNDING)
    path = values(network(PAIR_H), x, "integrated_gradients").values["x"][0]
    assert np.abs(path - [1.5, -0.5]).sum() <= 0.04


@pytest.mark.parametrize("name", METHODS)
def test_no_attribution_to_a_feature_that_is_not_used(name):
    """Sensitivity (b) holds for all of them."""
    found = values(network("y = Relu(a)"), [2.0, 5.0], name)
    assert found.values["x"][0, 1] == 0.0
    assert found.values["x"][0, 0] != 0.0


def test_a_feature_whose_effect_cancels_gets_something_from_modified_sweeps():
    """a, plus two forms of the same function of a and b, one minus the other: no b in it."""
    equal = PAIR_H.replace("rb =", "rc =").replace("rb)", "rc)").replace("d =", "e =")
    equal = equal.replace("Relu(d)", "Relu(e)").replace("y =", "v =").replace("l =", "m =")
    equal = equal.replace("(l,", "(m,")
    body = PAIR_F.replace("y =", "u =") + f"\n{equal}\n w = Sub(u, v)\n y = Add(a, w)"
    found = {m: values(network(body), [3.0, 1.0], m).values["x"][0] for m in METHODS}
    assert found["gradients"].tolist() == [1.0, 0.0]
    assert found["input_x_gradient"].tolist() == [3.0, 0.0]
    # at the default tolerance 1e-2 of the L1 norm 3, and its error at most twice that
    assert np.abs(found["integrated_gradients"] - [3.0, 0.0]).sum() <= 0.06
    # by hand from the pair above: 3 + 1.5 - 2 and -0.5 + 1; 3 + 3 - 2 and -1 + 1
    assert np.allclose(found["deeplift"], [2.5, 0.5], atol=ROUNDING)
    assert np.allclose(found["lrp"], [4.0, 0.0], atol=ROUNDING)
    # Relu(b - 1) hands 3 to b at 3, its bias the rest; b - Clip(b, 0, 1) hands 3 - 1
    twice = "l = Sub(b, one)\n u = Relu(l)\n k = Clip(b, nought, one)\n v = Sub(b, k)\n"
    lrp = values(network(twice + "w = Sub(u, v)\n y = Add(a, w)"), [3.0, 3.0], "lrp")
    assert np.allclose(lrp.values["x"], [[3.0, 1.0]], atol=ROUNDING)
    cut = network("ra = Relu(a)\n rb = Relu(b)\n rc = Relu(b)\n d = Sub(rb, rc)\n y = Add(ra, d)")
    for name in ("deconvolution", "guided_backprop"):
        assert values(cut, [3.0, 1.0], name).values["x"].tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("name", LOCAL)
def test_methods_without_a_path_do_not_look_at_the_baseline(name):
    model, x = network(PAIR_F), [3.0, 1.0]
    zeros, others = (values(model, x, name, baselines=b) for b in (None, [0.5, 2.0, [[1.0, 1.5]]]))
    assert zeros.values["x"].tolist() == others.values["x"].tolist()
    assert others.evaluations.tolist() == [1]
    # the gap still compares with the change of the score, averaged over the three baselines
    change = others.output - others.baseline_output
    assert others.baseline_output[0] == 0.0
    assert others.delta[0] == others.values["x"].sum() - change[0]


def test_deeplift_averages_over_baselines():
    model, x = network(PAIR_G), [3.0, 1.0]
    single = [values(model, x, "deeplift", baselines=b) for b in (0.0, [[2.0, 0.5]])]
    both = values(model, x, "deeplift", baselines=[0.0, [[2.0, 0.5]]])
    mean = np.mean([s.values["x"] for s in single], axis=0)
    assert np.allclose(both.values["x"], mean, atol=ROUNDING)
    assert abs(both.delta[0]) <= ROUNDING
    assert both.evaluations.tolist() == [2]


def test_several_rows_get_what_each_gets_alone():
    x = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    for name in METHODS:
        explainer = igrt.Explainer(network(PAIR_G), provider="cpu")
        together = explainer.explain(x, method=name, internal_batch_size=2).values["x"]
        alone = [explainer.explain(row, method=name).values["x"] for row in x]
        assert np.array_equal(together, np.stack(alone)), name


def test_epsilon_is_heard():
    """One layer, z = 2a - b = 5 and R = y·z/(z + eps), shared as 6 to -1."""
    model = network("t = Add(a, a)\n y = Sub(t, b)")
    found = values(model, [3.0, 1.0], LRP(epsilon=0.5)).values["x"][0]
    assert np.allclose(found, np.array([6.0, -1.0]) * 5.0 / 5.5, atol=ROUNDING)


def test_threads_share_an_explainer():
    from concurrent.futures import ThreadPoolExecutor

    explainer = igrt.Explainer(network(PAIR_H), provider="cpu")
    x = np.asarray([[3.0, 1.0]], dtype=np.float32)
    names = [*METHODS] * 3
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda m: explainer.explain(x, method=m).values["x"].tolist(), names))
    alone = [values(network(PAIR_H), x[0], m).values["x"].tolist() for m in names]
    assert found == alone


def test_an_infinite_gradient_is_refused_also_at_zero():
    """Plain gradients have no factor that could make it 0."""
    model = network("y = Reciprocal(a)")
    with pytest.raises(igrt.IgrtError, match="NaN"):
        values(model, [0.0, 1.0], "gradients", baselines=1.0)
