"""Integrated Hessians against closed forms, and against the double sum over torch's Hessians."""

from pathlib import Path

import numpy as np
import pytest
from onnx import parser

import igrt
from igrt.errors import InputError, UnsupportedOperator
from igrt.methods import IntegratedHessians

MODELS = Path(__file__).parents[2] / "models"
RNG = np.random.default_rng(7)
A = RNG.normal(size=(4, 4))
A = (A + A.T).astype(np.float32)
LINEAR = RNG.normal(size=(4, 1)).astype(np.float32)
W = RNG.normal(scale=0.7, size=(4, 6)).astype(np.float32)
V = RNG.normal(size=(6, 3)).astype(np.float32)
X, B = RNG.normal(size=(3, 4)).astype(np.float32), RNG.normal(size=4).astype(np.float32)

ROUNDING = 2e-5
"""Relative: some hundred float32 operations each way, and twice the sum of what cancels."""


def stored(name, array):
    shape = ", ".join(map(str, array.shape))
    return f"float[{shape}] {name} = {{{', '.join(map(str, array.reshape(-1)))}}}"


def build(text, opset=20):
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> g {text}')


QUADRATIC = build(
    f"(float[N, 4] x) => (float[N, 1] y) <{stored('A', A)}, {stored('b', LINEAR)}, "
    "float half = {0.5}, int64[1] axis = {1}> "
    "{ g = MatMul(x, A) p = Mul(g, x) s = ReduceSum(p, axis) q = Mul(half, s) l = MatMul(x, b) "
    "y = Add(q, l) }"
)
STORED = f"<{stored('W', W)}, {stored('V', V)}>"
NET = build(
    f"(float[N, 4] x) => (float[N, 3] y) {STORED} "
    "{ h = MatMul(x, W) t = Tanh(h) z = MatMul(t, V) y = Softmax(z) }"
)
RELU = build(
    f"(float[N, 4] x) => (float[N, 3] y) {STORED} "
    "{ h = MatMul(x, W) r = Relu(h) z = MatMul(r, V) y = Mul(z, z) }"
)


def relative(found, want):
    """L1 distance of each row, relative to the L1 norm."""
    axes = tuple(range(1, want.ndim))
    return np.abs(found - want).sum(axis=axes) / np.abs(want).sum(axis=axes)


def explained(model, x, **options):
    return igrt.explain(model, x, **{"method": "integrated_hessians", "provider": "cpu"} | options)


def test_a_quadratic_form_is_exact():
    """Γ = (d dᵀ ∘ A)/4 + diag(d ∘ (A x' + b) + d ∘ (A d)/4), with d = x - x'."""
    result = explained(QUADRATIC, X, baselines=B, target=0)
    d, form = (X - B).astype(np.float64), A.astype(np.float64)
    want = d[:, :, np.newaxis] * d[:, np.newaxis] * form / 4
    main = d * (form @ B + LINEAR[:, 0]) + d * (d @ form) / 4
    want[:, np.arange(4), np.arange(4)] += main
    assert (relative(result.interactions["x"], want) < ROUNDING).all()
    # each node is exact for it, so that the first rules agree
    assert (result.error < ROUNDING).all()
    assert result.evaluations.tolist() == [15 * 4] * 3


def double_sum(x, b, target, nodes=80):
    """Γ by its definition: a Gauss rule in α times one in β, over torch's Hessians in float64."""
    import torch

    first, second = (torch.from_numpy(a.astype(np.float64)) for a in (W, V))

    def score(z):
        return torch.softmax(torch.tanh(z @ first) @ second, dim=-1)[..., target]

    at, weights = np.polynomial.legendre.leggauss(nodes)
    at, weights = (at + 1) / 2, weights / 2
    product = np.outer(at, at).reshape(-1)
    share = np.outer(weights, weights).reshape(-1)
    x, b = x.astype(np.float64), b.astype(np.float64)
    d = x - b
    points = torch.from_numpy(b + product[:, np.newaxis] * d).requires_grad_()
    (slopes,) = torch.autograd.grad(score(points).sum(), points, create_graph=True)
    hessians = np.stack(
        [
            torch.autograd.grad(slopes[:, i].sum(), points, retain_graph=True)[0].numpy()
            for i in range(len(d))
        ],
        axis=1,
    )
    gamma = np.outer(d, d) * np.einsum("k,k,kij->ij", share, product, hessians)
    return gamma + np.diag(d * (share @ slopes.detach().numpy()))


