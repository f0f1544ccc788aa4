"""The shipped models are what their MANIFEST says, and their torch twins compute the same."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest

MODELS = Path(__file__).resolve().parents[2] / "models"


def load_script(name: str) -> ModuleType:
    """A module of models/, which is a folder of scripts and not a package."""
    sys.path.insert(0, str(MODELS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(MODELS))


common = load_script("common")
datasets = load_script("datasets")

NAMES = tuple(sorted(common.manifest()))
# who has the torch network of a model, which scikit-learn and JAX made without
TWINS = {
    "breast_cancer_mlp": "twins",
    "digits_cnn": "twins",
    "en_de_gru": "token_twins",
    "inception_cifar": "twins",
    "sst2_attention": "token_twins",
    "tox21_graph": "graph_twins",
    "trec_cnn": "token_twins",
}
INPUTS = {
    "breast_cancer_mlp": ["features"],
    "digits_cnn": ["image"],
    "en_de_gru": ["source_ids", "target_ids"],
    "gesture_conv": ["points"],
    "inception_cifar": ["image"],
    "solubility_mlp": ["features"],
    "sst2_attention": ["input_ids", "attention_mask"],
    "tox21_graph": ["atoms", "adjacency", "pairs"],
    "trec_cnn": ["input_ids"],
}
# the first input, whose padding must not change anything, and the number of its padded axis
PADDED = {"en_de_gru": 1, "sst2_attention": 1, "tox21_graph": 1, "trec_cnn": 1}
TEXTS = {
    "en_de_gru": "tokenizer.en.json",
    "sst2_attention": "tokenizer.json",
    "trec_cnn": "tokenizer.json",
}
MOST_BYTES, SHIPPED_BYTES = 4 * 2**20, 25 * 2**20


def run(name: str, feeds: Any) -> dict[str, Any]:
    """All outputs by name."""
    outputs: dict[str, Any] = common.run(MODELS / name / f"{name}.onnx", feeds)
    return outputs


def score(name: str) -> str:
    """Name of the output that is explained by default."""
    return str(common.manifest()[name]["outputs"][0]["name"])


def samples(name: str) -> dict[str, Any]:
    """Every sample input of a model, one batch."""
    rows = [common.read_sample(name, sample) for sample in common.manifest()[name]["samples"]]
    return {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}


def test_manifest_lists_every_model() -> None:
    assert {file.parent.name for file in MODELS.glob("*/*.onnx")} == set(NAMES)
    assert set(INPUTS) == set(NAMES)


def test_shipped_files_are_small() -> None:
    assert all(file.stat().st_size <= MOST_BYTES for file in MODELS.glob("*/*.onnx"))
    files = [f for f in MODELS.rglob("*") if f.is_file() and f.suffix != ".pyc"]
    caches = [f for f in files if any(part.startswith(".") for part in f.relative_to(MODELS).parts)]
    assert sum(f.stat().st_size for f in set(files) - set(caches)) <= SHIPPED_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_file_is_the_one_described(name: str) -> None:
    entry = common.manifest()[name]
    file = MODELS / entry["file"]
    assert file.stat().st_size == entry["bytes"]
    assert common.sha256(file) == entry["sha256"]
    assert (MODELS / entry["made_by"].removeprefix("python models/")).is_file()


@pytest.mark.parametrize("name", NAMES)
def test_graph_keeps_the_conventions(name: str) -> None:
    entry = common.manifest()[name]
    model = onnx.load(MODELS / entry["file"])
    onnx.checker.check_model(model, full_check=True)
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    # each exporter has its own; newer ones are refused by runtimes still in use
    assert 16 <= opsets.pop("") == entry["opset"] <= 21
    assert set(opsets) <= {"ai.onnx.ml"}
    assert entry["ir_version"] == model.ir_version <= 10

    assert [value.name for value in model.graph.input] == INPUTS[name]
    outputs = [output.name for output in model.graph.output]
    assert outputs in (["logits", "probabilities"], ["prediction"])
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    for value in model.graph.output:
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT

    nodes = [node.name for node in model.graph.node]
    assert all(nodes) and len(set(nodes)) == len(nodes)
    assert not {"Dropout", "BatchNormalization"} & {node.op_type for node in model.graph.node}
    assert not any(onnx.external_data_helper.uses_external_data(w) for w in model.graph.initializer)


def test_inception_has_real_lrn_nodes_and_four_branches() -> None:
    model = onnx.load(MODELS / "inception_cifar" / "inception_cifar.onnx")
    of_type = {
        kind: [node for node in model.graph.node if node.op_type == kind]
        for kind in ("LRN", "Concat", "GlobalAveragePool")
    }
    assert [len(nodes) for nodes in of_type.values()] == [2, 4, 1]
    assert all(len(node.input) == 4 for node in of_type["Concat"])


def claims_hold(*names: str) -> None:
    """`evaluate.py` agrees with the MANIFEST, whose figures are worth shipping."""
    command = [sys.executable, MODELS / "evaluate.py", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_accuracy_claims_hold() -> None:
    claims_hold("breast_cancer_mlp", "digits_cnn")


@pytest.mark.skipif(
    not (datasets.shared_data() / "datasets").is_dir(),
    reason="no data sets: neither IGRT_TEST_DATA nor ../shared/data has them",
)
@pytest.mark.parametrize(
    ("names", "package"),
    [
        (["gesture_conv", "solubility_mlp"], "sklearn"),
        (["en_de_gru", "sst2_attention", "trec_cnn"], "tokenizers"),
        (["tox21_graph"], "rdkit"),
        pytest.param(["inception_cifar"], "PIL", marks=pytest.mark.slow),  # 3,000 pictures
    ],
)
def test_accuracy_claims_on_shared_data_hold(names: list[str], package: str) -> None:
    pytest.importorskip(package)
    claims_hold(*names)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "en_de_gru"])
def test_samples_get_the_predicted_labels(name: str) -> None:
    entries = common.manifest()[name]["samples"]
    labels = common.labels_of(name)
    outputs = run(name, samples(name))
    if "prediction" in outputs:
        # The MANIFEST rounds to 4 decimals; float32 sums of a few dozen terms differ by less.
        claimed = [entry["predicted"] for entry in entries]
        np.testing.assert_allclose(outputs["prediction"][:, 0], claimed, atol=1e-4)
        return
    probabilities = outputs["probabilities"]
    assert [labels[i] for i in probabilities.argmax(1)] == [e["predicted"] for e in entries]
    # The MANIFEST rounds to 4 decimals; a float32 softmax differs by less than that again.
    claimed = [entry["probability"] for entry in entries]
    np.testing.assert_allclose(probabilities.max(1), claimed, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_samples_differ_and_are_all_listed(name: str) -> None:
    entries = common.manifest()[name]["samples"]
    assert len(entries) >= 6
    assert len(np.unique(samples(name)[INPUTS[name][0]], axis=0)) >= 6
    listed = {entry["file"] for entry in entries}
    arrays = {f"inputs/{key}.npy" for key in INPUTS[name]}  # the same rows, as the model takes them
    arrays.add("inputs/background.csv")  # rows to compare with
    found = {f"inputs/{file.name}" for file in (MODELS / name / "inputs").iterdir()}
    assert listed <= found <= listed | arrays


def test_digit_pictures_are_the_digits() -> None:
    test = datasets.digits("test")
    pictures = samples("digits_cnn")["image"]
    for entry, picture in zip(common.manifest()["digits_cnn"]["samples"], pictures, strict=True):
        first = test.feeds["image"][(test.labels == int(entry["label"])).argmax()]
        # A stored value is a sixteenth; as one of 256 gray levels it moves by half a level at most,
        # and float32 adds a rounding of the scale.
        np.testing.assert_allclose(picture, first, atol=0.5 / 255 + 1e-6)


def test_table_headers_have_the_feature_names() -> None:
    names, rows = common.read_table(MODELS / "breast_cancer_mlp" / "inputs" / "samples.csv")
    assert names == datasets.breast_cancer_features()
    test = datasets.breast_cancer("test").feeds["features"]
    # Nine digits were written, which identify a float32: the rows come back exactly.
    assert all((test == row).all(axis=1).any() for row in rows)
    names, _ = common.read_table(MODELS / "solubility_mlp" / "inputs" / "samples.csv")
    assert names == datasets.SOLUBILITY_FEATURES


@pytest.mark.parametrize("name", TEXTS)
def test_texts_are_the_tokens_that_are_shipped(name: str) -> None:
    pytest.importorskip("tokenizers", reason="texts become tokens by tokenizers")
    token_data = load_script("token_data")
    tokenizer = token_data.load_tokenizer(name, TEXTS[name])
    texts = (MODELS / name / "inputs" / "texts.txt").read_text(encoding="utf-8").splitlines()
    assert texts == [entry["text"] for entry in common.manifest()[name]["samples"]]
    ids = samples(name)[INPUTS[name][0]]
    np.testing.assert_array_equal(token_data.encode(tokenizer, texts), ids)
    rows = next(
        dims[0]
        for dims in (
            list(w.dims)
            for w in onnx.load(MODELS / name / f"{name}.onnx").graph.initializer
            if w.name.endswith("embedding.weight")
        )
    )
    assert tokenizer.get_vocab_size() == rows


def test_molecules_are_the_arrays_that_are_shipped() -> None:
    pytest.importorskip("rdkit", reason="molecules become arrays by RDKit")
    molecules = load_script("molecules")
    file = MODELS / "tox21_graph" / "inputs" / "molecules.json"
    listed = json.loads(file.read_text(encoding="utf-8"))
    assert listed["features"]["atoms"] == molecules.ATOM_FEATURES
    assert listed["features"]["pairs"] == molecules.PAIR_FEATURES
    found = [molecules.featurise(molecule["smiles"]) for molecule in listed["molecules"]]
    for molecule, entry in zip(found, listed["molecules"], strict=True):
        assert molecule.symbols == entry["atoms"]
        assert molecule.hydrogens == entry["hydrogens"]
        assert [list(bond) for bond in molecule.bonds] == entry["bonds"]
    shipped = samples("tox21_graph")
    for key, array in molecules.batch(found).items():
        np.testing.assert_array_equal(array, shipped[key])


@pytest.mark.parametrize("name", [name for name in NAMES if name != "solubility_mlp"])
def test_probabilities_are_those_of_the_logits(name: str) -> None:
    outputs = run(name, samples(name))
    logits = outputs["logits"].astype(np.float64)
    if name == "tox21_graph":  # twelve answers, each yes or no
        expected = 1 / (1 + np.exp(-logits))
    else:
        shifted = np.exp(logits - logits.max(-1, keepdims=True))
        expected = shifted / shifted.sum(-1, keepdims=True)
    # float32 softmax: a few roundings of 6e-8, and an exponential good to a few more.
    np.testing.assert_allclose(outputs["probabilities"], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_a_batch_are_independent(name: str) -> None:
    feeds = samples(name)
    count = len(next(iter(feeds.values())))
    one_by_one = np.concatenate(
        [run(name, {k: x[i : i + 1] for k, x in feeds.items()})[score(name)] for i in range(count)]
    )
    # Another batch size may choose another order of summation: float32 roundings, no more.
    np.testing.assert_allclose(run(name, feeds)[score(name)], one_by_one, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", PADDED)
def test_padding_changes_nothing(name: str) -> None:
    feeds = samples(name)
    padded = {}
    for key, x in feeds.items():
        axes = [axis for axis in range(1, x.ndim) if x.shape[axis] == x.shape[PADDED[name]]]
        padded[key] = np.pad(x, [(0, 3 if axis in axes else 0) for axis in range(x.ndim)])
    # Zeros are added to sums, in another order perhaps: float32 roundings, no more.
    expected = run(name, feeds)[score(name)]
    found = run(name, padded)[score(name)][:, : expected.shape[1]]  # a translation grows as well
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TWINS)
def test_torch_twin_computes_the_same(name: str) -> None:
    torch = pytest.importorskip("torch")
    feeds = samples(name)
    twin = load_script(TWINS[name]).load_twin(name)
    assert not twin.training
    with torch.no_grad():
        expected = twin(*(torch.from_numpy(feeds[key]) for key in INPUTS[name])).numpy()
    logits = run(name, feeds)["logits"]
    # Two float32 implementations of sums of up to 1,200 terms: relative to the largest logit,
    # since a logit near 0 is a difference of larger numbers.
    assert np.abs(logits - expected).max() <= 1e-5 * np.abs(expected).max()


def test_local_response_norm_of_the_twin_is_torchs() -> None:
    torch = pytest.importorskip("torch")
    x = torch.randn(2, 7, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours = load_script("twins").local_response_norm(x, 5, 0.5, 0.75, 1.0)
    expected = torch.nn.functional.local_response_norm(x, 5, 0.5, 0.75, 1.0)
    # Both in float64, where only the order of a five-term sum differs.
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
