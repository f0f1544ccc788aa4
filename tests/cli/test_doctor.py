"""`igrt doctor`."""

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]


def found(ok: bool | None, hint: str = "") -> list[dict[str, Any]]:
    return [{"name": "thing", "ok": ok, "text": "as it is", "hint": hint}]


def test_this_machine_can_run(run: Run) -> None:
    outcome = run("doctor")
    assert (outcome.code, outcome.err) == (0, "")
    assert "ok    CPUExecutionProvider: works\n" in outcome.out
    assert "FAIL" not in outcome.out


def test_json(run: Run) -> None:
    outcome = run("doctor", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    report = outcome.document
    assert report["ok"] is True
    assert all(f.keys() == {"name", "ok", "text", "hint"} for f in report["findings"])


@pytest.mark.parametrize(
    ("ok", "code", "text"),
    [(True, 0, "ok    thing"), (None, 0, "-     thing"), (False, 3, "FAIL  thing")],
)
def test_what_is_wrong_decides_the_exit_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, ok: bool | None, code: int, text: str
) -> None:
    monkeypatch.setattr("igrt.runtime.doctor.examine", lambda: found(ok, "do this"))
    outcome = run("doctor")
    assert (outcome.code, outcome.err) == (code, "")
    assert outcome.out == f"{text}: as it is\n      hint: do this\n"
    assert run("doctor", "--json").document["ok"] is (ok is not False)
