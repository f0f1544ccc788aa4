"""Curves, infidelity and sensitivity against closed forms and Captum's metrics."""

import itertools
from pathlib import Path

import numpy as np
import pytest

import igrt
from igrt.errors import InputError, NonFiniteError
from igrt.inputs import Preprocess, read
from igrt.verify.curves import curves
from igrt.verify.faithfulness import faithfulness
from igrt.verify.features import Features, channels
from igrt.verify.infidelity import infidelity
from igrt.verify.measures import faithful, jointly
from igrt.verify.perturb import Gaussian, Removal
from igrt.verify.place import make_case
from igrt.verify.run import Explaining
from igrt.verify.sensitivity import sensitivity_max
from igrt.verify.subject import subject

W = np.array([3.0, -1.0, 0.5, 2.0, -4.0])
X = {"x": np.array([1.0, 2.0, -1.0, 0.5, 0.25])}
B = {"x": np.array([0.0, 1.0, 1.0, 0.0, 0.0])}
CONTRIBUTIONS = W * (X["x"] - B["x"])
DIGITS = Path(__file__).parents[2] / "models" / "digits_cnn"
# sums of a handful of float64 products
EXACT = 1e-12


def linear(rows):
    return rows["x"] @ W + 0.5


def test_curves_of_a_linear_model_are_running_sums_of_its_contributions():
    found = curves(linear, X, B, {"x": CONTRIBUTIONS})
    running = np.concatenate([[0.0], np.cumsum(np.sort(CONTRIBUTIONS)[::-1])])
    start, end = W @ B["x"] + 0.5, W @ X["x"] + 0.5
    np.testing.assert_array_equal(found.share, np.arange(6) / 5)
    np.testing.assert_allclose(found.insertion, start + running, rtol=EXACT, atol=EXACT)
    np.testing.assert_allclose(found.deletion, end - running, rtol=EXACT, atol=EXACT)
    area = start + np.mean((running[1:] + running[:-1]) / 2)
    assert found.insertion_area == pytest.approx(area, rel=EXACT)
    assert [c.holds for c in found.checks] == [True, True]


def test_no_order_beats_that_of_the_true_contributions():
    best = curves(linear, X, B, {"x": CONTRIBUTIONS})
    for order in itertools.permutations(range(5)):
        other = curves(linear, X, B, {"x": np.array(order, float)}, orders=1)
        assert other.insertion_area <= best.insertion_area + EXACT
        assert other.deletion_area >= best.deletion_area - EXACT


def test_the_opposite_order_does_not_hold():
    found = curves(linear, X, B, {"x": -CONTRIBUTIONS})
    assert [c.holds for c in found.checks] == [False, False]


def test_deletion_in_a_random_order_is_its_reverse_inserted_and_read_backwards():
    draw = np.random.default_rng(3)
    order = draw.permutation(5)
    found = curves(linear, X, B, {"x": CONTRIBUTIONS}, orders=1, seed=3)
    at, backwards = dict(X)["x"].copy(), [linear({"x": X["x"][np.newaxis]})[0]]
    for feature in order[::-1]:
        at[feature] = B["x"][feature]
        backwards.append(linear({"x": at[np.newaxis]})[0])
    np.testing.assert_allclose(found.random[0], backwards[::-1], rtol=EXACT)


@pytest.mark.parametrize(("count", "steps"), [(5, 2), (7, 3), (100, 8), (3, 32), (1, 4)])
def test_steps_bound_the_evaluations_and_mirror(count, steps):
    x = {"x": np.arange(1.0, count + 1)}
    zeros = {"x": np.zeros(count)}
    seen = []

    def run(rows):
        seen.append(len(rows["x"]))
        return rows["x"].sum(axis=1)

    found = curves(run, x, zeros, x, steps=steps, orders=3, chunk=4)
    assert found.share[0] == 0
    assert found.share[-1] == 1
    np.testing.assert_allclose(found.share, 1 - found.share[::-1], atol=EXACT)
    # an odd number of features has no middle
    assert len(found.share) <= steps + 2
    assert max(seen) <= 4
    assert sum(seen) == 5 * len(found.share)


