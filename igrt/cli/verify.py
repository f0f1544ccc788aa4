"""`igrt verify`: are the gradients right, and does the attribution keep to its axioms?"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from igrt.cli.options import (
    JSON,
    LABELS,
    METHOD,
    OF,
    PREPROCESS,
    PROVIDER,
    QUANTISED,
    QUIET,
    TARGET,
    THREADS,
    WRT,
    check_output,
    inputs_option,
    output_option,
    read_baselines,
    read_inputs,
    read_target,
    seed_option,
    tolerance_option,
)
from igrt.cli.report import complain, print_json, printable

if TYPE_CHECKING:
    from igrt.verify import Verification


@click.command(short_help="Check gradients and axioms on a model.")
@click.argument("model", type=click.Path(path_type=Path))
@inputs_option("without it, inputs are drawn")
@PREPROCESS
@LABELS
@TARGET
@click.option(
    "--baseline",
    "-b",
    metavar="SPEC",
    help="zeros, constant:V, mean, blur:SIGMA, uniform:SEED, a file, or of a background file "
    "mean:FILE or sample:N:FILE.",
)
@METHOD
@tolerance_option("Relative error of the attributions, and limit of the axioms.")
@click.option(
    "--check",
    "checks",
    multiple=True,
    metavar="NAME",
    help="Make this check only, such as completeness; again for more.",
)
@click.option(
    "--equal",
    "equals",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="MODEL",
    help="Another model that computes the same, for implementation invariance.",
)
@OF
@WRT
@PROVIDER
@QUANTISED
@THREADS
@seed_option("Seed of directions, probes, and drawn inputs and baselines.")
@output_option("Write .html or .json; again for more.")
@JSON
@QUIET
def verify(model: Path, inputs: tuple[str, ...], files: tuple[Path, ...], **options: Any) -> int:
    """Check MODEL's gradients against finite differences, and a method against its axioms.

    Every check has a figure, a limit and a verdict, or the reason why it was skipped. Exit code 3
    where one does not hold.

    \b
    igrt verify net.onnx --input rows.csv
    igrt verify net.onnx --input cat.jpg --preprocess imagenet --method gradients -o cat.html
    """  # noqa: D301
    read = [*inputs, options["baseline"] or "", str(options["labels"] or "")]
    for file in files:
        check_output(file, read, (".html", ".json"))
    from igrt.verify import verify as check

    given = _given(model, inputs, options)
    result = check(
        model,
        method=options["method"],
        tolerance=options["tolerance"],
        checks=list(options["checks"]) or None,
        equals=list(options["equals"]),
        of=options["of"],
        wrt=list(options["wrt"]) or None,
        provider=options["provider"],
        threads=options["threads"],
        quantised=options["quantised"],
        seed=options["seed"],
        progress=None if options["quiet"] or options["as_json"] else _say,
        **given,
    )
    written = [result.save(file) for file in files]
    if options["as_json"]:
        print_json(result.summary() | {"files": [str(w) for w in written]})
    else:
        _print_table(result, written)
    return _verdict(result)


def _given(model: Path, inputs: tuple[str, ...], options: dict[str, Any]) -> dict[str, Any]:
    """Inputs, target and baseline as `verify` takes them."""
    from igrt.explainer import Explainer
    from igrt.specs import Display

    explainer = Explainer(
        model, of=options["of"], wrt=list(options["wrt"]) or None, quantised=options["quantised"]
    )
    feeds, display = None, Display()
    if inputs:
        feeds, display = read_inputs(explainer, inputs, options)
    elif options["labels"]:
        from igrt.inputs import read_labels

        display = Display(labels=read_labels(options["labels"]))
    specs = (options["baseline"],) if options["baseline"] else ()
    return {
        "inputs": feeds,
        "layouts": dict(display.layouts),
        "target": read_target(options["target"], display.labels),
        "baselines": read_baselines(specs, explainer, display, options),
    }


def _say(name: str) -> None:
    click.echo(f"checking {name}", err=True)


def _print_table(result: Verification, written: list[Path]) -> None:
    from igrt.verify.sparks import sparks
    from igrt.verify.table import table

    curves = sparks(result.extras.get("faithfulness", ()))
    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    notes = result.provenance.get("notes", [])
    lines = [
        f"{result.model}: {result.method}, target {', '.join(map(str, result.target))}",
        f"on {result.inputs}",
        *(f"note: {n}" for n in notes),
        "",
        *table(result.checks, width),
        "",
        *(["insertion and deletion, highest attribution first", *curves, ""] if curves else []),
        f"{_count(result)} in {result.seconds:.1f} s",
        *(f"written: {w}" for w in written),
    ]
    click.echo(printable("\n".join(lines)))


def _count(result: Verification) -> str:
    made = [c for c in result.checks if c.holds is not None]
    held = sum(c.holds is True for c in made)
    skipped = len(result.checks) - len(made)
    return f"{held} of {len(made)} checks hold" + (f", {skipped} skipped" if skipped else "")


def _verdict(result: Verification) -> int:
    if result.holds:
        return 0
    names = ", ".join(c.name for c in result.failed)
    complain("error", f"does not hold: {names}", "docs/guides/verify.md says what each check means")
    return 3
