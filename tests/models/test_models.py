"""The shipped models are what their MANIFEST says, and their torch twins compute the same."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest

MODELS = Path(__file__).resolve().parents[2] / "models"
NAMES = ("breast_cancer_mlp", "digits_cnn", "inception_cifar")
PICTURE_MODELS = ("digits_cnn", "inception_cifar")
SHIPPED_BYTES = 6 * 2**20


def load_script(name: str) -> ModuleType:
    """A module of models/, which is a folder of scripts and not a package."""
    module_name = f"igrt_models_{name}"
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, MODELS / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module  # dataclasses look their module up there
        spec.loader.exec_module(module)
    return sys.modules[module_name]


common = load_script("common")


def run(name: str, x: Any) -> tuple[Any, Any]:
    """Logits and probabilities."""
    logits, probabilities = common.run(MODELS / name / f"{name}.onnx", x)
    return logits, probabilities


def samples(name: str) -> Any:
    """Every sample input of a model, one batch."""
    return np.concatenate([common.read_sample(name, s) for s in common.manifest()[name]["samples"]])


def test_manifest_lists_every_model() -> None:
    assert tuple(sorted(common.manifest())) == NAMES
    assert {file.parent.name for file in MODELS.glob("*/*.onnx")} == set(NAMES)


def test_shipped_files_are_small() -> None:
    files = [f for f in MODELS.rglob("*") if f.is_file() and f.suffix != ".pyc"]
    caches = [f for f in files if any(part.startswith(".") for part in f.relative_to(MODELS).parts)]
    assert sum(f.stat().st_size for f in set(files) - set(caches)) <= SHIPPED_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_file_is_the_one_described(name: str) -> None:
    entry = common.manifest()[name]
    file = MODELS / entry["file"]
    assert file.stat().st_size == entry["bytes"]
    assert common.sha256(file) == entry["sha256"]


@pytest.mark.parametrize("name", NAMES)
def test_graph_keeps_the_conventions(name: str) -> None:
    entry = common.manifest()[name]
    model = onnx.load(MODELS / entry["file"])
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert model.ir_version <= 10  # newer ones are refused by runtimes still in use
    assert entry["opset"] == 17
    assert entry["ir_version"] == model.ir_version

    (model_input,) = model.graph.input
    assert model_input.name == ("image" if name in PICTURE_MODELS else "features")
    assert [output.name for output in model.graph.output] == ["logits", "probabilities"]
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"

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


@pytest.mark.parametrize(
    "name",
    [
        "breast_cancer_mlp",
        "digits_cnn",
        pytest.param("inception_cifar", marks=pytest.mark.slow),  # 3,000 pictures
    ],
)
def test_accuracy_claim_holds(name: str) -> None:
    if name == "inception_cifar" and not (common.shared_data() / common.CIFAR_ARCHIVE).exists():
        pytest.skip("no CIFAR-10 subset: neither IGRT_TEST_DATA nor ../shared/data has one")
    done = subprocess.run(
        [sys.executable, MODELS / "evaluate.py", name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert common.manifest()[name]["accuracy"]["test"] >= 0.8


@pytest.mark.parametrize("name", NAMES)
def test_samples_get_the_predicted_labels(name: str) -> None:
    entries = common.manifest()[name]["samples"]
    labels = common.labels_of(name)
    _, probabilities = run(name, samples(name))
    assert [labels[i] for i in probabilities.argmax(1)] == [e["predicted"] for e in entries]
    # The MANIFEST rounds to 4 decimals; a float32 softmax differs by less than that again.
    claimed = [entry["probability"] for entry in entries]
    np.testing.assert_allclose(probabilities.max(1), claimed, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_of_several_classes_and_all_listed(name: str) -> None:
    entries = common.manifest()[name]["samples"]
    assert len(entries) >= 6
    assert len({entry["label"] for entry in entries}) >= min(6, len(common.labels_of(name)))
    listed = {entry["file"] for entry in entries}
    assert listed == {f"inputs/{file.name}" for file in (MODELS / name / "inputs").iterdir()}


def test_digit_pictures_are_the_digits() -> None:
    test = common.digits("test")
    pictures = samples("digits_cnn")
    for entry, picture in zip(common.manifest()["digits_cnn"]["samples"], pictures, strict=True):
        first = test.x[(test.labels == int(entry["label"])).argmax()]
        # A stored value is a sixteenth; as one of 256 gray levels it moves by half a level at most,
        # and float32 adds a rounding of the scale.
        np.testing.assert_allclose(picture, first, atol=0.5 / 255 + 1e-6)


def test_table_header_has_the_feature_names() -> None:
    names, rows = common.read_table(MODELS / "breast_cancer_mlp" / "inputs" / "samples.csv")
    assert names == common.breast_cancer_features()
    test = common.breast_cancer("test").x
    # Nine digits were written, which identify a float32: the rows come back exactly.
    assert all((test == row).all(axis=1).any() for row in rows)


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_are_the_softmax_of_the_logits(name: str) -> None:
    logits, probabilities = run(name, samples(name))
    shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    # float32 softmax: a few roundings of 6e-8, and an exponential good to a few more.
    np.testing.assert_allclose(
        probabilities, shifted / shifted.sum(1, keepdims=True), rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_a_batch_are_independent(name: str) -> None:
    x = samples(name)
    one_by_one = np.concatenate([run(name, row[None])[0] for row in x])
    # Another batch size may choose another order of summation: float32 roundings, no more.
    np.testing.assert_allclose(run(name, x)[0], one_by_one, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_torch_twin_computes_the_same(name: str) -> None:
    torch = pytest.importorskip("torch")
    x = samples(name)
    twin = load_script("twins").load_twin(name)
    assert not twin.training
    with torch.no_grad():
        expected = twin(torch.from_numpy(x)).numpy()
    logits, _ = run(name, x)
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
