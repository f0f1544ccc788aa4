"""`igrt augment`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

Run = Callable[..., Any]


def gradient(model: str, x: np.ndarray) -> np.ndarray:
    """Gradient of the first of four scores through plain onnxruntime, as any user would."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    seed = np.zeros((len(x), 4), np.float32)
    seed[:, 0] = 1.0
    return np.asarray(session.run(["igrt/grad/x"], {"x": x, "igrt/cotangent/scores": seed})[0])


def test_text(run: Run, folder: Path) -> None:
    outcome = run("augment", "mlp.onnx", "-o", "more.onnx")
    assert (outcome.code, outcome.err) == (0, "")
    first, *rest = outcome.out.splitlines()
    assert first.startswith("more.onnx: ") and first.endswith(" of them for the gradient")
    assert rest == [
        "  cotangent  igrt/cotangent/scores: float32[N, 4]",
        "  gradient   igrt/grad/x: float32[N, 3]",
    ]


def test_the_written_model_computes_the_gradient(run: Run, folder: Path) -> None:
    report = run("augment", "mlp.onnx", "-o", "more.onnx", "--json").document
    assert report["file"] == "more.onnx"
    assert report["bytes"] == Path("more.onnx").stat().st_size
    assert 0 < report["added"] < report["nodes"]
    x = np.load("rows.npy")
    w = np.array([1, 0.25, -1])
    # float32: 1 - tanh² of numbers near 1 keeps their absolute rounding, 6e-8 each
    np.testing.assert_allclose(gradient("more.onnx", x), (1 - np.tanh(x) ** 2) * w, atol=5e-7)


def test_inner_tensors_and_outputs_can_be_chosen(run: Run, folder: Path) -> None:
    report = run(
        "augment", "two.onnx", "-o", "more.onnx", "--of", "product", "--wrt", "left", "--json"
    ).document
    assert report["of"] == "product: float32[N, 2]"
    assert report["gradients"] == ["igrt/grad/left: float32[N, 2]"]


def test_an_augmented_model_can_be_inspected_and_augmented(run: Run, folder: Path) -> None:
    run("augment", "mlp.onnx", "-o", "once.onnx")
    outcome = run("augment", "once.onnx", "-o", "twice.onnx", "--of", "igrt/grad/x", "--wrt", "x")
    assert (outcome.code, outcome.err) == (0, "")
    assert "igrt/grad/x/2" in outcome.out
    assert run("inspect", "twice.onnx").code == 0


def test_an_existing_file_is_replaced_and_a_failure_leaves_it(run: Run, folder: Path) -> None:
    Path("more.onnx").write_bytes(b"old")
    assert run("augment", "mlp.onnx", "-o", "more.onnx", "--of", "none").code == 2
    assert Path("more.onnx").read_bytes() == b"old"
    assert run("augment", "mlp.onnx", "-o", "more.onnx").code == 0
    assert Path("more.onnx").read_bytes() != b"old"


@pytest.mark.parametrize("link", ["link.onnx", "hard.onnx"])
def test_a_link_to_the_model_is_the_model(run: Run, folder: Path, link: str) -> None:
    before = Path("mlp.onnx").read_bytes()
    if link == "link.onnx":
        Path(link).symlink_to("mlp.onnx")
    else:
        Path(link).hardlink_to("mlp.onnx")
    assert run("augment", "mlp.onnx", "-o", link).code == 2
    assert Path("mlp.onnx").read_bytes() == before
