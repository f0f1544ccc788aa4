"""`igrt ops`: operator coverage."""

from __future__ import annotations

from typing import Any

import click

from igrt.cli.report import print_json


@click.command(short_help="List which operators can be differentiated, and how.")
@click.argument("operator", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def ops(operator: str | None, as_json: bool) -> None:
    """List how each operator is differentiated, or what is known of one OPERATOR."""
    from igrt.vjp.coverage import STATUSES, coverage

    records = coverage()
    if operator is not None:
        records = _named(operator, records)
    counts = {s: sum(r["status"] == s for r in records) for s in STATUSES}
    if as_json:
        print_json({"counts": counts, "operators": records})
    elif operator is not None:
        click.echo("\n\n".join(_described(r) for r in records))
    else:
        width = max(len(_qualified(r)) for r in records)
        for record in records:
            line = f"{_qualified(record):<{width}}  {record['status']:<7}  {_detail(record)}"
            click.echo(line.rstrip())
        click.echo()
        for status, meaning in STATUSES.items():
            click.echo(f"{status:<7}  {counts[status]:>3}  {meaning}")


def _qualified(record: dict[str, Any]) -> str:
    return ".".join(filter(None, (record["domain"], record["operator"])))


def _detail(record: dict[str, Any]) -> str:
    """The inputs with a rule, and what an operator becomes or why it is refused."""
    if record["lowered_to"] or record["reason"]:
        return str(record["lowered_to"] or record["reason"])
    kinds = record["inputs"]
    rules = ", ".join(n for n, kind in kinds.items() if kind == "rule")
    zeros = ", ".join(n for n, kind in kinds.items() if kind == "zero")
    return f"{rules}  (zero: {zeros})" if rules and zeros else rules


def _named(operator: str, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from igrt.errors import InputError, did_you_mean

    found = [r for r in records if operator in (r["operator"], _qualified(r))]
    if not found:
        names = {n.casefold(): n for r in records for n in (_qualified(r), r["operator"])}
        same = names.get(operator.casefold())
        raise InputError(
            f"no operator `{operator}` is known of ONNX or onnxruntime",
            hint=f"did you mean `{same}`?"
            if same
            else did_you_mean(operator, names.values()) or "`igrt ops` lists them",
        )
    return found


def _described(record: dict[str, Any]) -> str:
    from igrt.vjp.coverage import STATUSES, formulas

    since = f"opset {record['opset']} and newer"
    if "removed" in record:
        since = f"opset {record['opset']} to {record['removed'] - 1}"
    domain = record["domain"] or "ai.onnx"
    lines = [f"{record['operator']} ({domain}, {since})", f"  {STATUSES[record['status']]}"]
    if record["lowered_to"] or record["reason"]:
        lines[-1] += f": {record['lowered_to'] or record['reason']}"
    said = formulas(record["domain"], record["operator"])
    width = max(map(len, record["inputs"]), default=0)
    for name, kind in record["inputs"].items():
        meaning = {"zero": "locally constant", "-": "no rule: refused where it varies"}
        lines.append(f"  {name:<{width}}  {said.get(name) or meaning.get(kind, kind)}")
    return "\n".join(lines)
