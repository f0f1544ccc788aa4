"""Precisions below float32: their error is measured and reported, or they are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx.parser
import pytest
from click.testing import CliRunner
from onnx import numpy_helper

import igrt
from igrt.cli.main import cli
from igrt.errors import InputError, NonFiniteError, ProviderError
from igrt.precision import ranging

MODELS = Path(__file__).parents[1] / "models"
DIGITS = MODELS / "digits_cnn" / "digits_cnn.onnx"


def network() -> onnx.ModelProto:
    """Two layers of 64 with a tanh, and products that add up many numbers."""
    rng = np.random.default_rng(0)
    made = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,256] x) => (float[N,3] y) '
        "{ h = MatMul(x, a) t = Tanh(h) y = MatMul(t, b) }"
    )
    for name, shape in (("a", (256, 64)), ("b", (64, 3))):
        w = rng.normal(size=shape) / np.sqrt(shape[0])
        made.graph.initializer.append(numpy_helper.from_array(w.astype(np.float32), name))
    return made


INPUTS = np.random.default_rng(1).normal(size=(4, 256)).astype(np.float32)


@pytest.mark.parametrize("steps", [None, 15])
def test_fp16_says_how_far_it_is_from_float32(steps: int | None) -> None:
    options = {"target": 1, "n_steps": steps, "rule": "gauss_kronrod" if steps else None}
    exact, found = (
        igrt.explain(network(), INPUTS, provider="cpu", precision=p, **options)
        for p in ("float32", "fp16")
    )
    assert exact.evaluations.tolist() == found.evaluations.tolist()  # of the same nodes, so
    a, b = exact.values["x"], found.values["x"]  # nothing but the rounding is between these
    true = np.abs(a - b).sum(axis=1) / np.abs(a).sum(axis=1)
    added = found.error - exact.error
    assert (true > 1e-5).all()  # eleven bits
    # two points of a path stand for all of it: within a factor of two, as errors promise
    assert (true <= 2 * added).all()
    assert (added <= 20 * true).all()
    said = found.provenance["precision"]
    assert said["name"] == "fp16"
    assert said["difference"] == pytest.approx(added.max(), rel=0.5)
    assert "precision" not in exact.provenance


@pytest.mark.skipif(not DIGITS.exists(), reason="needs the shipped models")
def test_fp16_on_a_trained_network() -> None:
    x = np.random.default_rng(0).uniform(0, 1, (2, 1, 8, 8)).astype(np.float32)
    exact, found = (
        igrt.explain(DIGITS, x, target=3, provider="cpu", precision=p, n_steps=64, rule="midpoint")
        for p in ("float32", "fp16")
    )
    a, b = exact.values["image"], found.values["image"]
    # rounding may turn a ReLU over at a few nodes of 64
    assert np.abs(a - b).sum() <= 5e-3 * np.abs(a).sum()
    # F is computed in float32, so the gap shows the rounding of the gradients as well
    np.testing.assert_allclose(found.output, exact.output, rtol=0, atol=0)


@pytest.mark.parametrize("method", ["expected_gradients", "gradients", "input_x_gradient"])
def test_every_method_takes_a_precision(method: str) -> None:
    result = igrt.explain(
        network(),
        INPUTS,
        target=0,
        provider="cpu",
        method=method,
        precision="fp16",
        n_steps=8 if method == "expected_gradients" else None,
    )
    assert 0 < result.provenance["precision"]["difference"] < 1e-2


def test_inner_tensors_too() -> None:
    explainer = igrt.Explainer(network(), wrt=["t"], provider="cpu", precision="fp16")
    result = explainer.explain(INPUTS, target=0, method="conductance")
    assert 0 < result.provenance["precision"]["difference"] < 1e-2


def test_beyond_the_range_of_float16_the_hint_is_float32() -> None:
    # not by a model: onnxruntime's CPU leaves out roundings between its float32 kernels
    for precision, hint in (("fp16", "use the precision float32"), ("float32", "another baseline")):
        with pytest.raises(NonFiniteError) as caught, ranging(precision):
            raise NonFiniteError("the gradient of `x` is infinite", hint="another baseline")
        assert hint in caught.value.hint
        assert "gradient of `x`" in caught.value.message


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="unknown precision 'fp8'"):
        igrt.Explainer(network(), precision="fp8")
    with pytest.raises(ProviderError, match="tf32 is a mode of NVIDIA's matrix units") as caught:
        igrt.Explainer(network(), precision="tf32", provider="cpu")
    assert "float32" in caught.value.hint


def test_tf32_under_auto_is_no_silent_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ProviderError, match="the provider is CPUExecutionProvider"):
        igrt.explain(network(), INPUTS, target=0, precision="tf32")


def test_the_command_line_takes_it(tmp_path: Path) -> None:
    model, x = tmp_path / "net.onnx", tmp_path / "x.npy"
    onnx.save(network(), model)
    np.save(x, INPUTS)
    command = ["explain", str(model), "--input", str(x), "--target", "1", "--provider", "cpu"]
    done = CliRunner().invoke(cli, [*command, "--precision", "fp16", "--json"])
    assert done.exit_code == 0, done.output
    assert '"difference"' in done.stdout
    done = CliRunner().invoke(cli, [*command, "--precision", "tf32"])
    assert done.exit_code != 0
