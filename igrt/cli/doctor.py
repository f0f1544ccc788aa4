"""`igrt doctor`: what this machine can run and why not."""

from __future__ import annotations

import click

from igrt.cli.report import print_json

_MARKS = {True: "ok  ", False: "FAIL", None: "-   "}


@click.command(short_help="Show what this machine can run and why not.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def doctor(as_json: bool) -> int:
    """Show what this machine can run and why not; exit 3 if something is wrong."""
    from igrt.runtime.doctor import examine

    findings = examine()
    wrong = [f for f in findings if f["ok"] is False]
    if as_json:
        print_json({"ok": not wrong, "findings": findings})
    else:
        for finding in findings:
            click.echo(f"{_MARKS[finding['ok']]}  {finding['name']}: {finding['text']}")
            if finding["hint"]:
                click.echo(f"      hint: {finding['hint']}")
    return 3 if wrong else 0
