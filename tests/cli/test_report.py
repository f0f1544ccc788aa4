"""Progress, and what happens to text from elsewhere on its way to the terminal."""

import io

import pytest

from igrt.cli import report
from igrt.cli.report import ProgressLine, fail, printable
from igrt.errors import (
    IgrtError,
    InputError,
    ModelLoadError,
    OutOfMemory,
    ProviderError,
    TargetError,
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(report, "time", made)
    return made


def test_short_work_shows_no_progress(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    line = ProgressLine()
    clock.now += 0.9
    line(15, 15)
    line.close()
    assert capsys.readouterr() == ("", "")


def test_long_work_is_a_line_every_ten_seconds(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ProgressLine()
    for _ in range(25):
        clock.now += 1.0
        line(int(clock.now) - 100, 100)
    line.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "10 of 100 gradient evaluations, about 90 s left",
        "20 of 100 gradient evaluations, about 80 s left",
    ]


def test_quiet_is_quiet(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    line = ProgressLine(quiet=True)
    clock.now += 100.0
    line(1, 2)
    line.close()
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_one_line_that_is_cleared(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    line = ProgressLine()
    for done in (1, 2):
        clock.now += 2.0
        line(done, 4)
    line.close()
    assert terminal.getvalue() == (
        "\r\x1b[K1 of 4 gradient evaluations, about 6 s left"
        "\r\x1b[K2 of 4 gradient evaluations, about 4 s left"
        "\r\x1b[K"
    )


def test_control_characters_are_written_out() -> None:
    assert printable("a\x1b[31mb\nc\x00é\u202e") == "a\\x1b[31mb\nc\\x00é\\u202e"


@pytest.mark.parametrize(
    ("error", "code", "hint"),
    [
        (InputError("m"), 2, "igrt explain --help"),
        (TargetError("m"), 2, "igrt explain --help"),
        (ModelLoadError("m"), 1, "igrt inspect"),
        (ProviderError("m"), 1, "igrt doctor"),
        (OutOfMemory("m"), 1, "igrt doctor"),
        (IgrtError("m", hint="its own"), 1, "its own"),
    ],
)
def test_every_error_gets_a_hint(
    error: IgrtError, code: int, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail(error, as_json=False) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: m\nhint: ")
    assert hint in err
