"""`igrt explain`: the main job."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from igrt.cli.report import ProgressLine, complain, print_json
from igrt.errors import InputError

if TYPE_CHECKING:
    from igrt.attribution import Attribution
    from igrt.explainer import Explainer
    from igrt.inputs import Preprocess
    from igrt.specs import Array, Display

_STRICT = 1e-2
"""Limit of `--strict` for a fixed number of steps, where there is no tolerance to hold it to."""


@click.command(short_help="Attribute a model's score to its inputs.")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--input",
    "-i",
    "inputs",
    multiple=True,
    metavar="[NAME=]FILE",
    required=True,
    help="Input file: .npy .npz .png .jpg .json .csv; again for more inputs or examples.",
)
@click.option(
    "--preprocess",
    metavar="P",
    help="How a picture becomes numbers: imagenet, unit, none or a TOML file.",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Names of the classes: text, one per line, or JSON.",
)
@click.option(
    "--target",
    default="top1",
    show_default=True,
    metavar="SPEC",
    help="What is explained: an index, topK, a label, or [i,j,…].",
)
@click.option(
    "--baseline",
    "-b",
    "baselines",
    multiple=True,
    metavar="SPEC",
    help="zeros, constant:V, mean, blur:SIGMA, uniform:SEED or a file; again to average. For "
    "expected_gradients a file has one baseline in each row.",
)
@click.option(
    "--method",
    default="integrated_gradients",
    show_default=True,
    metavar="M",
    help="Attribution method: integrated_gradients, expected_gradients (over a set of baselines), "
    "gradients, input_x_gradient, deconvolution, guided_backprop, deeplift, lrp; or of an inner "
    "tensor named with --wrt: conductance, internal_influence.",
)
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
@click.option(
    "--tolerance",
    type=float,
    default=1e-2,
    show_default=True,
    metavar="T",
    help="Relative error of the attribution to stop at.",
)
@click.option("--of", metavar="NAME", help="Tensor to explain; default: the first float output.")
@click.option(
    "--wrt",
    multiple=True,
    metavar="NAME",
    help="Tensor to attribute to, an input or any inner one; default: all float inputs, and the "
    "embedding lookups behind token numbers.",
)
@click.option(
    "--provider",
    default="auto",
    show_default=True,
    metavar="P",
    help="auto, cpu, cuda or onnxruntime's name of a provider.",
)
@click.option(
    "--quantised",
    default="straight_through",
    show_default=True,
    metavar="Q",
    help="For a quantised model: straight_through, or dequantise to take the rounding out.",
)
@click.option("--batch-size", type=int, metavar="N", help="Rows per run; default: from the memory.")
@click.option("--threads", type=int, metavar="N", help="Threads within one operator.")
@click.option("--deadline", type=float, metavar="S", help="Give up after S seconds.")
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Seed of methods that draw at random.",
)
@click.option(
    "--output",
    "-o",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write .png, .html, .json or .npz; again for more.",
)
@click.option("--strict", is_flag=True, help="Exit 3 where the gap or the error is over the limit.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def explain(model: Path, inputs: tuple[str, ...], files: tuple[Path, ...], **options: Any) -> int:
    """Attribute MODEL's score for a target to its inputs.

    \b
    igrt explain net.onnx --input cat.jpg --preprocess imagenet --labels labels.txt -o cat.png
    igrt explain net.onnx --input rows.csv --target 1 --json
    """  # noqa: D301
    read = [*inputs, *options["baselines"], str(options["labels"] or "")]
    for file in files:
        _check_output(file, read)
    from igrt.explainer import Explainer

    explainer = Explainer(
        model,
        of=options["of"],
        wrt=list(options["wrt"]) or None,
        provider=options["provider"],
        threads=options["threads"],
        quantised=options["quantised"],
    )
    how = _preprocess(options["preprocess"])
    feeds, display = _read_inputs(explainer, inputs, how, options["labels"])
    progress = ProgressLine(quiet=options["quiet"] or options["as_json"])
    try:
        result = explainer.explain(
            feeds,
            baselines=_baselines(options["baselines"], explainer, how),
            target=_target(options["target"], display.labels),
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
    written = [result.save(file) for file in files]
    if options["as_json"]:
        document = {"model": str(model), "inputs": list(inputs)} | result.summary()
        print_json(document | {"files": [str(w) for w in written]})
    else:
        _print_table(result, written)
    return _verdict(result, strict=options["strict"])


def _check_output(file: Path, read: list[str]) -> None:
    """Refuse an output that cannot be written before the work, not after it."""
    if file.suffix.lower() not in (".png", ".html", ".json", ".npz"):
        raise InputError(
            f"cannot write {file}: unknown suffix `{file.suffix}`",
            hint="use .png, .html, .json or .npz",
        )
    if not file.parent.is_dir():
        raise InputError(f"cannot write {file}: no such folder", hint=f"mkdir -p {file.parent}")
    if file.is_dir():
        raise InputError(f"cannot write {file}: it is a folder", hint="name a file")
    sources = [Path(part) for text in read for part in (text, text.partition("=")[2])]
    if file.exists() and any(s.is_file() and s.samefile(file) for s in sources):
        raise InputError(f"cannot write {file}: it is read as well", hint="choose another name")


def _read_inputs(
    explainer: Explainer, inputs: tuple[str, ...], how: Preprocess | None, labels: Path | None
) -> tuple[dict[str, Array], Display]:
    from igrt.inputs import join, read, read_labels
    from igrt.specs import Display

    specs = {s.name: s for s in explainer.inputs}
    loaded: dict[str, list[Any]] = {}
    for text in inputs:
        name, path = _split(text, list(specs))
        loaded.setdefault(name, []).append(read(path, specs[name], how))
    joined = {n: join(parts) if len(parts) > 1 else parts[0] for n, parts in loaded.items()}
    display = Display(
        labels=read_labels(labels) if labels else (),
        features={n: part.features for n, part in joined.items() if part.features},
        pictures={n: part.pictures for n, part in joined.items() if part.pictures},
        layouts={n: part.layout for n, part in joined.items() if part.layout},
        sources=next(iter(joined.values())).sources,
    )
    return {n: part.array for n, part in joined.items()}, display


def _split(text: str, names: list[str]) -> tuple[str, Path]:
    """`NAME=FILE` or `FILE`; a file whose own name has a `=` is still found."""
    from igrt.errors import did_you_mean

    name, separator, file = text.partition("=")
    if separator and name in names:
        return name, Path(file)
    if separator and not Path(text).exists():
        raise InputError(f"the model has no input `{name}`", hint=did_you_mean(name, names))
    if len(names) != 1:
        raise InputError(
            f"the model has {len(names)} inputs: which one is {text}?",
            hint=f"write --input NAME={text} with one of {', '.join(names[:8])}",
        )
    return names[0], Path(text)


def _preprocess(text: str | None) -> Preprocess | None:
    from igrt.inputs import Preprocess

    return None if text is None else Preprocess.named(text)


def _baselines(specs: tuple[str, ...], explainer: Explainer, how: Preprocess | None) -> Any:
    """Texts stay texts; files are read like inputs."""
    from igrt.inputs import read

    known = {s.name: s for s in explainer.inputs}
    built: list[Any] = []
    for text in specs:
        name, separator, file = text.partition("=")
        path = Path(file if separator and name in known else text)
        if re.fullmatch(r"[a-zA-Z]+(:.*)?", text) and not path.is_file():
            built.append(text)
            continue
        owner, path = _split(text, list(known))
        array = read(path, known[owner], how).array
        built.append({owner: array} if len(known) > 1 else array)
    return built or None


def _target(text: str, labels: tuple[str, ...]) -> Any:
    from igrt.inputs import find_label

    if re.fullmatch(r"[+-]?\d+", text.strip()):
        return int(text)
    if re.fullmatch(r"top-?\d+", text.strip(), re.IGNORECASE):
        return text
    if re.fullmatch(r"\[\s*-?\d+(\s*,\s*-?\d+)*\s*\]", text.strip()):
        return tuple(int(i) for i in text.strip()[1:-1].split(","))
    if labels:
        return find_label(labels, text)
    from igrt.errors import TargetError

    raise TargetError(
        f"unknown target {text!r}",
        hint="use an index, topK or [i,j,…]; for a label, give its file with --labels",
    )


def _print_table(result: Attribution, written: list[Path]) -> None:
    import os

    from igrt.render import terminal

    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    width = shutil.get_terminal_size((100, 24)).columns
    click.echo(
        terminal.text(result, files=[str(w) for w in written], colour=colour, width=width),
        color=colour,
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