def test_channels_of_a_pixel_move_together():
    x = {"image": np.arange(1.0, 13.0).reshape(3, 2, 2)}
    features = Features.of(x, channels({"image": "NCHW"}))
    assert features.count == 4
    np.testing.assert_array_equal(features.sums(x), x["image"].sum(axis=0).reshape(-1))
    chosen = np.array([[True, False, False, True]])
    mixed = features.mixed(chosen, x, {"image": np.zeros((3, 2, 2))})["image"][0]
    np.testing.assert_array_equal(mixed[:, 0, 0], x["image"][:, 0, 0])
    assert not mixed[:, 0, 1].any()
    last = Features.of({"image": np.zeros((2, 5, 3))}, channels({"image": "NHWC"}))
    assert last.count == 10


def test_a_score_that_does_not_change_gets_no_verdict():
    found = curves(lambda rows: np.ones(len(rows["x"])), X, B, {"x": CONTRIBUTIONS})
    assert [c.holds for c in found.checks] == [None, None]
    there = infidelity(lambda rows: np.ones(len(rows["x"])), X, B, {"x": CONTRIBUTIONS})
    assert there.checks[0].holds is None


@pytest.mark.parametrize("perturb", [Gaussian(), Removal()])
@pytest.mark.parametrize("times", [True, False])
def test_infidelity_of_the_gradient_of_a_linear_model_is_zero(perturb, times):
    values = {"x": CONTRIBUTIONS if times else W}
    found = infidelity(linear, X, B, values, perturb=perturb, times_displacement=times)
    assert found.plain < EXACT
    assert found.scale == pytest.approx(1.0, rel=EXACT)
    assert found.of_zero > 1e-3
    assert found.checks[0].holds


def test_infidelity_of_a_wrong_attribution_is_the_variance_of_what_it_misses():
    """Φ = w + e: E[(Iᵀe)²] = σ²·Σ(d·e)² for independent noise of deviation σ·|d|."""
    wrong = np.array([1.0, 0.0, -2.0, 0.0, 0.5])
    found = infidelity(
        linear,
        X,
        B,
        {"x": W + wrong},
        perturb=Gaussian(0.3),
        times_displacement=False,
        samples=20_000,
        controls=1,
        chunk=5000,
    )
    expected = 0.09 * np.sum(((X["x"] - B["x"]) * wrong) ** 2)
    # the relative standard deviation of a mean of 20,000 squared normal numbers is √(2/20,000)
    assert found.plain == pytest.approx(expected, rel=4 * np.sqrt(2 / 20_000))


def test_twice_the_gradient_is_mended_by_its_scale_and_the_opposite_is_not():
    twice = infidelity(linear, X, B, {"x": 2 * CONTRIBUTIONS})
    assert twice.scale == pytest.approx(0.5, rel=EXACT)
    assert twice.normalised < EXACT
    assert twice.plain == pytest.approx(twice.of_zero, rel=1e-9)
    assert twice.checks[0].holds
    opposite = infidelity(linear, X, B, {"x": -CONTRIBUTIONS})
    assert opposite.scale == pytest.approx(-1.0, rel=EXACT)
    assert opposite.checks[0].figure == pytest.approx(1.0)
    assert not opposite.checks[0].holds


def test_features_at_the_baseline_have_no_part():
    """Their slope is unknown, and neither kind of perturbation moves them."""
    x = {"x": np.array([1.0, 5.0])}
    b = {"x": np.array([0.0, 5.0])}
    for perturb in (Gaussian(), Removal(largest=1.0)):
        found = infidelity(lambda r: r["x"] @ [2.0, 7.0], x, b, {"x": np.array([2.0, 0.0])})
        assert found.plain < EXACT
        moved = perturb(np.random.default_rng(0), x, b)["x"]
        assert moved[1] == 5.0


def test_a_square_goes_and_its_channels_with_it():
    x, b = {"image": np.ones((3, 8, 8))}, {"image": np.zeros((3, 8, 8))}
    for seed in range(20):
        made = Removal({"image": (1, 2)})(np.random.default_rng(seed), x, b)["image"]
        gone = made[0] == 0
        rows, columns = gone.any(axis=1).sum(), gone.any(axis=0).sum()
        assert rows == columns
        assert 1 <= rows <= 4
        assert gone.sum() == rows * columns
        assert (made == made[:1]).all()


