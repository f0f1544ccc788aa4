"""`igrt inspect`: what a model is and what can be explained in it."""

from __future__ import annotations

from pathlib import Path

import click

from igrt.cli.report import print_json, printable


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
    lines = [
        f"{report['model']}: opset {report['opset']}, IR {report['ir_version']}, "
        f"{report['nodes']} nodes, made by {report['producer'] or 'an unnamed tool'}",
        "",
        *(f"input   {s}" for s in report["inputs"]),
        *(f"output  {s}" for s in report["outputs"]),
        "",
        "operators  " + ", ".join(f"{n} {o}" for o, n in report["operators"].items()),
        "",
    ]
    for entry in report["explainable"]:
        lines.append(f"{entry['of']} with respect to {entry['wrt']}: {entry['verdict']}")
        lines += [f"    {b}" for b in entry["because"]]
    if report["quantised"]:
        lines += [
            "",
            "quantised: gradients pass straight through the rounding inside the range; "
            "dequantise takes it out",
        ]
    lines += ["", f"rows of a batch: {report['rows']}"]
    click.echo(printable("\n".join(lines)))
