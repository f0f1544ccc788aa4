"""Errors, JSON and progress, the same for every command."""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
import traceback
from typing import Any

import click

from igrt.errors import IgrtError, InputError, ModelError


def print_json(document: dict[str, Any]) -> None:
    """One JSON document on stdout."""
    from igrt.attribution import to_json

    click.echo(to_json(document, indent=2))


def fail(error: IgrtError, *, as_json: bool) -> int:
    """Print an error and return its exit code."""
    hint = error.hint or next(h for kind, h in _WHERE_TO_LOOK.items() if isinstance(error, kind))
    _print_error(type(error).__name__, error.message, as_options(hint), as_json)
    return error.exit_code


_WHERE_TO_LOOK: dict[type[IgrtError], str] = {
    InputError: "`igrt explain --help` shows what can be given, `igrt inspect` what a model takes",
    ModelError: "`igrt inspect` shows what a model is",
    IgrtError: "`igrt doctor` shows what this machine can run",
}
"""Hints for errors that have none of their own, from the special to the general."""


def misused(error: click.ClickException, *, as_json: bool) -> int:
    """The same for a command line that cannot be understood."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "igrt"
    message = error.format_message().rstrip(".")
    _print_error("UsageError", message, f"`{command} --help` shows how to write it", as_json)
    return error.exit_code


def unexpected(error: Exception, *, as_json: bool) -> int:
    """The same for an error that nobody foresaw; the traceback only where it was asked for."""
    if os.environ.get("IGRT_DEBUG"):
        traceback.print_exc()
    text = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
    _print_error(
        "InternalError",
        f"unexpected {type(error).__name__}: {text}",
        "please report it; IGRT_DEBUG=1 shows where it happened",
        as_json,
    )
    return 1


def _print_error(kind: str, message: str, hint: str, as_json: bool) -> None:
    if as_json:
        print_json({"error": {"type": kind, "message": message, "hint": as_options(hint)}})
    complain("error", message, hint)


def complain(word: str, message: str, hint: str = "") -> None:
    """A message that begins with `error` or `note`, and its hint, on stderr."""
    # click looks whether stderr is a terminal; https://no-color.org it does not know
    colour = False if os.environ.get("NO_COLOR") else None
    start = click.style(f"{word}:", fg="red" if word == "error" else "yellow", bold=True)
    click.echo(f"{start} {printable(message)}", err=True, color=colour)
    if hint:
        start = click.style("hint:", fg="cyan")
        click.echo(f"{start} {printable(hint)}", err=True, color=colour)


def as_options(hint: str) -> str:
    """A hint with the options of the command line in place of Python's arguments."""
    hint = re.sub(r'\bof="([^"]*)"', lambda m: f"--of {shlex.quote(m[1])}", hint)
    hint = re.sub(r"\bmost=(\d+)", r"--max-tokens \1", hint)
    return re.sub(
        r"\bwrt=\[([^]]*)\]",
        lambda m: " ".join(f"--wrt {shlex.quote(n)}" for n in re.findall(r'"([^"]*)"', m[1])),
        hint,
    )


def printable(text: str) -> str:
    """Text without control characters, which names in a model could carry into the terminal."""
    return "".join(
        c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


class ProgressLine:
    """Evaluations done, on stderr, for work that takes more than a second.

    On a terminal one line is rewritten; elsewhere a line is printed every ten seconds.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._start = self._last = time.monotonic()
        self._quiet, self._shown = quiet, False
        self._terminal = sys.stderr.isatty()

    def __call__(self, done: int, planned: int) -> None:
        """Take note of the evaluations done and planned so far."""
        now = time.monotonic()
        wait = 0.1 if self._terminal else 10.0
        if self._quiet or now - self._start < 1.0 or now - self._last < wait:
            return
        self._last = now
        left = (now - self._start) * (planned - done) / done
        text = f"{done} of {planned} gradient evaluations, about {left:.0f} s left"
        self._shown = True
        click.echo(f"\r\033[K{text}" if self._terminal else text, err=True, nl=not self._terminal)

    def close(self) -> None:
        """Clear the line."""
        if self._shown and self._terminal:
            click.echo("\r\033[K", err=True, nl=False)


__all__ = [
    "ProgressLine",
    "as_options",
    "complain",
    "fail",
    "misused",
    "print_json",
    "printable",
    "unexpected",
]
