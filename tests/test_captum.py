"""Attributions against Captum's on the same weights with the same Gauss-Legendre nodes."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import igrt
from igrt.inputs import Preprocess, read

captum_attr = pytest.importorskip("captum.attr")
torch = pytest.importorskip("torch")

MODELS = Path(__file__).parents[1] / "models"
NAMES = ["digits_cnn", "breast_cancer_mlp", "inception_cifar"]
TOKEN_NAMES = ["sst2_attention", "trec_cnn"]
GRAPH_NAME, TRANSLATION_NAME = "tox21_graph", "en_de_gru"
# The bound, in the L1 norm. Both sides compute in float32 (1e-7 per operation through some
# dozens of layers); single elements may differ more where a ReLU or a maximum is decided by the
# last bit, which the norm averages out.
RELATIVE = 1e-4


def twins(file="twins"):
    spec = importlib.util.spec_from_file_location(file, MODELS / f"{file}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def samples(name, explainer):
    """Up to three of the model's own sample inputs, as the model takes them."""
    folder = MODELS / name
    spec = explainer.inputs[0]
    files = sorted((folder / "inputs").iterdir())[:3]
    how = folder / "preprocess.toml"
    preprocess = Preprocess.named(str(how)) if how.exists() else None
    return np.concatenate([read(f, spec, preprocess).array for f in files])[:3]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_equal_to_captum_with_the_same_nodes(name):
    explainer = igrt.Explainer(MODELS / name / f"{name}.onnx", provider="cpu")
    x = samples(name, explainer)
    ours = explainer.explain(x, target="top1", n_steps=50, rule="gauss_legendre")
    method = captum_attr.IntegratedGradients(twins().load_twin(name))
    theirs = method.attribute(
        torch.from_numpy(x),
        target=list(ours.target),
        n_steps=50,
        method="gausslegendre",
        internal_batch_size=len(x),
    ).numpy()
    values = ours.values[explainer.wrt[0].name]
    for row in range(len(x)):
        scale = np.abs(theirs[row]).sum()
        assert np.abs(values[row] - theirs[row]).sum() <= RELATIVE * scale


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    # where all words are one token, the maxima of trec_cnn are ties that the last bit decides
    ("name", "token"),
    [("sst2_attention", 0), ("sst2_attention", 7), ("trec_cnn", 0), ("trec_cnn", 1)],
)
def test_tokens_equal_to_captum_of_the_embedding(name, token):
    explainer = igrt.Explainer(MODELS / name / f"{name}.onnx", provider="cpu")
    feeds = {
        spec.name: np.load(MODELS / name / "inputs" / f"{spec.name}.npy")[:6]
        for spec in explainer.inputs
    }
    # of padding, token 0, the embedding is zero
    start = None if token == 0 else f"token:{token}"
    ours = explainer.explain(
        feeds, baselines=start, target="top1", n_steps=50, rule="gauss_legendre"
    )
    twin = twins("token_twins").load_twin(name)
    first, *others = (torch.from_numpy(x) for x in feeds.values())
    theirs = captum_attr.LayerIntegratedGradients(twin, twin.embedding).attribute(
        first,
        baselines=torch.full_like(first, token),
        additional_forward_args=tuple(others),
        target=list(ours.target),
        n_steps=50,
        method="gausslegendre",
        internal_batch_size=len(first),
    )
    (values,) = ours.values.values()
    for row, expected in enumerate(theirs.detach().numpy()):
        assert np.abs(values[row] - expected).sum() <= RELATIVE * np.abs(expected).sum()


@pytest.mark.filterwarnings("ignore")
def test_three_inputs_of_a_graph_equal_to_captum():
    folder = MODELS / GRAPH_NAME
    explainer = igrt.Explainer(folder / f"{GRAPH_NAME}.onnx", provider="cpu")
    feeds = {s.name: np.load(folder / "inputs" / f"{s.name}.npy")[:3] for s in explainer.inputs}
    ours = explainer.explain(feeds, target="top1", n_steps=50, rule="gauss_legendre")
    theirs = captum_attr.IntegratedGradients(twins("graph_twins").load_twin(GRAPH_NAME)).attribute(
        tuple(torch.from_numpy(x) for x in feeds.values()),
        target=list(ours.target),
        n_steps=50,
        method="gausslegendre",
        internal_batch_size=len(ours.target),
    )
    for name, expected in zip(feeds, theirs, strict=True):
        for row, values in enumerate(expected.numpy()):
            error = np.abs(ours.values[name][row] - values).sum()
            assert error <= RELATIVE * np.abs(values).sum(), name


@pytest.mark.filterwarnings("ignore")
def test_a_translated_word_equals_captum_of_the_source():
    folder = MODELS / TRANSLATION_NAME
    name = "/source_embedding/Gather_output_0"
    explainer = igrt.Explainer(folder / f"{TRANSLATION_NAME}.onnx", wrt=[name], provider="cpu")
    feeds = {s.name: np.load(folder / "inputs" / f"{s.name}.npy")[:3] for s in explainer.inputs}
    ours = explainer.explain(feeds, target=(2, 7), n_steps=50, rule="gauss_legendre")
    twin = twins("token_twins").load_twin(TRANSLATION_NAME)
    source, target = (torch.from_numpy(x) for x in feeds.values())
    embedded = twin.source_embedding(source).detach()

    def logits(x, source, target):
        twin.source_embedding.forward = lambda _: x
        return twin(source, target)

    theirs = captum_attr.IntegratedGradients(logits).attribute(
        embedded,
        additional_forward_args=(source, target),
        target=(2, 7),
        n_steps=50,
        method="gausslegendre",
        internal_batch_size=len(source),
    )
    for values, expected in zip(ours.values[name], theirs.numpy(), strict=True):
        assert np.abs(values - expected).sum() <= RELATIVE * np.abs(expected).sum()


def test_every_shipped_model_of_torch_is_compared():
    manifest = json.loads((MODELS / "MANIFEST.json").read_text(encoding="utf-8"))
    of_torch = [name for name, entry in manifest.items() if "torch" in entry["made_with"]]
    assert sorted(of_torch) == sorted([*NAMES, *TOKEN_NAMES, GRAPH_NAME, TRANSLATION_NAME])
