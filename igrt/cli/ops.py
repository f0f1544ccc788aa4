"""`igrt ops`: operator coverage."""

from __future__ import annotations

import click

from igrt.cli.report import print_json

_MEANING = {
    "rule": "differentiated by a rule",
    "body": "differentiated through its ONNX function body",
    "zero": "locally constant: its gradient is zero",
    "none": "no gradient yet, or none that would mean anything",
}


@click.command(short_help="List which operators can be differentiated.")
@click.argument("operator", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def ops(operator: str | None, as_json: bool) -> None:
    """List which ONNX operators can be differentiated, or what is known of one OPERATOR."""
    from igrt.errors import InputError, did_you_mean
    from igrt.vjp.registry import coverage

    records = coverage()
    if operator is not None:
        names = [r["operator"] for r in records]
        records = [r for r in records if r["operator"] == operator]
        if not records:
            raise InputError(
                f"ONNX has no operator `{operator}`", hint=did_you_mean(operator, names, names[:1])
            )
    counts = {s: sum(r["status"] == s for r in records) for s in _MEANING}
    if as_json:
        print_json({"counts": counts, "operators": records})
        return
    width = max(len(r["operator"]) for r in records)
    for record in records:
        inputs = ", ".join(record["rules"])
        zeros = ", ".join(n for n in record["zero"] if n != "*")
        detail = f"  {inputs}" if inputs else ""
        detail += f"  (zero: {zeros})" if zeros else ""
        click.echo(f"{record['operator']:<{width}}  {record['status']:<4}{detail}".rstrip())
    if operator is None:
        click.echo()
        for status, meaning in _MEANING.items():
            click.echo(f"{status:<4}  {counts[status]:>3}  {meaning}")
