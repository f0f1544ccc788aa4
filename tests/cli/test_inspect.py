"""`igrt inspect`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

Run = Callable[..., Any]


def test_text(run: Run, folder: Path) -> None:
    outcome = run("inspect", "mlp.onnx")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == (
        "mlp.onnx: opset 17, IR 8, 2 nodes, made by an unnamed tool\n"
        "\n"
        "input   x: float32[N, 3]\n"
        "output  scores: float32[N, 4]\n"
        "\n"
        "operators  1 Tanh, 1 MatMul\n"
        "\n"
        "scores with respect to x: yes\n"
        "\n"
        "rows of a batch: independent\n"
        "staging, adaptive rules: nothing to stage: no cut of the graph saves more than it costs\n"
        "staging, fixed rules: epilogue: 2 nodes from the gradient on; saves about 30% of a step\n"
    )


def test_json(run: Run, folder: Path) -> None:
    outcome = run("inspect", "two.onnx", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    report = outcome.document
    assert len(report.pop("sha256")) == 64
    yes = {"verdict": "yes", "because": []}
    assert report == {
        "model": "two.onnx",
        "producer": "",
        "ir_version": 8,
        "opset": 17,
        "nodes": 2,
        "inputs": ["left: float32[N, 2]", "right: float32[N, 2]"],
        "outputs": ["scores: float32[N, 2]"],
        "operators": {"Mul": 1, "Add": 1},
        "explainable": [
            {"of": "scores", "wrt": "left"} | yes,
            {"of": "scores", "wrt": "right"} | yes,
        ],
        "quantised": False,
        "rows": "independent",
        "staging": dict.fromkeys(
            ("adaptive", "fixed"), "nothing to stage: no cut of the graph saves more than it costs"
        ),
    }


HEAD = '<ir_version: 8, opset_import: ["" : 17, "com.example" : 1]> g '

VERDICTS = {
    "rounded": (
        "(float[N,3] x) => (float[N,3] y) { y = Round(x) }",
        ["y with respect to x: no: locally constant on the way", "    Round_0 (Round)"],
    ),
    "partly": (
        "(float[N,3] x) => (float[N,3] y) { a = Round(x) y = Mul(a, x) }",
        ["y with respect to x: yes, but a path ends at the locally constant Round_0 (Round)"],
    ),
    "scores": (
        "(float[N,3] x) => (int64[N,1] y) { a = Tanh(x) y = ArgMax<axis = 1>(a) }",
        [
            "y with respect to x: no: the output is int64",
            "    explain what is in front of ArgMax: --of a",
            "rows of a batch: not tried, as nothing can be explained by default",
        ],
    ),
    "tokens": (
        "(int64[N] i) => (float[N,2] y) <float[2,2] t = {1, 2, 3, 4}>"
        " { e = Gather(t, i) y = Tanh(e) }",
        [
            "y with respect to i: no: the input is int64",
            "    attribute to what is made of it: --wrt e",
            "y with respect to e: yes",
            "rows of a batch: independent",
        ],
    ),
    "alike": (
        "(float[N,3] x) => (float[N,3] a, float[N,3] b) { a = Tanh(x) b = Exp(x) }",
        ["a, b with respect to x: yes"],
    ),
    "argmax": (
        "(float[N,3] x) => (int64[N,1] y) { y = ArgMax<axis = 1>(x) }",
        ["y with respect to x: no: the output is int64"],
    ),
    "whole": (
        "(int64[N,3] x) => (float[N,3] y) { y = Cast<to = 1>(x) }",
        ["y with respect to x: no: the input is int64"],
    ),
    "sized": (
        "(float[N,3] x, float[N,3] z) => (float[N,3] y) { s = Shape(z) y = Reshape(x, s) }",
        ["y with respect to z: zero: the output does not depend on it"],
    ),
    "unused": (
        "(float[N,3] x, float[N,3] z) => (float[N,3] y) { y = Tanh(x) }",
        [
            "y with respect to x: yes",
            "y with respect to z: zero: the output does not depend on it",
        ],
    ),
    "foreign": (
        "(float[N,3] x) => (float[N,3] y) { y = com.example.Secret(x) }",
        [
            "y with respect to x: no: operators without a gradient rule",
            "    com.example.Secret-1 (0)  1 node   Secret_0",
        ],
    ),
    "mixing": (
        "(float[N,3] x) => (float[N,3] y) { h = Softmax<axis = 0>(x) y = Tanh(h) }",
        ["rows of a batch: dependent on each other, so run one by one"],
    ),
    "fixed": (
        "(float[1,3] x) => (float[1,3] y) { y = Tanh(x) }",
        ["rows of a batch: independent, after making the fixed batch free"],
    ),
    "vast": (
        "(float[N,1000000,1000000] x) => (float[N,1000000,1000000] y) { y = Tanh(x) }",
        ["rows of a batch: not tried (input x: float32[N, 1000000, 1000000] is too large to try)"],
    ),
    "bare": (
        "(float[3] x) => (float[3] y) { y = Tanh(x) }",
        ["rows of a batch: there is no batch axis, so examples run one by one"],
    ),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_verdicts(run: Run, folder: Path, name: str) -> None:
    text, expected = VERDICTS[name]
    model = onnx.parser.parse_model(HEAD + text)
    Path("model.onnx").write_bytes(model.SerializeToString())
    outcome = run("inspect", "model.onnx")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert [line for line in expected if line not in lines] == []


def test_names_cannot_steer_the_terminal(run: Run, folder: Path) -> None:
    model = onnx.load("mlp.onnx")
    model.producer_name = "evil\x1b[2J"
    onnx.save(model, "model.onnx")
    outcome = run("inspect", "model.onnx")
    assert outcome.code == 0
    assert "\x1b" not in outcome.out
    assert r"evil\x1b[2J" in outcome.out
