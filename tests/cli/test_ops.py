"""`igrt ops`."""

from collections.abc import Callable
from typing import Any

Run = Callable[..., Any]


def test_the_list_ends_with_its_counts(run: Run) -> None:
    outcome = run("ops")
    assert (outcome.code, outcome.err) == (0, "")
    rows, counts = (part.splitlines() for part in outcome.out.split("\n\n"))
    names = [row.split()[0] for row in rows]
    assert names == sorted(names, key=lambda n: (n.rpartition(".")[2], n))
    assert len(set(names)) == len(names) > 250
    listed = {line.split()[0]: int(line.split()[1]) for line in counts}
    assert list(listed) == ["rule", "body", "lowered", "zero", "refused"]
    for status, count in listed.items():
        assert sum(row.split()[1] == status for row in rows) == count


def test_one_operator(run: Run) -> None:
    outcome = run("ops", "Gemm")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[:2] == ["Gemm (ai.onnx, opset 1 and newer)", "  differentiated by a rule"]
    assert [line.split()[0] for line in lines[2:]] == ["A", "B", "C"]
    assert "op(A)‾ = α·Ȳ·op(B)ᵀ" in lines[2]


def test_an_operator_of_two_domains_is_shown_twice(run: Run) -> None:
    shown = run("ops", "RotaryEmbedding").out
    assert "(ai.onnx, opset 23 and newer)" in shown and "(com.microsoft" in shown
    assert "(ai.onnx," not in run("ops", "com.microsoft.RotaryEmbedding").out


def test_one_operator_of_each_kind(run: Run) -> None:
    assert "locally constant: its gradient is zero" in run("ops", "Round").out
    assert "written in other operators first: Resize" in run("ops", "Upsample").out
    assert "(ai.onnx, opset 1 to 9)" in run("ops", "Upsample").out
    assert "function body" in run("ops", "CenterCropPad").out
    assert "refused, with the reason: it makes a dictionary" in run("ops", "ZipMap").out


def test_an_unknown_operator_is_likened_to_one(run: Run) -> None:
    for text, meant in (("gemm", "Gemm"), ("LayerNorm", "LayerNormalization")):
        outcome = run("ops", text)
        assert outcome.code == 2
        assert f"did you mean `{meant}`?" in outcome.err


def test_json(run: Run) -> None:
    report = run("ops", "--json").document
    assert report.keys() == {"counts", "operators"}
    assert sum(report["counts"].values()) == len(report["operators"])
    gemm = next(o for o in report["operators"] if o["operator"] == "Gemm")
    assert gemm["status"] == "rule"
    assert gemm["inputs"] == {"A": "rule", "B": "rule", "C": "rule"}
