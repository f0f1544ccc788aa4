"""`igrt inspect`: what a model is and what can be explained in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from igrt.cli.report import as_options, print_json, printable


@click.command(short_help="Show what a model is and what can be explained in it.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def inspect(model: Path, as_json: bool) -> None:
    """Show MODEL's inputs, outputs, operators, and what can be explained with respect to what."""
    from igrt.inspection import inspect as look

    report = look(model)
    if as_json:
        print_json(report)
        return
    nodes = "1 node" if report["nodes"] == 1 else f"{report['nodes']} nodes"
    lines = [
        f"{report['model']}: opset {report['opset']}, IR {report['ir_version']}, "
        f"{nodes}, made by {report['producer'] or 'an unnamed tool'}",
        "",
        *_few([f"input   {s}" for s in report["inputs"]], "inputs"),
        *_few([f"output  {s}" for s in report["outputs"]], "outputs"),
        "",
        *_wrapped("operators  ", [f"{n} {o}" for o, n in report["operators"].items()]),
        "",
        *_verdicts(report["explainable"]),
    ]
    hidden = len(report["outputs"]) - len({e["of"] for e in report["explainable"]})
    if hidden and report["explainable"]:
        lines.append(f"{hidden} more outputs were not looked at")
    if report["quantised"]:
        lines += [
            "",
            "quantised: gradients pass straight through the rounding inside the range; "
            "dequantise takes it out",
        ]
    lines += ["", f"rows of a batch: {report['rows']}", *_staging(report["staging"])]
    click.echo(printable("\n".join(lines)))


def _staging(notes: dict[str, str]) -> list[str]:
    """What is staged, in one line where it is the same for all rules."""
    if len(set(notes.values())) < 2:
        return [f"staging: {n}" for n in list(notes.values())[:1]]
    return [f"staging, {rules} rules: {note}" for rules, note in notes.items()]


def _few(lines: list[str], what: str) -> list[str]:
    more = len(lines) - _MOST_LINES
    return lines if more <= 1 else [*lines[:_MOST_LINES], f"… and {more} more {what}"]


def _verdicts(entries: list[dict[str, Any]]) -> list[str]:
    """One line per verdict; outputs with the same one share it."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for e in entries:
        said = (e["wrt"], e["verdict"], *e["because"], e.get("instead", ""))
        groups.setdefault(said, []).append(e["of"])
    lines = []
    for (wrt, verdict, *because, instead), outputs in groups.items():
        named = ", ".join(outputs[:4]) + (f" and {len(outputs) - 4} more" * (len(outputs) > 4))
        lines.append(f"{named} with respect to {wrt}: {verdict}")
        lines += [f"    {b}" for b in because]
        lines += [f"    {as_options(instead)}"] if instead else []
    return lines


def _wrapped(head: str, parts: list[str]) -> list[str]:
    """Parts with commas between them, in lines of at most 100 columns."""
    lines, line = [], head
    for i, part in enumerate(parts):
        text = part + ", " * (i < len(parts) - 1)
        if len(line) + len(text.rstrip()) > _WIDTH and line.strip():
            lines.append(line.rstrip())
            line = " " * len(head)
        line += text
    return [*lines, line.rstrip()]


_MOST_LINES = 12
_WIDTH = 100
