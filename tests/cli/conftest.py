"""Small models, good inputs for them, and the command line run in this process."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from igrt.cli.main import main

MODELS = {
    "mlp": """<ir_version: 8, opset_import: ["" : 17]>
        mlp (float[N,3] x) => (float[N,4] scores)
        <float[3,4] w = {1,-2,3,0.5, 0.25,1,-1,2, -1,0.5,2,-0.5}>
        { h = Tanh(x) scores = MatMul(h, w) }""",
    "two": """<ir_version: 8, opset_import: ["" : 17]>
        two (float[N,2] left, float[N,2] right) => (float[N,2] scores)
        { product = Mul(left, right) scores = Add(product, left) }""",
    "grid": """<ir_version: 8, opset_import: ["" : 17]>
        grid (float[N,2,3] x) => (float[N,2,3] scores) { scores = Tanh(x) }""",
    "picture": """<ir_version: 8, opset_import: ["" : 17]>
        picture (float[N,3,8,8] image) => (float[N,3] scores)
        { h = Tanh(image) pooled = GlobalAveragePool(h) scores = Flatten<axis = 1>(pooled) }""",
    "open": """<ir_version: 8, opset_import: ["" : 18]>
        open (float[N,L] x) => (float[N,1] score)
        <int64[1] axes = {1}>
        { h = Tanh(x) score = ReduceSum<keepdims = 1>(h, axes) }""",
    "root": """<ir_version: 8, opset_import: ["" : 17]>
        root (float[N,3] x) => (float[N,3] scores) { scores = Sqrt(x) }""",
    "nan": """<ir_version: 8, opset_import: ["" : 17]>
        nan (float[N,3] x) => (float[N,3] scores) { scores = Log(x) }""",
    "tokens": """<ir_version: 8, opset_import: ["" : 17]>
        tokens (int64[N,T] ids) => (float[N,T,2] scores)
        <float[5,2] table = {1,2,3,4,5,6,7,8,9,1}>
        { embedded = Gather<axis = 0>(table, ids) scores = Tanh(embedded) }""",
}

LABELS = "ant\nbee\ncat\ndog\n"


@dataclass(frozen=True)
class Outcome:
    """What one call of the command did."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document that is all of stdout."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


Run = Callable[..., Outcome]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in this process; what libraries write to the descriptors counts too."""

    def call(*arguments: str | Path) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        out, err = capfd.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Outcome(code, out, err)

    return call


def fill(folder: Path) -> None:
    """Writes the models, a good input for each, and labels."""
    for name, text in MODELS.items():
        model = onnx.parser.parse_model(text)
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
    rng = np.random.default_rng(0)
    arrays = {
        "row": rng.standard_normal((1, 3)),
        "rows": rng.standard_normal((4, 3)),
        "positive": rng.random((1, 3)) + 0.5,
        "pair": rng.standard_normal((1, 2)),
        "pairs": rng.standard_normal((2, 2)),
        "cells": rng.standard_normal((1, 2, 3)),
        "short": rng.standard_normal((1, 5)),
        "long": rng.standard_normal((1, 6)),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array.astype(np.float32))
    np.save(folder / "ids.npy", np.array([[1, 2, 4]]))
    (folder / "rows.csv").write_text("a,b,c\n1,2,3\n-0.5,0.25,1\n")
    (folder / "row.json").write_text("[[0.5, -1.5, 2.0]]")
    (folder / "labels.txt").write_text(LABELS)
    pixels = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "picture.png")
    Image.fromarray(pixels).save(folder / "picture.jpg")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the caller's environment shows in the output."""
    for name in ("IGRT_DEBUG", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of its own with the models and their inputs."""
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for tests that write nothing into it."""
    made = tmp_path_factory.mktemp("shared")
    fill(made)
    return made


@pytest.fixture(scope="session")
def names() -> Callable[[Path], set[str]]:
    """Every file and folder below a folder."""
    return lambda folder: {os.path.relpath(p, folder) for p in folder.rglob("*")}
