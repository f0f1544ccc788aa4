"""`--quantised` and what `igrt inspect` says about quantised models."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

PAIR = """<ir_version: 8, opset_import: ["" : 18]>
    pair (float[N,3] x) => (float[N,3] y)
    <float s = {0.5}, uint8 z = {4}>
    { q = QuantizeLinear(x, s, z) r = DequantizeLinear(q, s, z) y = Tanh(r) }"""


@pytest.fixture
def pair(folder: Path) -> Path:
    onnx.save(onnx.parser.parse_model(PAIR), folder / "pair.onnx")
    np.save(folder / "row.npy", np.array([[0.3, -0.4, 0.9]], dtype=np.float32))
    return folder


@pytest.mark.parametrize("policy", ["straight_through", "dequantise"])
def test_explain_says_which_was_used(run, pair, policy):
    outcome = run(*("explain", "pair.onnx", "--input", "row.npy", "--quantised", policy, "--json"))
    assert outcome.code == 0
    assert json.loads(outcome.out)["provenance"]["quantised"] == policy


@pytest.mark.parametrize("policy", ["straight_through", "dequantise"])
def test_explain_prints_which_was_used(run, pair, policy):
    outcome = run("explain", "pair.onnx", "--input", "row.npy", "--quantised", policy)
    assert outcome.code == 0
    assert f" · {policy} · " in outcome.out.splitlines()[0]


def test_a_model_without_rounding_says_nothing_of_it(run, pair):
    plain = PAIR.replace(
        "q = QuantizeLinear(x, s, z) r = DequantizeLinear(q, s, z) y = Tanh(r)", "y = Tanh(x)"
    )
    onnx.save(onnx.parser.parse_model(plain), pair / "plain.onnx")
    outcome = run("explain", "plain.onnx", "--input", "row.npy")
    assert outcome.code == 0
    assert "straight_through" not in outcome.out


def test_augment_takes_the_rounding_out(run, pair):
    assert run("augment", "pair.onnx", "-o", "out.onnx", "--quantised", "dequantise").code == 0
    operators = {n.op_type for n in onnx.load(pair / "out.onnx").graph.node}
    assert "Clip" in operators
    assert "QuantizeLinear" not in operators


def test_another_word_is_refused(run, pair):
    outcome = run("explain", "pair.onnx", "--input", "row.npy", "--quantised", "round")
    assert outcome.code == 2
    assert "straight_through" in outcome.err


def test_inspect(run, pair):
    assert "quantised: gradients pass straight through" in run("inspect", "pair.onnx").out
    assert json.loads(run("inspect", "pair.onnx", "--json").out)["quantised"] is True
