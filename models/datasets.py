"""Pictures, tables and time series: training and test examples, without torch."""

from __future__ import annotations

import csv
import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

import common
import numpy as np
import numpy.typing as npt
from common import Array, Feeds, Floats, Labels
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split

CIFAR_ARCHIVE = Path("datasets") / "cifar10_subset.tar.gz"
SOLUBILITY_TABLE = Path("datasets") / "delaney.csv"
GESTURE_TABLE = Path("datasets") / "point_history.csv"

# Columns of the solubility table that describe a molecule; another column holds a known estimate.
SOLUBILITY_FEATURES = [
    "Minimum Degree",
    "Molecular Weight",
    "Number of H-Bond Donors",
    "Number of Rings",
    "Number of Rotatable Bonds",
    "Polar Surface Area",
]
SOLUBILITY_TARGET = "measured log solubility in mols per litre"


@dataclass(frozen=True)
class Split:
    """One part of a data set, as the model takes it.

    `feeds`: inputs by name, each [n, …]. `labels`: class indices [n], or the numbers to be
    predicted. `pixels`: uint8 [n, height, width] or [n, height, width, 3] where the examples are
    pictures.
    """

    feeds: Feeds
    labels: Array
    pixels: npt.NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.labels)


def shared_data() -> Path:
    """Folder of the data that is not shipped: IGRT_TEST_DATA, or shared/data beside the project."""
    return Path(os.environ.get("IGRT_TEST_DATA", common.ROOT.parent.parent / "shared" / "data"))


def _quarter_for_test(x: Floats, labels: Labels, part: str) -> tuple[Floats, Labels]:
    """A stratified quarter is held out for `test`, by a fixed seed."""
    train_x, test_x, train_labels, test_labels = train_test_split(
        x, labels, test_size=0.25, random_state=0, stratify=labels
    )
    return (train_x, train_labels) if part == "train" else (test_x, test_labels)


def digits(part: str) -> Split:
    """scikit-learn's digits, `part` train or test; `image` is the stored 0..16 divided by 16."""
    loaded = load_digits()
    values, labels = _quarter_for_test(loaded.images.astype(np.float32), loaded.target, part)
    pixels = np.rint(values * (255 / 16)).astype(np.uint8)
    return Split({"image": (values / np.float32(16))[:, None]}, labels, pixels)


def breast_cancer(part: str) -> Split:
    """scikit-learn's breast cancer table, `part` train or test; raw `features` [n, 30]."""
    loaded = load_breast_cancer()
    x, labels = _quarter_for_test(loaded.data.astype(np.float32), loaded.target, part)
    return Split({"features": x}, labels)


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
    classes = common.labels_of("inception_cifar")
    labels = np.array([classes.index(name.split("/")[1]) for name in names])
    pixels = np.stack([pictures[name] for name in names])
    x = common.to_input(pixels, common.preprocessing("inception_cifar"))
    return Split({"image": x}, labels, pixels)


def solubility(part: str, data: Path | None = None) -> Split:
    """Solubility in water (Delaney 2004): six `features` of a molecule and log10 of mol per litre.

    A quarter of the molecules is held out for `test`, by a fixed seed.
    """
    with ((data or shared_data()) / SOLUBILITY_TABLE).open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    x = np.array([[row[name] for name in SOLUBILITY_FEATURES] for row in rows], np.float32)
    y = np.array([row[SOLUBILITY_TARGET] for row in rows], np.float32)
    train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.25, random_state=0)
    chosen = (train_x, train_y) if part == "train" else (test_x, test_y)
    return Split({"features": chosen[0]}, chosen[1])


def gestures(part: str, data: Path | None = None) -> Split:
    """Movements of a finger tip: 16 `points` [n, 16, 2] of a picture, and the gesture's number.

    A stratified quarter is held out for `test`, by a fixed seed.
    """
    rows = np.loadtxt((data or shared_data()) / GESTURE_TABLE, delimiter=",", dtype=np.float32)
    x, labels = _quarter_for_test(rows[:, 1:].reshape(-1, 16, 2), rows[:, 0].astype(np.int64), part)
    return Split({"points": x}, labels)
