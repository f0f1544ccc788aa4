"""`igrt bench`: figures that agree with each other, JSON, the peer and bad inputs.

How large a figure is depends on the machine, so no test says; `benchmarks/peers.py` compares.
"""

import numpy as np
import pytest

import igrt
from igrt.measure import run as measuring

KEYS = {
    *("model", "provider", "threads", "inputs", "rounds", "forward_ms", "evaluation_ms"),
    *("ratio_to_forward", "around_model", "product_flops", "product_rate"),
    *("share_of_product_rate", "chunk", "at_once", "predicted_bytes", "loaded_bytes", "peak_bytes"),
    *("tolerance", "seconds", "evaluations", "error", "peer", "provenance"),
}

CONVERTER = """
import torch
class Converted(torch.nn.Module):
    def forward(self, x):
        w = torch.tensor([[1, -2, 3, 0.5], [0.25, 1, -1, 2], [-1, 0.5, 2, -0.5]])
        return torch.tanh(x) @ w
def convert(model):
    return Converted()
"""


@pytest.fixture(autouse=True)
def one_round(monkeypatch):
    monkeypatch.setattr(measuring, "ROUNDS", 1)


@pytest.fixture
def no_child(monkeypatch):
    """Without the process whose memory is measured, which takes a second to start."""
    monkeypatch.setattr(measuring, "peaks", lambda *_: (1 << 20, 2 << 20))


@pytest.fixture
def converter(folder, monkeypatch):
    """A package of the name of the converter, which knows one model."""
    pytest.importorskip("captum")
    (folder / "onnx2torch.py").write_text(CONVERTER)
    monkeypatch.syspath_prepend(folder)
    yield
    import sys

    sys.modules.pop("onnx2torch", None)


def test_figures_agree(run, folder):
    got = run("bench", "mlp.onnx", "-i", "row.npy", "--threads", "1", "--json")
    assert got.code == 0
    assert got.err == ""
    found = got.document
    assert set(found) == KEYS
    # quotients of the figures beside them, written with all their digits
    assert found["ratio_to_forward"] == pytest.approx(
        found["evaluation_ms"] / found["forward_ms"], rel=1e-12
    )
    per_second = found["product_flops"] / (1e-3 * found["evaluation_ms"])
    assert found["share_of_product_rate"] == pytest.approx(
        per_second / found["product_rate"], rel=1e-12
    )
    assert 0 < found["around_model"] < 1
    # a process cannot be smaller at its peak than before
    assert 0 < found["loaded_bytes"] <= found["peak_bytes"]
    # [1, 3] x [3, 4]: only its pullback, since the gradient needs no score
    assert found["product_flops"] == 2 * 3 * 4
    result = igrt.explain("mlp.onnx", np.load("row.npy"), target="top1")
    assert found["evaluations"] == result.evaluations[0]
    assert found["error"] == result.error[0]
    assert found["chunk"] == result.provenance["chunk"]
    assert found["predicted_bytes"] == result.provenance["plan"]["peak"]
    assert found["provenance"]["sha256"] == result.provenance["sha256"]


def test_a_table_and_a_drawn_input(run, folder, no_child):
    got = run("bench", "mlp.onnx", "--seed", "3", "--memory", "64M")
    assert got.code == 0
    lines = got.out.splitlines()
    assert lines[0] == "mlp.onnx: CPUExecutionProvider, threads as onnxruntime chooses"
    assert lines[1] == "on 1 row of inputs drawn with the seed 3, medians of 1 round"
    assert [line.split("  ")[0] for line in lines[3:]] == [
        *("forward pass", "gradient evaluation", "around the model", "matrix products", "chunk"),
        *("memory, planned", "memory, peak", "explanation"),
    ]
    assert "timing" in got.err


def test_several_rows_are_one_explanation(run, folder, no_child):
    got = run("bench", "mlp.onnx", "-i", "rows.npy", "--quiet", "--json")
    found = igrt.explain("mlp.onnx", np.load("rows.npy"), target="top1")
    assert got.document["inputs"] == "4 rows of the given inputs"
    assert got.document["evaluations"] == found.evaluations.sum()


def test_captum_beside_it(run, folder, converter, no_child):
    got = run("bench", "mlp.onnx", "-i", "rows.npy", "--peer", "captum", "--json")
    assert got.code == 0
    found, peer = got.document, got.document["peer"]
    assert peer["converter"] == "onnx2torch"
    assert peer["evaluations"] == 4 * 50
    assert peer["ratio_of_seconds"] == pytest.approx(found["seconds"] / peer["seconds"], rel=1e-12)
    # both are within igrt's tolerance of the integral
    assert peer["difference"] < 1e-2
    assert "converted by onnx2torch" in run("bench", "mlp.onnx", "--peer", "captum").out


def test_a_converted_model_that_is_another_one(run, folder, converter):
    got = run("bench", "two.onnx", "--peer", "captum")
    assert got.code == 2
    assert "takes a model with one float input" in got.err
    got = run("bench", "root.onnx", "-i", "positive.npy", "-b", "constant:1", "--peer", "captum")
    assert got.code == 2
    assert "gives something else than the model" in got.err


def test_no_converter(run, folder, monkeypatch):
    pytest.importorskip("captum")
    import sys

    for name in ("onnx2torch", "onnx2pytorch"):
        monkeypatch.setitem(sys.modules, name, None)  # what makes an import fail
    got = run("bench", "mlp.onnx", "--peer", "captum")
    assert got.code == 2
    assert "no converter makes a torch module" in got.err
    assert "hint: pip install onnx2torch" in got.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mlp.onnx", "-i", "none.npy"], "does not exist"),
        (["mlp.onnx", "--memory", "lots"], "takes a number of bytes"),
        (["mlp.onnx", "--memory", "0"], "takes a number of bytes"),
        (["mlp.onnx", "--threads", "0"], "threads must be a positive"),
        (["mlp.onnx", "--target", "9"], "target"),
        (["mlp.onnx", "--peer", "shap"], "captum"),
    ],
)
def test_bad_input_exits_2(run, folder, arguments, said):
    got = run("bench", *arguments)
    assert got.code == 2
    assert said in got.err
    assert "Traceback" not in got.err


@pytest.mark.parametrize(
    ("text", "size"), [("512", 512), ("500M", 500 << 20), ("2GiB", 2 << 30), ("1.5k", 1536)]
)
def test_sizes(text, size):
    from igrt.cli.bench import read_size

    assert read_size(text) == size
