"""`igrt ops`."""

from collections.abc import Callable
from typing import Any

Run = Callable[..., Any]


def test_the_list_ends_with_its_counts(run: Run) -> None:
    outcome = run("ops")
    assert (outcome.code, outcome.err) == (0, "")
    rows, counts = (part.splitlines() for part in outcome.out.split("\n\n"))
    names = [row.split()[0] for row in rows]
    assert names == sorted(names)
    assert len(set(names)) == len(names) > 150
    listed = {line.split()[0]: int(line.split()[1]) for line in counts}
    assert list(listed) == ["rule", "body", "zero", "none"]
    for status, count in listed.items():
        assert sum(row.split()[1] == status for row in rows) == count


def test_one_operator(run: Run) -> None:
    outcome = run("ops", "Gemm")
    assert (outcome.code, outcome.out, outcome.err) == (0, "Gemm  rule  A, B, C\n", "")
    assert run("ops", "Round").out.startswith("Round  zero")


def test_json(run: Run) -> None:
    report = run("ops", "--json").document
    assert report.keys() == {"counts", "operators"}
    assert sum(report["counts"].values()) == len(report["operators"])
    gemm = next(o for o in report["operators"] if o["operator"] == "Gemm")
    assert gemm["status"] == "rule"
    assert list(gemm["rules"]) == ["A", "B", "C"]
