"""`igrt augment`: the model with its gradient graph, for any onnxruntime."""

from __future__ import annotations

from pathlib import Path

import click

from igrt.cli.report import print_json


@click.command(short_help="Add the gradient graph to a model.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    required=True,
    metavar="OUT",
    help="File to write.",
)
@click.option(
    "--wrt",
    multiple=True,
    metavar="NAME",
    help="Tensor to differentiate with respect to; default: all float inputs.",
)
@click.option(
    "--of", metavar="NAME", help="Tensor to differentiate; default: the first float output."
)
@click.option(
    "--quantised",
    default="straight_through",
    show_default=True,
    metavar="Q",
    help="For a quantised model: straight_through, or dequantise to take the rounding out.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def augment(
    model: Path,
    output: Path,
    wrt: tuple[str, ...],
    of: str | None,
    quantised: str,
    as_json: bool,
) -> None:
    """Write MODEL with its gradient graph, made of standard operators, to OUT.

    The result has one more input, igrt/cotangent/<output>, and one output igrt/grad/<name> per
    tensor: the gradient of the inner product of the cotangent and the explained output.
    """
    from igrt.export import save_augmented

    report = save_augmented(model, output, wrt=list(wrt) or None, of=of, quantised=quantised)
    if as_json:
        print_json(report)
        return
    click.echo(f"{output}: {report['nodes']} nodes, {report['added']} of them for the gradient")
    click.echo(f"  cotangent  {report['cotangent']}")
    for gradient in report["gradients"]:
        click.echo(f"  gradient   {gradient}")