def test_sensitivity_of_a_constant_attribution_is_zero():
    constant = np.array([1.0, 2.0, 0.0, 0.0, -1.0])
    found = sensitivity_max(
        lambda rows: {"x": np.tile(constant, (len(rows["x"]), 1))}, X, B, {"x": constant}
    )
    assert found.largest == 0.0
    assert found.checks[0].holds


def test_sensitivity_of_an_attribution_of_zero_that_wakes_up_is_infinite():
    found = sensitivity_max(lambda rows: {"x": rows["x"]}, X, B, {"x": np.zeros(5)})
    assert np.isinf(found.largest)
    assert not found.checks[0].holds


def test_sensitivity_stays_in_its_box():
    seen = []

    def attribute(rows):
        seen.append(rows["x"])
        return {"x": rows["x"] * W}

    found = sensitivity_max(attribute, X, B, {"x": X["x"] * W}, radius=0.1, samples=7, chunk=3)
    near = np.concatenate(seen)
    assert [len(s) for s in seen] == [3, 3, 1]
    assert (np.abs(near - X["x"]) <= 0.1 * np.abs(X["x"] - B["x"]) + EXACT).all()
    expected = np.linalg.norm((near - X["x"]) * W, axis=1) / np.linalg.norm(X["x"] * W)
    np.testing.assert_allclose(found.ratios, expected, rtol=1e-9)


def test_equal_to_captum():
    """The same perturbations and float64 weights on both sides, so only rounding differs."""
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("captum.metrics")
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)
    ).double()
    inputs, base = torch.from_numpy(X["x"])[None], torch.from_numpy(B["x"])[None]
    values = np.array([0.3, -0.2, 0.1, 0.4, -0.5])

    def run(rows):
        with torch.no_grad():
            return net(torch.from_numpy(rows["x"])).numpy()[:, 0]

    def slopes(z):
        with torch.enable_grad():
            z = z.clone().requires_grad_()
            return torch.autograd.grad(net(z).sum(), z)[0]

    for times in (True, False):
        points = []

        def perturb(draw, x, baseline, points=points):
            points.append(Gaussian()(draw, x, baseline))
            return points[-1]

        ours = infidelity(
            run, X, B, {"x": values}, perturb=perturb, times_displacement=times, samples=16
        )
        moved = torch.from_numpy(np.stack([p["x"] for p in points]))
        removed = (inputs - moved) / (inputs - base) if times else inputs - moved
        for normalised, expected in ((False, ours.plain), (True, ours.normalised)):
            theirs = metrics.infidelity(
                lambda z: net(z)[:, 0],
                lambda z, removed=removed, moved=moved: (removed, moved),
                inputs,
                torch.from_numpy(values)[None],
                n_perturb_samples=16,
                max_examples_per_batch=16,
                normalize=normalised,
            )
            assert float(theirs) == pytest.approx(expected, rel=1e-9)

    seen = []

    def attribute(rows):
        seen.append(rows["x"])
        return {"x": slopes(torch.from_numpy(rows["x"])).numpy()}

    here = slopes(inputs).numpy()[0]
    ours = sensitivity_max(attribute, X, B, {"x": here}, radius=0.2)
    theirs = metrics.sensitivity_max(
        lambda z: (slopes(z[0] if isinstance(z, tuple) else z),),
        inputs,
        perturb_func=lambda z: torch.from_numpy(np.concatenate(seen)),
        n_perturb_samples=10,
    )
    assert float(theirs) == pytest.approx(ours.largest, rel=1e-9)


@pytest.mark.parametrize("measure", [curves, infidelity])
def test_seeds_repeat_and_chunks_do_not_matter(measure):
    two = [{**t, "z": np.linspace(*ends, 3)} for t, ends in ((X, (1, 2)), (B, (0, 1)))]
    values = {"z": np.array([0.1, 0.5, -0.2]), "x": CONTRIBUTIONS}

    def run(rows):
        return np.tanh(linear(rows) / 4) + (rows["z"] ** 2).sum(axis=1)

    def numbers(**options):
        found = measure(run, *two, values, **options)
        return found.random if measure is curves else found.change

    first = numbers(seed=5)
    np.testing.assert_array_equal(first, numbers(seed=5))
    # another size of the batch sums in another order
    np.testing.assert_allclose(first, numbers(seed=5, chunk=3), rtol=1e-12, atol=1e-12)
    assert not np.array_equal(first, numbers(seed=6))


