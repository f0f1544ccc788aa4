"""Expected gradients: right on the average, and its error says how far off it may be."""

import numpy as np
import pytest
from onnx import parser

import igrt
from igrt.errors import InputError
from igrt.methods import ExpectedGradients

RNG = np.random.default_rng(5)
TEXT = """g (float[N, 3] x) => (float[N, 2] y)
   <float[3, 4] W = {0.9, -1.1, 0.3, 0.8, 0.7, 0.2, -1.4, 0.5, -0.6, 1.2, 0.4, -0.9},
    float[4, 2] V = {1, -1, 0.5, 2, -1.5, 0.3, 0.8, 0.6}>
   { h = MatMul(x, W)  t = Softplus(h)  y = MatMul(t, V) }"""


def model(text):
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": 18]> {text}')


EXPLAINER = igrt.Explainer(model(TEXT), provider="cpu", threads=1)
X = RNG.normal(size=(2, 3)).astype(np.float32)
SET = RNG.normal(size=(5, 3)).astype(np.float32)


def exact(x=X, background=SET):
    """The average over all baselines, integrated to rounding."""
    return EXPLAINER.explain(x, baselines=list(background), target=0, n_steps=40)


def drawn(x=X, background=SET, draws=None, explainer=EXPLAINER, **options):
    method = ExpectedGradients(draws=draws)
    return explainer.explain(x, baselines=background, method=method, **{"target": 0} | options)


def test_an_exact_average_is_that_of_every_baseline_alone():
    alone = [EXPLAINER.explain(X, baselines=b, target=0, n_steps=40).values["x"] for b in SET]
    np.testing.assert_allclose(exact().values["x"], np.mean(alone, axis=0), rtol=0, atol=1e-6)


# fewer draws than baselines, fewer than two for each, some for each and a rest, many
@pytest.mark.parametrize("draws", [3, 7, 23, 60])
def test_the_mean_over_seeds_is_the_exact_integral_and_the_error_covers_it(draws):
    want, seeds = exact().values["x"], 150
    results = [drawn(draws=draws, seed=s) for s in range(seeds)]
    values = np.stack([r.values["x"] for r in results])
    deviation = values.std(axis=0, ddof=1)
    # 6 numbers within four standard errors of the mean, and float32 rounding
    assert (np.abs(values.mean(axis=0) - want) <= 4 * deviation / np.sqrt(seeds) + 1e-6).all()

    norm = np.abs(values).sum(axis=2)
    reported = np.stack([r.error for r in results]) * norm
    true = np.abs(values - want).sum(axis=2)
    # an average error is at most a standard error (Jensen), and the estimate expects no less
    assert (true.mean(axis=0) <= 1.1 * reported.mean(axis=0)).all()
    # two standard errors: 95 % of the seeds; with three draws there is but one pair and a half
    covered = (true <= 2 * reported).mean()
    assert covered >= (0.95 if draws > 3 else 0.75)


def test_the_error_is_not_far_too_large_either():
    """Strata within each baseline: the spread between baselines is not counted."""
    want = exact().values["x"]
    results = [drawn(draws=100, seed=s) for s in range(40)]
    true = np.mean([np.abs(r.values["x"] - want).sum() for r in results])
    reported = np.mean([(r.error * np.abs(r.values["x"]).sum(axis=1)).sum() for r in results])
    assert reported < 6 * true


def test_draws_go_on_until_the_error_is_below_the_tolerance():
    result = drawn(tolerance=0.02)
    assert result.converged.all()
    assert (result.error <= 0.02).all()
    assert (result.evaluations < 2048).all()
    assert (drawn(tolerance=0.2).evaluations <= result.evaluations).all()


def test_the_cap_is_reported():
    background = RNG.normal(size=(100, 3)).astype(np.float32)
    result = drawn(background=background, tolerance=1e-4)
    assert (result.evaluations > 1024).all()
    assert (result.evaluations <= 2048).all()
    assert not result.converged.any()
    assert (result.error > 1e-4).all()


def test_a_single_draw_has_no_error_estimate():
    result = drawn(draws=1)
    assert np.isnan(result.error).all()
    assert result.evaluations.tolist() == [1, 1]


def test_a_single_baseline_is_integrated_gradients():
    want = EXPLAINER.explain(X, baselines=SET[0], target=0, n_steps=40).values["x"]
    for one in (SET[0], SET[:1], [SET[0]]):
        result = drawn(background=one, draws=400)
        np.testing.assert_allclose(result.values["x"], want, rtol=0, atol=2e-3)


def test_the_result_is_like_any_other():
    by_name = EXPLAINER.explain(
        X, baselines=SET, target=0, method="expected_gradients", n_steps=23, seed=9
    )
    result = drawn(draws=23, seed=9)
    np.testing.assert_array_equal(by_name.values["x"], result.values["x"])
    assert result.method == "expected_gradients"
    assert result.provenance["seed"] == 9
    assert result.provenance["baselines"] == "array"
    np.testing.assert_allclose(result.baseline_output, exact().baseline_output, rtol=1e-6)
    total = result.values["x"].sum(axis=1) - (result.output - result.baseline_output)
    np.testing.assert_allclose(result.delta, total)
    assert (np.abs(result.delta) <= 3 * result.error * np.abs(result.values["x"]).sum(axis=1)).all()


