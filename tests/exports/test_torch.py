"""Exports of torch's networks, against torch's own gradients in float64."""

import numpy as np
import onnx
import onnxruntime
import pytest

import igrt

torch = pytest.importorskip("torch", reason="exports by torch")
torch_exports = pytest.importorskip("torch_exports")
torch_nets = pytest.importorskip("torch_nets")

How, NETS = torch_exports.How, torch_nets.NETS

pytestmark = torch_exports.WARNINGS

SCRIPT = [How(False, 16, True), How(False, 17, False), How(False, 20, True)]
DYNAMO = [How(True, 18, True), How(True, 23, True), How(True, 25, False)]
CASES = [
    pytest.param(name, how, id=f"{name}-{how}")
    for name in NETS
    for how in (*SCRIPT, *DYNAMO)
    # TorchScript's exporter refuses or warns that what it writes for index_add is wrong
    if how.dynamo or name != "index_graph"
]

# float32 on both sides of dozens of operations at 1e-7 each, relative to the largest element
FLOAT32 = 2e-5


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Exports by network and manner, each made once and left with its external data."""
    if not hasattr(torch.onnx, "ops"):
        pytest.skip("this torch has another exporter")
    folder, made = tmp_path_factory.mktemp("exports"), {}

    def make(name, how):
        if how.dynamo:
            pytest.importorskip("onnxscript", reason="the newer exporter of torch needs it")
        if (name, how) not in made:
            module, inputs = torch_nets.seeded(name, rows=2 if how.dynamic else 1)
            path = folder / f"{name}-{how}.onnx"
            made[name, how] = torch_exports.export(module, inputs, name, how, path)
        return made[name, how]

    return make


def gradients(path, truth, of, wrt):
    """The explained output and the gradients, through the public augmented model."""
    augmented = path.with_suffix(".grad.onnx")
    onnx.save(igrt.augment(path, of=of, wrt=wrt), augmented)
    session = onnxruntime.InferenceSession(augmented)
    used = {i.name for i in session.get_inputs()}
    feeds = {n: x for n, x in truth.feeds.items() if n in used}
    feeds[f"igrt/cotangent/{of}"] = truth.cotangent
    return session.run([of, *(f"igrt/grad/{n}" for n in wrt)], feeds)


def assert_close(found, expected, tolerance):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("name, how", CASES)
def test_gradient_is_torchs(exported, name, how):
    """With respect to every float input and the embedding; with more rows than were exported."""
    path = exported(name, how)
    truth = torch_exports.truth(name, rows=3 if how.dynamic else 1)
    expected = dict(truth.gradients)
    if truth.lookup is not None:
        expected[torch_exports.lookup_of(path, "tokens")] = truth.lookup
    output, *found = gradients(path, truth, NETS[name].outputs[0], list(expected))
    assert_close(output, truth.outputs[0], FLOAT32)
    for mine, theirs in zip(found, expected.values(), strict=True):
        assert_close(mine, theirs, FLOAT32)


@pytest.mark.parametrize("how", [SCRIPT[2], DYNAMO[0]], ids=str)
@pytest.mark.parametrize("name", ["text_transformer", "decoder"])
def test_tokens_are_attributed_at_their_embedding(exported, name, how):
    """By default, beside the float inputs; the attributions add up to the change of the score."""
    path, truth = exported(name, how), torch_exports.truth(name, rows=3)
    explainer = igrt.Explainer(path, provider="cpu")
    lookup = torch_exports.lookup_of(path, "tokens")
    assert {s.name for s in explainer.wrt} == {lookup, *truth.gradients}
    target = 1 if name == "text_transformer" else (3, 1)
    result = explainer.explain(truth.feeds, target=target, tolerance=1e-3)
    at = (slice(None), *np.atleast_1d(target))
    assert_close(result.output, truth.outputs[0][at], FLOAT32)
    assert result.values[lookup].shape == truth.lookup.shape
    # the tolerance is relative to the L1 norm of the attribution
    norm = sum(np.abs(v).reshape(3, -1).sum(axis=1) for v in result.values.values())
    assert (np.abs(result.delta) <= 1e-3 * norm).all()


def midpoint_attribution(name, truth, target, n_steps):
    """(x − x') · mean of the gradient at the midpoints, in float64, by torch alone."""
    module = torch_nets.seeded(name)[0].double()
    ends = {n: torch.from_numpy(x).double() for n, x in truth.feeds.items()}
    totals = {n: torch.zeros_like(x) for n, x in ends.items()}
    for k in range(n_steps):
        at = {n: ((k + 0.5) / n_steps * x).requires_grad_() for n, x in ends.items()}
        module(*at.values())[:, target].sum().backward()
        totals = {n: totals[n] + at[n].grad / n_steps for n in ends}
    return {n: (ends[n] * totals[n]).numpy() for n in ends}


@pytest.mark.parametrize("how", [SCRIPT[1], DYNAMO[0]], ids=str)
@pytest.mark.parametrize("name", ["mlp", "transformer", "lstm", "dense_graph"])
def test_attribution_is_torchs(exported, name, how):
    """Smooth networks, so that the two float types see the same function."""
    truth = torch_exports.truth(name, rows=3)
    explainer = igrt.Explainer(exported(name, how), provider="cpu")
    ours = explainer.explain(truth.feeds, target=1, n_steps=20, rule="midpoint")
    theirs = midpoint_attribution(name, truth, target=1, n_steps=20)
    assert set(ours.values) == set(theirs)
    for tensor, expected in theirs.items():
        assert_close(ours.values[tensor], expected, FLOAT32)


@pytest.mark.parametrize("name, how", [("scatter_graph", SCRIPT[0]), ("index_graph", DYNAMO[0])])
def test_a_graph_with_an_open_number_of_nodes_is_one_example(exported, name, how):
    """The nodes were taken for examples, and one of them alone has no such edges."""
    truth = torch_exports.truth(name, rows=2)
    result = igrt.explain(
        exported(name, how), truth.feeds, target=2, n_steps=20, rule="midpoint", provider="cpu"
    )
    module, edges = torch_nets.seeded(name)[0].double(), torch.from_numpy(truth.feeds["edges"])
    nodes = torch.from_numpy(truth.feeds["nodes"]).double()
    total = torch.zeros_like(nodes)
    for k in range(20):
        at = ((k + 0.5) / 20 * nodes).requires_grad_()
        total += torch.autograd.grad(module(at, edges)[0, 2], at)[0] / 20
    assert_close(result.values["nodes"], (nodes * total).numpy(), FLOAT32)
    assert len(result) == 1