def test_tensors_may_come_in_any_order():
    two = [{**t, "z": np.array([v])} for t, v in ((X, 1.0), (B, 0.0))]
    values = {"z": np.array([9.0]), "x": CONTRIBUTIONS}
    assert list(values) != list(two[0])
    found = infidelity(lambda r: linear(r) + 9 * r["z"][:, 0], *two, values)
    assert found.plain < EXACT


def test_what_cannot_be_measured_is_refused():
    values = {"x": CONTRIBUTIONS}
    with pytest.raises(InputError, match="expected the shape"):
        curves(linear, X, B, {"x": CONTRIBUTIONS[np.newaxis]})
    with pytest.raises(InputError, match="got nothing"):
        curves(linear, X, B, {})
    with pytest.raises(NonFiniteError, match="values of `x`"):
        infidelity(linear, X, B, {"x": CONTRIBUTIONS * np.nan})
    with pytest.raises(NonFiniteError, match="score of a changed input"):
        curves(lambda rows: np.full(len(rows["x"]), np.inf), X, B, values)
    with pytest.raises(InputError, match="one score per row"):
        curves(lambda rows: rows["x"], X, B, values)
    with pytest.raises(NonFiniteError, match="near the input"):
        sensitivity_max(lambda rows: {"x": rows["x"] * np.nan}, X, B, values)
    for wrong in ({"steps": 0}, {"orders": 0}, {"chunk": 0}):
        with pytest.raises(InputError, match="must be positive"):
            curves(linear, X, B, values, **wrong)
    with pytest.raises(InputError, match="no axis 3"):
        Features.of({"x": np.zeros((2, 2))}, {"x": 3})
    for wrong in (0.0, 1.5):
        with pytest.raises(InputError, match="largest must be"):
            Removal(largest=wrong)
    with pytest.raises(InputError, match="sigma must be"):
        Gaussian(-1.0)


@pytest.fixture(scope="module")
def digits():
    explainer = igrt.Explainer(DIGITS / "digits_cnn.onnx", provider="cpu")
    how = Preprocess.named(str(DIGITS / "preprocess.toml"))
    files = sorted((DIGITS / "inputs").iterdir())[:2]
    x = np.concatenate([read(f, explainer.inputs[0], how).array for f in files])
    method = igrt.methods.IntegratedGradients()
    explain = Explaining(method, 3e-2, 0, {"provider": "cpu"})
    return make_case(
        explainer,
        x,
        target=None,
        baseline=None,
        explain=explain,
        tolerance=3e-2,
        seed=0,
        layouts={explainer.wrt[0].name: "NCHW"},
    )


def test_integrated_gradients_is_faithful_to_a_trained_model(digits):
    found = faithful(digits, layouts=digits.layouts, steps=16, samples=64, ball=3)
    assert len(found) == 2
    for row in found:
        assert [c.name for c in row.checks if not c.holds] == []
    joint = jointly(found)
    assert [c.name for c in joint] == [c.name for c in found[0].checks]
    assert all(c.holds for c in joint)
    figures = [[c.figure for c in row.checks] for row in found]
    expected = [*np.mean(figures, axis=0)[:-1], np.max(figures, axis=0)[-1]]
    np.testing.assert_allclose([c.figure for c in joint], expected)


def test_the_numbers_of_an_attribution_in_random_places_are_not(digits):
    one = subject(digits, 0)
    name = digits.wrt[0]
    shape, draw = one.values[name].shape, np.random.default_rng(0)
    shuffled = {name: draw.permutation(one.values[name].reshape(-1)).reshape(shape)}
    wrong = type(one)(one.x, one.baseline, shuffled, one.run, one.attribute)
    found = faithfulness(wrong, layouts=digits.layouts, steps=16, samples=64, ball=1)
    failed = {c.name for c in found.checks if not c.holds}
    assert {"insertion", "deletion", "infidelity, noise", "sensitivity-max"} <= failed


def test_large_examples_come_a_few_at_a_time():
    """Rows of 2 million numbers are 16 MB each as float64; the bound is 128 MB."""
    x = {"x": np.ones(2_000_000, np.float32)}
    seen = []

    def run(rows):
        seen.append(len(rows["x"]))
        return rows["x"].sum(axis=1)

    curves(run, x, {"x": np.zeros_like(x["x"])}, x, steps=12, orders=1)
    assert max(seen) == 8