@pytest.mark.parametrize("draws", [7, 23])
def test_neither_chunk_nor_company_changes_the_draws(draws):
    want = drawn(draws=draws, seed=4).values["x"]
    for chunk in (1, 5, 64):
        found = drawn(draws=draws, seed=4, internal_batch_size=chunk).values["x"]
        np.testing.assert_allclose(found, want, rtol=0, atol=1e-6)
    turned = drawn(x=X[::-1], draws=draws, seed=4).values["x"]
    np.testing.assert_allclose(turned[::-1], want, rtol=0, atol=1e-6)
    alone = drawn(x=X[1], draws=draws, seed=4).values["x"]
    np.testing.assert_allclose(alone, want[1], rtol=0, atol=1e-6)
    assert np.abs(drawn(draws=draws, seed=5).values["x"] - want).max() > 1e-4


def test_a_set_in_all_its_forms():
    want = drawn(draws=23).values["x"]
    for form in (list(SET), SET.tolist(), {"x": SET}, [{"x": b} for b in SET], SET.astype(float)):
        np.testing.assert_array_equal(drawn(background=form, draws=23).values["x"], want)


def test_baselines_made_from_each_example():
    """One noise picture per example: no two examples have the same set."""
    kinds = ["uniform:1", "uniform:2", "constant:0.5"]
    want = EXPLAINER.explain(X, baselines=kinds, target=0, n_steps=40)
    result = drawn(background=kinds, draws=600)
    true = np.abs(result.values["x"] - want.values["x"]).sum(axis=1)
    assert (true <= 3 * result.error * np.abs(result.values["x"]).sum(axis=1)).all()
    np.testing.assert_allclose(result.baseline_output, want.baseline_output, rtol=1e-6)


def test_several_targets_are_several_rows():
    result = drawn(draws=23, target="top2")
    assert len(result) == 4
    for row in range(4):
        alone = drawn(x=X[row // 2], draws=23, target=result.target[row])
        np.testing.assert_allclose(result.values["x"][row], alone.values["x"], rtol=0, atol=1e-6)


TWO = model(
    """g (float[N, 2] a, float[N, 3] b, int64[N] i) => (float[N, 1] y)
       <float[3, 3] T = {1, 2, 3, 4, 5, 6, 7, 8, 9}, int64[1] axis = {1}>
       { e = Gather(T, i)  p = Mul(b, e)  q = Tanh(p)  r = ReduceSum(q, axis)
         s = ReduceSum(a, axis)  y = Mul(r, s) }"""
)


def test_two_inputs_and_one_that_is_not_attributed():
    rng = np.random.default_rng(1)
    feeds = {
        "a": rng.normal(size=(2, 2)).astype(np.float32),
        "b": rng.normal(size=(2, 3)).astype(np.float32),
        "i": np.array([0, 2]),
    }
    background = {n: rng.normal(size=(4, *feeds[n].shape[1:])).astype(np.float32) for n in "ab"}
    explainer = igrt.Explainer(TWO, wrt=["a", "b"])
    want = explainer.explain(
        feeds, baselines=[{n: background[n][k] for n in "ab"} for k in range(4)], tolerance=1e-4
    )
    result = drawn(feeds, background, draws=800, explainer=explainer)
    true = sum(np.abs(result.values[n] - want.values[n]).sum(axis=1) for n in "ab")
    norm = sum(np.abs(result.values[n]).sum(axis=1) for n in "ab")
    assert (true <= 3 * result.error * norm).all()
    np.testing.assert_allclose(result.baseline_output, want.baseline_output, rtol=1e-5)

    uneven = {"a": background["a"], "b": background["b"][:2]}
    with pytest.raises(InputError, match="different numbers of rows"):
        drawn(feeds, uneven, draws=8, explainer=explainer)


def test_an_inner_tensor_is_drawn_in_its_own_space():
    explainer = igrt.Explainer(model(TEXT), wrt=["h"])
    background = [{"x": b} for b in SET]
    want = explainer.explain(X, baselines=background, target=0, n_steps=40)
    for form in (background, {"x": SET}):
        result = drawn(background=form, draws=400, explainer=explainer)
        true = np.abs(result.values["h"] - want.values["h"]).sum(axis=1)
        assert (true <= 3 * result.error * np.abs(want.values["h"]).sum(axis=1)).all()


def test_a_model_without_a_batch_axis():
    text = TEXT.replace("[N, 3]", "[3]").replace("[N, 2]", "[2]")
    explainer = igrt.Explainer(model(text))
    result = drawn(x=X[0], draws=23, explainer=explainer)
    np.testing.assert_allclose(
        result.values["x"], drawn(x=X[0], draws=23).values["x"], rtol=0, atol=1e-6
    )


def test_a_set_of_the_wrong_shape_is_refused():
    with pytest.raises(InputError, match="baseline"):
        drawn(background=SET[:, :2], draws=4)


def test_integrated_gradients_says_what_to_do_with_a_set():
    with pytest.raises(InputError, match="expected_gradients"):
        EXPLAINER.explain(X, baselines=SET, target=0)
