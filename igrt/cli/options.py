"""Options that `igrt explain` and `igrt verify` share, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from igrt.errors import InputError

if TYPE_CHECKING:
    from igrt.explainer import Explainer
    from igrt.inputs import Loaded, Preprocess
    from igrt.specs import Array, Display

Option = Callable[[Callable[..., Any]], Callable[..., Any]]


def inputs_option(without: str = "") -> Option:
    """`--input`, given for every input and example; `without` says what happens without it."""
    return click.option(
        "--input",
        "-i",
        "inputs",
        multiple=True,
        metavar="[NAME=]FILE",
        help="Input file: .npy .npz .png .jpg .json .csv .wav; again for more inputs or examples"
        f"{without and '; '}{without}.",
    )


PREPROCESS = click.option(
    "--preprocess",
    metavar="P",
    help="How a picture becomes numbers: imagenet, unit, none or a TOML file.",
)
LABELS = click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Names of the classes: text, one per line, or JSON.",
)
GRAPHS = click.option(
    "--graphs",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Names of nodes and edges, for pictures of graphs and molecules: JSON.",
)
GROUPS = click.option(
    "--groups",
    metavar="auto|FILE",
    help="Show columns of a table as one feature, their sum: auto finds one-hot columns by names "
    'such as colour_red; a .toml or .json file says colour = ["colour_red", ...] or "colour_*".',
)
TARGET = click.option(
    "--target",
    default="top1",
    show_default=True,
    metavar="SPEC",
    help="What is explained: an index, topK, a label; [i,j,…] with an index, slice, topK or label "
    "per axis, such as [:,top1]; the sum of these, such as sum[:,5]; or mask:FILE.npy.",
)
METHOD = click.option(
    "--method",
    default="integrated_gradients",
    show_default=True,
    metavar="M",
    help="Attribution method: integrated_gradients, expected_gradients (over a set of baselines), "
    "integrated_hessians (of pairs of features), gradients, input_x_gradient, deconvolution, "
    "guided_backprop, deeplift, lrp; or of an inner tensor named with --wrt: conductance, "
    "internal_influence.",
)
OF = click.option(
    "--of", metavar="NAME", help="Tensor to explain; default: the first float output."
)
WRT = click.option(
    "--wrt",
    multiple=True,
    metavar="NAME",
    help="Tensor to attribute to, an input or any inner one; default: all float inputs, and the "
    "embedding lookups behind token numbers.",
)
PROVIDER = click.option(
    "--provider",
    default="auto",
    show_default=True,
    metavar="P",
    help="auto, cpu, cuda or onnxruntime's name of a provider.",
)
QUANTISED = click.option(
    "--quantised",
    default="straight_through",
    show_default=True,
    metavar="Q",
    help="For a quantised model: straight_through, or dequantise to take the rounding out.",
)
SOFTPLUS = click.option(
    "--softplus",
    type=float,
    metavar="BETA",
    help="Explain the model with softplus(BETA*x)/BETA in place of Relu, for integrated_hessians.",
)
PRECISION = click.option(
    "--precision",
    default="float32",
    show_default=True,
    metavar="P",
    help="Of the gradients: float32, tf32 (CUDA alone) or fp16; its measured cost adds to error.",
)
THREADS = click.option(
    "--threads", type=int, metavar="N", help="Threads that work at the same time."
)
JSON = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document instead of a table."
)
QUIET = click.option("--quiet", "-q", is_flag=True, help="No progress.")


def tolerance_option(meaning: str) -> Option:
    """`--tolerance`, which a command means in its own way."""
    return click.option(
        "--tolerance", type=float, default=1e-2, show_default=True, metavar="T", help=meaning
    )


def seed_option(meaning: str) -> Option:
    """`--seed` of whatever a command draws."""
    return click.option("--seed", type=int, default=0, show_default=True, metavar="N", help=meaning)


def output_option(formats: str) -> Option:
    """`--output`, again for more files, of the formats that a command writes."""
    return click.option(
        "--output",
        "-o",
        "files",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=formats,
    )


def check_output(file: Path, read: Sequence[str], suffixes: Sequence[str]) -> None:
    """Refuse an output that cannot be written before the work, not after it.

    Args:
        file: The output.
        read: What is read, as the options have it.
        suffixes: What can be written.
    """
    if file.suffix.lower() not in suffixes:
        raise InputError(
            f"cannot write {file}: unknown suffix `{file.suffix}`",
            hint=f"use {', '.join(suffixes[:-1])} or {suffixes[-1]}",
        )
    if not file.parent.is_dir():
        raise InputError(f"cannot write {file}: no such folder", hint=f"mkdir -p {file.parent}")
    if file.is_dir():
        raise InputError(f"cannot write {file}: it is a folder", hint="name a file")
    # behind the name of an input, and behind what is taken of a background: sample:20:FILE
    ends = [(text, text.partition("=")[2], text.rpartition(":")[2]) for text in read]
    sources = [Path(part) for parts in ends for part in parts]
    if file.exists() and any(s.is_file() and s.samefile(file) for s in sources):
        raise InputError(f"cannot write {file}: it is read as well", hint="choose another name")


def read_inputs(
    explainer: Explainer, inputs: tuple[str, ...], options: Mapping[str, Any]
) -> tuple[dict[str, Array], Display]:
    """The arrays of all inputs by name, and what to show beside the numbers.

    Args:
        explainer: What the inputs are for.
        inputs: Files, as `--input` has them.
        options: Of the command: ``preprocess``, ``labels`` and, where it has them, ``groups`` and
            ``graphs``.
    """
    from igrt.inputs import join, read_groups, read_labels
    from igrt.specs import Display

    how = read_preprocess(options["preprocess"])
    loaded: dict[str, list[Loaded]] = {}
    for text in inputs:
        for name, part in _read(explainer, text, how).items():
            loaded.setdefault(name, []).append(part)
    joined = {n: join(parts) if len(parts) > 1 else parts[0] for n, parts in loaded.items()}
    groups = options.get("groups")
    sources = [part.sources for part in joined.values()]
    display = Display(
        labels=read_labels(options["labels"]) if options["labels"] else (),
        features={n: part.features for n, part in joined.items() if part.features},
        groups=read_groups(groups, joined) if groups else {},
        pictures={n: part.pictures for n, part in joined.items() if part.pictures},
        layouts={n: part.layout for n, part in joined.items() if part.layout},
        rates={n: part.rate for n, part in joined.items() if part.rate},
        sources=sources[0] if sources else (),
    )
    feeds = {n: part.array for n, part in joined.items()}
    return feeds, _with_graphs(display, options.get("graphs"), feeds)


def _with_graphs(display: Display, path: Path | None, feeds: dict[str, Array]) -> Display:
    """What to show, with the graphs of a file: their names name the examples."""
    if path is None:
        return display
    from igrt.inputs import read_graphs

    found = read_graphs(path)
    found.check(feeds)
    names = tuple(graph.name for graph in found.graphs)
    return replace(
        display,
        graphs=found.graphs,
        features={**found.features, **display.features},
        sources=names if all(names) and len(names) == len(display.sources) else display.sources,
    )


def _read(explainer: Explainer, text: str, how: Preprocess | None) -> dict[str, Loaded]:
    """What `[NAME=]FILE` holds, for one input or, by the names in it, for all of them."""
    from igrt.inputs import read, read_all

    name, path = _split(text, [s.name for s in explainer.inputs])
    if name is None:
        return read_all(path, explainer.inputs)
    return {name: read(path, next(s for s in explainer.inputs if s.name == name), how)}


def named(text: str, names: Sequence[str]) -> tuple[str, str]:
    """The input and the rest of `NAME=REST`; an empty name where the text names no input."""
    name, separator, rest = text.partition("=")
    return (name, rest) if separator and name in names else ("", text)


def _split(text: str, names: list[str]) -> tuple[str | None, Path]:
    """`NAME=FILE` or `FILE`; a file whose own name has a `=` is still found.

    The name is None for a file that is for several inputs.
    """
    from igrt.errors import did_you_mean

    owner, file = named(text, names)
    if owner:
        return owner, Path(file)
    name, separator, _ = text.partition("=")
    if separator and not Path(text).exists():
        raise InputError(f"the model has no input `{name}`", hint=did_you_mean(name, names))
    return names[0] if len(names) == 1 else None, Path(text)


def read_preprocess(text: str | None) -> Preprocess | None:
    """How pictures become numbers; None where nothing was said."""
    from igrt.inputs import Preprocess

    return None if text is None else Preprocess.named(text)


def read_baselines(
    specs: Sequence[str], explainer: Explainer, display: Display, options: Mapping[str, Any]
) -> Any:
    """Texts stay texts; files are read like inputs, and their columns matched by name.

    Args:
        specs: Baselines, as `--baseline` has them.
        explainer: What they are for.
        display: What is known of the inputs' columns.
        options: Of the command: ``preprocess`` and ``seed``.
    """
    from igrt.inputs import Background, ordered

    how = read_preprocess(options["preprocess"])
    names = [s.name for s in explainer.inputs]
    built: list[Any] = []
    for text in specs:
        owner, said = named(text, names)
        background = Background.named(said)
        plain = background == Background(background.file)
        if plain and re.fullmatch(r"[a-zA-Z]+(:.*)?", text) and not background.file.is_file():
            built.append(text)
            continue
        file = f"{owner}={background.file}" if owner else str(background.file)
        tables = {
            n: ordered(f"`{background.file}`", part, display.features.get(n, ()))
            for n, part in _read(explainer, file, how).items()
        }
        if len(tables) > 1:  # a file for all inputs: those that stay as they are have no baseline
            moved = _moved(explainer)
            tables = {n: part for n, part in tables.items() if n in moved}
        arrays = background.of(tables, options["seed"])
        built += arrays if len(names) > 1 else [a[names[0]] for a in arrays]
    return built or None


def _moved(explainer: Explainer) -> set[str]:
    """Inputs that a path leads along: the attributed ones, or all floats before an inner tensor."""
    attributed = {s.name for s in explainer.wrt}
    if attributed <= {s.name for s in explainer.inputs}:
        return attributed
    return {s.name for s in explainer.inputs if s.is_float}


def read_target(text: str, labels: tuple[str, ...]) -> Any:
    """What `--target` says, as `explain` takes it: wrong words are found before the model runs."""
    from igrt.selection import parse

    return parse(text, labels)