@pytest.mark.parametrize("tolerance", [1e-1, 1e-2, 1e-4])
def test_a_network_against_the_double_sum_over_torch_hessians(tolerance):
    pytest.importorskip("torch")
    targets = [0, 2, 1]
    result = explained(NET, X, baselines=B, target=targets, tolerance=tolerance)
    want = np.stack([double_sum(x, B, t) for x, t in zip(X, targets, strict=True)])
    true = relative(result.interactions["x"], want)
    assert (true <= 2 * result.error + ROUNDING).all()
    assert (result.error <= tolerance).all()
    np.testing.assert_allclose(result.interactions["x"].sum(axis=2), result.values["x"], atol=1e-12)
    assert (np.abs(result.delta) <= result.error * np.abs(result.values["x"]).sum(axis=1)).all()


@pytest.mark.parametrize("steps", [3, 12, 60])
def test_a_fixed_number_of_nodes(steps):
    pytest.importorskip("torch")
    result = explained(NET, X, baselines=B, target=1, n_steps=steps)
    want = np.stack([double_sum(x, B, 1) for x in X])
    assert (relative(result.interactions["x"], want) <= 2 * result.error + ROUNDING).all()
    assert result.evaluations.tolist() == [4 * steps] * 3
    assert result.rule == "gauss_legendre"


def test_a_feature_that_does_not_move_has_no_interactions_and_costs_nothing():
    x = X.copy()
    x[0, 1] = B[1]
    x[1] = B
    result = explained(NET, x, baselines=B, target=0)
    gamma = result.interactions["x"]
    assert not gamma[0, 1].any() and not gamma[0, :, 1].any() and not gamma[1].any()
    assert result.evaluations[0] % 3 == 0 and result.evaluations[1] == 0
    assert result.error[1] == 0


def test_several_baselines_are_averaged():
    both = explained(NET, X, baselines=[B, 0.5], target=2, tolerance=1e-4)
    alone = [explained(NET, X, baselines=b, target=2, tolerance=1e-4) for b in (B, 0.5)]
    want = np.mean([a.interactions["x"] for a in alone], axis=0)
    np.testing.assert_allclose(both.interactions["x"], want, atol=1e-6)


@pytest.mark.parametrize("chunk", [7, 500])
def test_chunks_and_neighbours_change_nothing(chunk):
    options = {"baselines": B, "target": "top2"}
    result = explained(NET, X, internal_batch_size=chunk, **options)
    alone = explained(NET, X[1], **options | {"target": "top1"})
    assert alone.interactions["x"].shape == (4, 4)
    assert result.interactions["x"].shape == (6, 4, 4)
    np.testing.assert_allclose(result.interactions["x"][2], alone.interactions["x"], atol=1e-6)
    np.testing.assert_array_equal(result.interaction_row(2)["x"], result.interactions["x"][2])


def test_a_small_budget_takes_one_path_at_a_time():
    wide = np.repeat(X, 40, axis=0)
    large = explained(NET, wide, baselines=B, target=0)
    least = large.provenance["plan"]["fixed_bytes"] + large.provenance["plan"]["row_bytes"]
    small = igrt.explain(
        NET, wide, baselines=B, target=0, method="ih", memory=least + 200_000, provider="cpu"
    )
    assert small.provenance["plan"]["keep_bytes"] < large.provenance["plan"]["keep_bytes"]
    np.testing.assert_allclose(small.interactions["x"], large.interactions["x"], atol=1e-6)


SEQUENCE = build(
    "(float[N, 3, 2] x) => (float[N, 1] y) <int64[2] flat = {0, -1}, int64[1] axis = {1}> "
    "{ t = Transpose<perm = [0, 2, 1]>(x) s = MatMul(x, t) p = Softmax(s) v = MatMul(p, x) "
    "g = Tanh(v) f = Reshape(g, flat) y = ReduceSum(f, axis) }"
)


