"""The command itself: help, versions, exit codes, streams and signals."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import igrt
from igrt.cli.main import cli, main

Run = Callable[..., Any]

# modules whose import takes longer than everything that `igrt --help` does
HEAVY = ("numba", "onnx", "onnxruntime", "numpy", "PIL", "google.protobuf")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter, where warnings are errors as they are in this one."""
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")


def test_help_lists_every_command(run: Run) -> None:
    outcome = run("--help")
    assert outcome.code == 0
    assert outcome.err == ""
    listed = outcome.out.split("Commands:\n")[1].split("\n\n")[0]
    assert [line.split()[0] for line in listed.splitlines()] == sorted(cli.commands)
    assert "3 a check did not hold" in " ".join(outcome.out.split())


def test_no_arguments_print_the_help(run: Run) -> None:
    assert run() == run("-h")


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_help_and_json(run: Run, name: str) -> None:
    outcome = run(name, "--help")
    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.out.startswith(f"Usage: igrt {name} [OPTIONS]")
    assert "--json" in outcome.out
    assert all(len(line) <= 100 for line in outcome.out.splitlines())


def test_help_of_explain_names_what_options_take(run: Run) -> None:
    text = " ".join(run("explain", "--help").out.split())
    for word in ("constant:V", "gauss_legendre", "topK", ".npz", "[NAME=]FILE", "0.01"):
        assert word in text


def test_version(run: Run) -> None:
    outcome = run("--version")
    assert (outcome.code, outcome.out, outcome.err) == (
        0,
        f"igrt, version {igrt.__version__}\n",
        "",
    )


def test_an_unforeseen_error_is_one_line(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr("igrt.explainer.Explainer.explain", broken)
    command = ("explain", "mlp.onnx", "-i", "row.npy", "-o", "result.npz")
    outcome = run(*command)
    assert outcome.code == 1
    assert outcome.out == ""
    assert outcome.err.splitlines() == [
        "error: unexpected RuntimeError: first line",
        "hint: please report it; IGRT_DEBUG=1 shows where it happened",
    ]
    assert run(*command, "--json").document["error"]["type"] == "InternalError"
    monkeypatch.setenv("IGRT_DEBUG", "1")
    assert "Traceback" in run(*command).err
    assert not Path("result.npz").exists()


def test_an_interrupt_ends_with_130(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("igrt.explainer.Explainer.explain", interrupted)
    outcome = run("explain", "mlp.onnx", "-i", "row.npy", "-o", "result.npz")
    assert (outcome.code, outcome.out, outcome.err) == (130, "", "\ninterrupted\n")
    assert not Path("result.npz").exists()


def test_nothing_heavy_is_imported_for_the_help() -> None:
    report = f"import sys; print([m for m in {HEAVY} if m in sys.modules])"
    code = f"import igrt; dir(igrt); {report}\nfrom igrt.cli.main import main\ntry: main(['-h'])\n"
    outcome = python("-c", f"{code}except SystemExit: {report}")
    assert outcome.stderr == ""
    assert outcome.stdout.splitlines()[0] == "[]"
    assert outcome.stdout.splitlines()[-1] == "[]"


def test_as_a_module_with_a_clean_stdout(folder: Path) -> None:
    outcome = python("-m", "igrt", "explain", "mlp.onnx", "-i", "row.npy", "-o", "a.npz", "--json")
    assert outcome.returncode == 0
    assert outcome.stderr == ""
    assert json.loads(outcome.stdout)["files"] == ["a.npz"]


def test_a_real_interrupt_leaves_nothing_behind(
    folder: Path, names: Callable[[Path], set[str]]
) -> None:
    """The signal comes while the model runs, from the process itself: no waiting, no guessing."""
    before = names(folder)
    code = """
import signal
from igrt.cli import report
from igrt.cli.main import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may have ignored it
report.ProgressLine.__call__ = lambda self, done, planned: signal.raise_signal(signal.SIGINT)
main(["explain", "mlp.onnx", "-i", "row.npy", "-o", "result.npz", "--batch-size", "1"])
"""
    outcome = python("-c", code)
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (130, "", "\ninterrupted\n")
    assert names(folder) == before


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGPIPE semantics to imitate")
def test_a_reader_that_leaves_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        outcome = subprocess.run(
            [sys.executable, "-m", "igrt", "ops"], stdout=writing, stderr=subprocess.PIPE, text=True
        )
    finally:
        os.close(writing)
    assert (outcome.returncode, outcome.stderr) == (1, "")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_narrow_encoding_loses_bars_but_not_json(
    as_json: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pipes on Windows are cp1252, which has no block characters."""
    os.rename("row.npy", "行.npy")
    pipe = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(pipe, encoding="cp1252"))
    with pytest.raises(SystemExit) as ended:
        main(["explain", "mlp.onnx", "-i", "行.npy", *["--json"] * as_json])
    assert ended.value.code == 0
    if as_json:
        assert json.loads(pipe.getvalue().decode("utf-8"))["inputs"] == ["行.npy"]
    else:
        assert "x[2] = 0.6404     +1.13  ?????" in pipe.getvalue().decode("cp1252")


@pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals are POSIX")
@pytest.mark.parametrize("no_colour", [False, True])
def test_colour_on_a_terminal_unless_it_is_refused(no_colour: bool) -> None:
    import pty

    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm"} | ({"NO_COLOR": "1"} if no_colour else {})
    outcome = subprocess.run(
        [sys.executable, "-m", "igrt", "inspect", "nowhere.onnx"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment,
    )
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    os.close(theirs)
    assert (outcome.returncode, outcome.stdout) == (1, b"")
    assert ("\x1b[" in shown) is not no_colour
    assert "error:" in shown
