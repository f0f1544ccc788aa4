"""What training and evaluation share, without torch: input files, inference, the MANIFEST."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is imported

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image

ROOT = Path(__file__).resolve().parent
MANIFEST = ROOT / "MANIFEST.json"

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Feeds = Mapping[str, Array]  # by input name; the first axis counts the examples


# --- input files ----------------------------------------------------------------------------------


def labels_of(name: str) -> list[str]:
    """Names of a model's outputs, in their order."""
    return (ROOT / name / "labels.txt").read_text(encoding="utf-8").splitlines()


def write_labels(name: str, labels: Sequence[str]) -> None:
    """Write the file that `labels_of` reads, and its folder."""
    (ROOT / name).mkdir(exist_ok=True)
    (ROOT / name / "labels.txt").write_text("\n".join([*labels, ""]), encoding="utf-8")


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


def write_table(file: Path, names: Sequence[str], rows: Floats) -> None:
    """Write a comma-separated file that `read_table` reads back unchanged."""
    # 9 significant digits give every float32 back unchanged.
    lines = [",".join(f"{value:.9g}" for value in row) for row in rows]
    file.write_text("\n".join([",".join(names), *lines, ""]), encoding="utf-8")


def read_sample(name: str, sample: Mapping[str, Any]) -> Feeds:
    """The inputs that a sample of the MANIFEST names, each a batch of one.

    Pictures become `image`, rows of a table `features`. Texts and molecules are for readers: the
    arrays beside them, named after the inputs, hold the same rows as the model takes them.
    """
    file: Path = ROOT / name / sample["file"]
    if file.suffix == ".png":
        return {"image": read_picture(file, preprocessing(name))}
    row = slice(sample["row"], sample["row"] + 1)
    if file.suffix == ".csv":
        return {"features": read_table(file)[1][row]}
    return {array.stem: np.load(array)[row] for array in sorted(file.parent.glob("*.npy"))}


# --- inference ------------------------------------------------------------------------------------


def run(file: Path, feeds: Feeds, part: int = 500) -> dict[str, Array]:
    """All outputs by name, by onnxruntime on the CPU.

    Args:
        file: the model.
        feeds: its inputs.
        part: examples at a time, because the activations of all at once take gigabytes.
    """
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    count = len(next(iter(feeds.values())))
    parts = [
        session.run(names, {name: x[start : start + part] for name, x in feeds.items()})
        for start in range(0, count, part)
    ]
    return {
        name: np.concatenate(outputs)
        for name, outputs in zip(names, zip(*parts, strict=True), strict=True)
    }


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