def test_positions_of_a_sequence_are_features_summed_over_what_lies_at_them():
    x = RNG.normal(size=(2, 3, 2)).astype(np.float32)
    tokens = explained(SEQUENCE, x, target=0, tolerance=1e-5)
    elements = explained(SEQUENCE, x, target=0, tolerance=1e-5, method=IntegratedHessians(axes=2))
    assert tokens.interactions["x"].shape == (2, 3, 3)
    assert elements.interactions["x"].shape == (2, 6, 6)
    blocks = elements.interactions["x"].reshape(2, 3, 2, 3, 2).sum(axis=(2, 4))
    np.testing.assert_allclose(tokens.interactions["x"], blocks, atol=1e-5)
    # per element all the same
    np.testing.assert_allclose(tokens.values["x"], elements.values["x"], atol=1e-5)
    assert tokens.provenance["features"] == {"x": 3}


def test_two_tensors_interact():
    model = build("(float[N, 1] a, float[N, 2] b) => (float[N, 2] y) { e = Exp(b) y = Mul(a, e) }")
    a, b = np.float32([[2]]), np.float32([[0.5, 1]])
    result = explained(model, {"a": a, "b": b}, target=1, tolerance=1e-5)
    assert {n: m.shape for n, m in result.interactions.items()} == {"a": (1, 1, 3), "b": (1, 2, 3)}
    gamma = np.concatenate([result.interactions[n][0] for n in "ab"])
    # a·exp(b): d_a d_b ∫ -ln t · t · exp(t b) dt, here by the series of exp
    k = np.arange(30)
    factorial = np.cumprod(np.maximum(k, 1.0))
    want = 2 * 1 * np.sum(1 / (factorial * (k + 2.0) ** 2))
    assert gamma[0, 2] == pytest.approx(want, rel=ROUNDING)
    np.testing.assert_allclose(gamma, gamma.T, atol=1e-6)
    assert not gamma[1].any() and not gamma[:, 1].any()


@pytest.mark.parametrize(
    "text",
    [
        '(float[4] x) => (float y) { e = Exp(x) y = Einsum<equation = "i,i->">(e, x) }',
        '(float[1, 4] x) => (float y) { e = Exp(x) y = Einsum<equation = "ni,ni->">(e, x) }',
    ],
    ids=["no batch axis", "output without one"],
)
def test_models_that_run_one_row_at_a_time(text):
    shape = (4,) if "[4]" in text else (1, 4)
    result = explained(build(text), X[0].reshape(shape), tolerance=1e-4)
    gamma = result.interactions["x"].reshape(4, 4)
    np.testing.assert_allclose(gamma, np.diag(X[0] * np.exp(X[0])), rtol=1e-4, atol=1e-6)


def test_results_are_kept_in_files(tmp_path):
    import json

    result = explained(NET, X, baselines=B, target=0)
    again = igrt.Attribution.load(result.save(tmp_path / "r.npz"))
    np.testing.assert_array_equal(again.interactions["x"], result.interactions["x"])
    document = json.loads(result.save(tmp_path / "r.json").read_text())
    np.testing.assert_array_equal(document["interactions"]["x"], result.interactions["x"])
    assert "interactions" not in json.loads(
        explained(NET, X, target=0, method="gradients").save(tmp_path / "g.json").read_text()
    )


SMOOTH = ["breast_cancer_mlp", "gesture_conv", "solubility_mlp", "sst2_attention", "tox21_graph"]


def samples(name):
    folder = MODELS / name / "inputs"
    if (folder / "samples.csv").is_file():
        table = np.loadtxt(folder / "samples.csv", delimiter=",", skiprows=1, dtype=np.float32)
        return table[:3]
    feeds = {f.stem: np.load(f)[:2] for f in sorted(folder.glob("*.npy"))}
    if name == "tox21_graph":  # one small molecule, without the padding
        used = int(feeds["atoms"][0].any(axis=1).sum())
        return {n: a[:1, :used, : used if n != "atoms" else None] for n, a in feeds.items()}
    return feeds


