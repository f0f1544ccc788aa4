"""`igrt explain`: the main job."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from igrt.cli.options import (
    GRAPHS,
    GROUPS,
    JSON,
    LABELS,
    METHOD,
    OF,
    PRECISION,
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
from igrt.cli.report import ProgressLine, complain, print_json
from igrt.cli.texts import MOST, PAIR, SPECIAL, TEXT, TEXTS, TOKENIZER, read_texts
from igrt.errors import InputError

if TYPE_CHECKING:
    from igrt.attribution import Attribution
    from igrt.specs import Display

_STRICT = 1e-2
"""Limit of `--strict` for a fixed number of steps, where there is no tolerance to hold it to."""


@click.command(short_help="Attribute a model's score to its inputs.")
@click.argument("model", type=click.Path(path_type=Path))
@inputs_option()
@TEXT
@TEXTS
@PAIR
@TOKENIZER
@SPECIAL
@MOST
@PREPROCESS
@LABELS
@GRAPHS
@TARGET
@click.option(
    "--baseline",
    "-b",
    "baselines",
    multiple=True,
    metavar="SPEC",
    help="zeros, constant:V, mean, blur:SIGMA, uniform:SEED, token:ID or a file; of a background "
    "file mean:FILE or N rows, sample:N:FILE; again to average. For expected_gradients a file has "
    "one baseline in each row.",
)
@GROUPS
@METHOD
@click.option(
    "--steps",
    type=int,
    metavar="N",
    help="Exactly N gradient evaluations; without it, as many as the tolerance needs.",
)
@click.option(
    "--rule",
    metavar="R",
    help="Quadrature rule for --steps: gauss_legendre (default), gauss_kronrod, midpoint, "
    "trapezoid, simpson, left, right.",
)
@tolerance_option("Relative error of the attribution to stop at.")
@OF
@WRT
@PROVIDER
@QUANTISED
@PRECISION
@click.option("--batch-size", type=int, metavar="N", help="Rows per run; default: from the memory.")
@THREADS
@click.option("--deadline", type=float, metavar="S", help="Give up after S seconds.")
@seed_option("Seed of methods and baselines that are drawn at random.")
@output_option("Write .png, .html, .json or .npz; again for more.")
@click.option(
    "--no-cache", is_flag=True, help="Make the gradient graph anew; `igrt doctor` shows the cache."
)
@click.option("--strict", is_flag=True, help="Exit 3 where the gap or the error is over the limit.")
@JSON
@QUIET
def explain(model: Path, inputs: tuple[str, ...], files: tuple[Path, ...], **options: Any) -> int:
    """Attribute MODEL's score for a target to its inputs.

    \b
    igrt explain net.onnx --input cat.jpg --preprocess imagenet --labels labels.txt -o cat.png
    igrt explain net.onnx --input rows.csv --target 1 --json
    igrt explain net.onnx --text "a good film" --tokenizer tokenizer.json
    """  # noqa: D301
    files_read = [str(options[name] or "") for name in ("labels", "groups", "graphs")]
    texts_read = [*options["text_files"], *options["tokenizers"]]
    read = [*inputs, *options["baselines"], *files_read, *texts_read]
    for file in files:
        check_output(file, read, (".png", ".html", ".json", ".npz"))
    from igrt.explainer import Explainer

    explainer = Explainer(
        model,
        of=options["of"],
        wrt=list(options["wrt"]) or None,
        provider=options["provider"],
        threads=options["threads"],
        quantised=options["quantised"],
        precision=options["precision"],
        cache=not options["no_cache"],
    )
    texts = read_texts(explainer, options)
    if not inputs and not texts:
        raise InputError("there is nothing to explain", hint="give --input or --text")
    arrays, display = read_inputs(explainer, inputs, options)
    _say_what_was_read(display)
    progress = ProgressLine(quiet=options["quiet"] or options["as_json"])
    try:
        result = explainer.explain(
            {**arrays, **texts},
            baselines=read_baselines(options["baselines"], explainer, display, options),
            target=read_target(options["target"], display.labels),
            method=options["method"],
            n_steps=options["steps"],
            rule=options["rule"],
            tolerance=options["tolerance"],
            internal_batch_size=options["batch_size"],
            seed=options["seed"],
            deadline=options["deadline"],
            progress=progress,
            display=display,
        )
    finally:
        progress.close()
    for note in result.provenance.get("notes", ()):
        complain("note", note)
    written = [result.save(file) for file in files]
    if options["as_json"]:
        document = {"model": str(model), "inputs": [*inputs, *options["text_files"]]}
        document |= {"texts": [t for text in texts.values() for t in text.texts]} if texts else {}
        document |= result.summary()
        print_json(document | {"files": [str(w) for w in written]})
    else:
        _print_table(result, written)
    return _verdict(result, strict=options["strict"])


def _say_what_was_read(display: Display) -> None:
    """What the user cannot see in the files: groups that were found, and rates of sound."""
    for name, rate in display.rates.items():
        complain(
            "note",
            f"`{name}` is sound with {rate:,.0f} samples a second",
            "the model is given the samples as they are: resample them if it wants another rate",
        )
    listed = [
        f"{name} ({len(columns)} columns)"
        for groups in display.groups.values()
        for name, columns in groups.items()
    ]
    if listed:
        complain("note", f"shown as one feature each: {', '.join(listed)}")


def _print_table(result: Attribution, written: list[Path]) -> None:
    import os

    from igrt.render import cells, terminal

    colours = cells.colours(os.environ) if sys.stdout.isatty() else 0
    width = shutil.get_terminal_size((100, 24)).columns
    click.echo(
        terminal.text(result, files=[str(w) for w in written], colours=colours, width=width),
        color=bool(colours),
    )


def _verdict(result: Attribution, *, strict: bool) -> int:
    import numpy as np

    limit = result.tolerance or _STRICT
    if result.rule == "none":
        advice = f"{result.method} need not add up to the change of the score; see the docs"
    else:
        advice = "take more steps" if result.tolerance is None else "allow a larger tolerance"
    over = ~(result.error <= limit)
    if result.method != "expected_gradients":  # its gap is part of the sampling error
        over |= np.abs(result.relative_delta) > limit
    if not over.any():
        return 0
    row = int(np.argmax(over))
    complain(
        "error" if strict else "note",
        f"{int(over.sum())} of {len(result)} rows are over the limit {limit:g}: the first has the "
        f"relative gap {result.relative_delta[row]:.2g} and the estimated error "
        f"{result.error[row]:.2g} after {result.evaluations[row]} evaluations",
        advice,
    )
    return 3 if strict else 0
