"""What training and evaluation share, without torch: data, input files, inference, the MANIFEST."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is imported

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split

ROOT = Path(__file__).resolve().parent
MANIFEST = ROOT / "MANIFEST.json"
CIFAR_ARCHIVE = Path("datasets") / "cifar10_subset.tar.gz"

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """One part of a data set, as the model takes it.

    `x`: float32 [n, *features]. `labels`: class indices [n]. `pixels`: uint8 [n, height, width] or
    [n, height, width, 3] where the examples are pictures.
    """

    x: Floats
    labels: Labels
    pixels: npt.NDArray[np.uint8] | None = None


# --- data sets ------------------------------------------------------------------------------------


def shared_data() -> Path:
    """Folder of the data that is not shipped: IGRT_TEST_DATA, or shared/data beside the project."""
    return Path(os.environ.get("IGRT_TEST_DATA", ROOT.parent.parent / "shared" / "data"))


def _quarter_for_test(x: Floats, labels: Labels, part: str) -> tuple[Floats, Labels]:
    """A stratified quarter is held out for `test`, by a fixed seed."""
    train_x, test_x, train_labels, test_labels = train_test_split(
        x, labels, test_size=0.25, random_state=0, stratify=labels
    )
    return (train_x, train_labels) if part == "train" else (test_x, test_labels)


def digits(part: str) -> Split:
    """scikit-learn's digits, `part` train or test; `x` is the stored 0..16 divided by 16."""
    loaded = load_digits()
    values, labels = _quarter_for_test(loaded.images.astype(np.float32), loaded.target, part)
    pixels = np.rint(values * (255 / 16)).astype(np.uint8)
    return Split((values / np.float32(16))[:, None], labels, pixels)


def breast_cancer(part: str) -> Split:
    """scikit-learn's breast cancer table, `part` train or test; `x` holds raw features [n, 30]."""
    loaded = load_breast_cancer()
    return Split(*_quarter_for_test(loaded.data.astype(np.float32), loaded.target, part))


def breast_cancer_features() -> list[str]:
    """Names of the 30 columns."""
    return [str(name) for name in load_breast_cancer().feature_names]


def cifar(part: str, data: Path | None = None) -> Split:
    """The CIFAR-10 subset, `part` train or test, in the order of the file names.

    Args:
        part: `train` or `test`.
        data: folder that holds `datasets/cifar10_subset.tar.gz`; default `shared_data()`.
    """
    pictures: dict[str, npt.NDArray[np.uint8]] = {}
    with tarfile.open((data or shared_data()) / CIFAR_ARCHIVE) as archive:
        for member in archive:
            if not (member.name.startswith(f"{part}/") and member.name.endswith(".jpg")):
                continue
            file = archive.extractfile(member)
            assert file is not None, member.name
            pictures[member.name] = np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB"))
    names = sorted(pictures)
    classes = labels_of("inception_cifar")
    labels = np.array([classes.index(name.split("/")[1]) for name in names])
    pixels = np.stack([pictures[name] for name in names])
    return Split(to_input(pixels, preprocessing("inception_cifar")), labels, pixels)


def test_split(name: str, data: Path | None = None) -> Split:
    """The test examples of a model, by its name."""
    if name == "inception_cifar":
        return cifar("test", data)
    return {"digits_cnn": digits, "breast_cancer_mlp": breast_cancer}[name]("test")


# --- input files ----------------------------------------------------------------------------------


def labels_of(name: str) -> list[str]:
    """Class names of a model, in the order of its outputs."""
    return (ROOT / name / "labels.txt").read_text(encoding="utf-8").split()


def preprocessing(name: str) -> dict[str, Any]:
    """The model's preprocess.toml."""
    return tomllib.loads((ROOT / name / "preprocess.toml").read_text(encoding="utf-8"))


def to_input(pixels: npt.NDArray[np.uint8], rule: Mapping[str, Any]) -> Floats:
    """Pictures as the model takes them: x = (pixel · scale - mean) / std, per channel.

    Args:
        pixels: gray [n, height, width] or RGB [n, height, width, 3].
        rule: a preprocess.toml.

    Returns:
        float32 [n, channels, height, width], or channels last for NHWC.
    """
    x = pixels.astype(np.float32)
    if rule["channels"] == "gray":
        x = x[..., None]
    elif rule["channels"] == "BGR":
        x = x[..., ::-1]
    mean, std = np.float32(rule["mean"]), np.float32(rule["std"])
    x = (x * np.float32(rule["scale"]) - mean) / std
    if rule["layout"] == "NCHW":
        x = np.moveaxis(x, 3, 1)
    return np.ascontiguousarray(x)


def read_picture(file: Path, rule: Mapping[str, Any]) -> Floats:
    """A picture file as a batch of one, by the rule of a preprocess.toml."""
    image = Image.open(file).convert("L" if rule["channels"] == "gray" else "RGB")
    height, width = rule["size"]
    if "resize" in rule:
        ratio = rule["resize"] / min(image.size)
        image = image.resize(
            (round(image.width * ratio), round(image.height * ratio)), Image.Resampling.BILINEAR
        )
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
    else:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return to_input(np.asarray(image)[None], rule)


def read_table(file: Path) -> tuple[list[str], Floats]:
    """A comma-separated file: column names, and rows [n, columns]."""
    with file.open(encoding="utf-8") as lines:
        names = lines.readline().rstrip("\n").split(",")
        return names, np.loadtxt(lines, delimiter=",", dtype=np.float32, ndmin=2)


def read_sample(name: str, sample: Mapping[str, Any]) -> Floats:
    """The input that a sample of the MANIFEST names, as a batch of one."""
    file = ROOT / name / sample["file"]
    if "row" in sample:
        return read_table(file)[1][sample["row"]][None]
    return read_picture(file, preprocessing(name))


# --- inference ------------------------------------------------------------------------------------


def run(file: Path, x: Floats) -> tuple[Floats, Floats]:
    """Logits and probabilities [n, classes] of inputs [n, *features], by onnxruntime on the CPU."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    # In parts, because the activations of 3,000 pictures at once take gigabytes.
    parts = [
        session.run(["logits", "probabilities"], {name: x[start : start + 500]})
        for start in range(0, len(x), 500)
    ]
    logits, probabilities = (np.concatenate(outputs) for outputs in zip(*parts, strict=True))
    return logits, probabilities


# --- manifest -------------------------------------------------------------------------------------


def sha256(file: Path) -> str:
    """Hexadecimal digest of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def manifest() -> dict[str, Any]:
    """MANIFEST.json as {model name: its entry}; empty where there is none yet."""
    if not MANIFEST.exists():
        return {}
    entries: dict[str, Any] = json.loads(MANIFEST.read_text(encoding="utf-8"))
    return entries


def record(name: str, entry: Mapping[str, Any]) -> None:
    """Put one model's entry into MANIFEST.json, names in order."""
    entries = manifest() | {name: dict(entry)}
    text = json.dumps(dict(sorted(entries.items())), indent=2, ensure_ascii=False)
    MANIFEST.write_text(text + "\n", encoding="utf-8")