@pytest.mark.parametrize("name", SMOOTH)
def test_rows_of_shipped_models_sum_to_integrated_gradients(name):
    wrt = ["atoms"] if name == "tox21_graph" else None  # all three take five seconds
    explainer = igrt.Explainer(MODELS / name / f"{name}.onnx", wrt=wrt, provider="cpu")
    x = samples(name)
    options = {"baselines": "mean"} if name == "solubility_mlp" else {}
    result = explainer.explain(x, method="integrated_hessians", target=0, **options)
    path = explainer.explain(x, target=0, tolerance=1e-5, **options)
    rows = len(result)
    sums, want = [], []
    for n, gamma in result.interactions.items():
        sums.append(gamma.sum(axis=2))
        want.append(path.values[n].reshape(rows, gamma.shape[1], -1).sum(axis=2))
    # the issue asks for 1 %; what is left is float32 and the rules
    assert (relative(np.concatenate(sums, 1), np.concatenate(want, 1)) < 1e-3).all()
    assert (result.error <= 1e-2).all()
    assert (result.relative_delta <= 1e-2).all()


def test_kinks_are_refused_by_name():
    with pytest.raises(
        UnsupportedOperator, match=r"1 node on the way has one: `Relu_1` \(Relu\)"
    ) as e:
        explained(RELU, X, target=0)
    assert "softplus=10" in e.value.hint
    pooled = build(
        "(float[N, 1, 8] x) => (float[N, 1, 4] y) "
        "{ r = Relu(x) y = MaxPool<kernel_shape = [2], strides = [2]>(r) }"
    )
    with pytest.raises(UnsupportedOperator, match="2 nodes on the way have one") as e:
        explained(pooled, np.ones((1, 1, 8), np.float32), target=(0, 0))
    assert "softplus smooths" in e.value.hint


def test_softplus_takes_the_place_of_relu_and_the_result_says_what_it_changes():
    moved = []
    for beta in (1, 10, 100):
        result = explained(RELU, X, target=1, softplus=beta)
        h = X.astype(np.float64) @ W
        want = (np.logaddexp(0, beta * h) / beta @ V)[:, 1] ** 2
        np.testing.assert_allclose(result.output, want, rtol=1e-5)
        said = result.provenance["softplus"]
        assert said["beta"] == beta and said["nodes"] == 1
        np.testing.assert_allclose(said["output"], (np.maximum(h, 0) @ V)[:, 1] ** 2, rtol=1e-5)
        assert said["baseline_output"] == [0.0] * 3
        moved.append(np.abs(result.output - said["output"]).max())
        assert result.converged.all()
    assert moved[0] > 3 * moved[1] > 9 * moved[2]


def test_too_many_features_are_refused_with_what_would_do():
    model = build("(float[N, 3, 20, 20] x) => (float[N, 3, 20, 20] y) { y = Tanh(x) }")
    x = np.ones((1, 3, 20, 20), np.float32)
    with pytest.raises(InputError, match=r"at most 512 features.*`x` has 1,200") as e:
        explained(model, x, target=(0, 0, 0))
    assert "IntegratedHessians(axes=2) has 60 features" in e.value.hint
    assert explained(model, x, target=(0, 0, 0), method=IntegratedHessians(axes=1)).converged.all()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"rule": "simpson"}, "weighs by -ln t"),
        ({"n_steps": 0}, "n_steps"),
        ({"tolerance": 2.0}, "tolerance"),
        ({"precision": "fp16"}, "needs float32"),
        ({"softplus": 10}, "no Relu, LeakyRelu or ReduceMax"),
        ({"softplus": -1}, "softplus must be a positive number"),
    ],
)
def test_what_does_not_go_with_it_is_refused(options, match):
    with pytest.raises(InputError, match=match):
        explained(NET, X, target=0, **options)


@pytest.mark.parametrize("axes", [0, -1, 1.5, True])
def test_axes_are_a_positive_number(axes):
    with pytest.raises(InputError, match="positive whole number"):
        IntegratedHessians(axes=axes)
