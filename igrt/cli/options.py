"""Options that `igrt explain` and `igrt verify` share, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from igrt.errors import InputError

if TYPE_CHECKING:
    from igrt.explainer import Explainer
    from igrt.inputs import Preprocess
    from igrt.specs import Array, Display
    from igrt.text import Text

Option = Callable[[Callable[..., Any]], Callable[..., Any]]


def inputs_option(*, required: bool, without: str = "") -> Option:
    """`--input`, given for every input and example; or what happens without it."""
    return click.option(
        "--input",
        "-i",
        "inputs",
        multiple=True,
        metavar="[NAME=]FILE",
        required=required,
        help="Input file: .npy .npz .png .jpg .json .csv; again for more inputs or examples"
        f"{without and '; '}{without}.",
    )


TEXT = click.option(
    "--text",
    "texts",
    multiple=True,
    metavar="[NAME=]TEXT",
    help="Text to explain, for a model that takes token numbers; again for more examples. NAME is "
    "the input that takes them, where there are several.",
)
TEXTS = click.option(
    "--texts",
    "text_files",
    multiple=True,
    metavar="[NAME=]FILE",
    help="The same, one text per line; a tab stands between the texts of a pair.",
)
PAIR = click.option(
    "--text-pair",
    "pairs",
    multiple=True,
    metavar="TEXT",
    help="Second text of a pair, for models that compare two; as often as --text.",
)
TOKENIZER = click.option(
    "--tokenizer",
    "tokenizers",
    multiple=True,
    metavar="[NAME=]FILE",
    help="What makes token numbers of texts: tokenizer.json, a vocabulary in TOML or JSON "
    "(docs/guides/text.md), or bytes.",
)
SPECIAL = click.option(
    "--special",
    is_flag=True,
    help="Let special tokens, such as [CLS], take part; by default their attribution is 0.",
)
MOST = click.option(
    "--max-tokens", "most", type=int, metavar="N", help="Cut longer texts to N tokens."
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
    "gradients, input_x_gradient, deconvolution, guided_backprop, deeplift, lrp; or of an inner "
    "tensor named with --wrt: conductance, internal_influence.",
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
PRECISION = click.option(
    "--precision",
    default="float32",
    show_default=True,
    metavar="P",
    help="Of the gradients: float32, tf32 (CUDA alone) or fp16; its measured cost adds to error.",
)
THREADS = click.option("--threads", type=int, metavar="N", help="Threads within one operator.")
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
    sources = [Path(part) for text in read for part in (text, text.partition("=")[2])]
    if file.exists() and any(s.is_file() and s.samefile(file) for s in sources):
        raise InputError(f"cannot write {file}: it is read as well", hint="choose another name")


def read_inputs(
    explainer: Explainer, inputs: tuple[str, ...], how: Preprocess | None, labels: Path | None
) -> tuple[dict[str, Array], Display]:
    """The arrays of all inputs by name, and what to show beside the numbers."""
    from igrt.inputs import join, read, read_labels
    from igrt.specs import Display

    specs = {s.name: s for s in explainer.inputs}
    loaded: dict[str, list[Any]] = {}
    for text in inputs:
        name, path = _split(text, list(specs))
        loaded.setdefault(name, []).append(read(path, specs[name], how))
    joined = {n: join(parts) if len(parts) > 1 else parts[0] for n, parts in loaded.items()}
    sources = [part.sources for part in joined.values()]
    display = Display(
        labels=read_labels(labels) if labels else (),
        features={n: part.features for n, part in joined.items() if part.features},
        pictures={n: part.pictures for n, part in joined.items() if part.pictures},
        layouts={n: part.layout for n, part in joined.items() if part.layout},
        sources=sources[0] if sources else (),
    )
    return {n: part.array for n, part in joined.items()}, display


def read_texts(explainer: Explainer, options: Mapping[str, Any]) -> dict[str, Text]:
    """The texts by the input that takes them; an empty name is for the only one.

    Args:
        explainer: Knows the model's inputs.
        options: ``texts text_files pairs tokenizers special most``, as they were given.
    """
    from igrt.inputs import read_pairs
    from igrt.text import Text

    names = [s.name for s in explainer.inputs]
    first: dict[str, list[str]] = {}
    second: dict[str, list[str]] = {}
    for given in options["texts"]:
        name, text = _named(given, names)
        first.setdefault(name, []).append(text)
    for given in options["text_files"]:
        name, file = _named(given, names)
        texts, pairs = read_pairs(Path(file))
        first.setdefault(name, []).extend(texts)
        second.setdefault(name, []).extend(pairs)
    tokenizers = dict(_named(given, names) for given in options["tokenizers"])
    if options["pairs"]:
        second.setdefault(next(iter(first), ""), []).extend(options["pairs"])
    if not first:
        if second or tokenizers:
            raise InputError("there is no text", hint='give one, --text "…" or --texts FILE')
        return {}
    found = {}
    for name, texts in first.items():
        tokenizer = tokenizers.get(name) or tokenizers.get("")
        if tokenizer is None:
            raise InputError(
                "texts need a tokenizer",
                hint="--tokenizer tokenizer.json; docs/guides/text.md says what else there is",
            )
        found[name] = Text(
            texts, tokenizer, second.get(name) or None, options["special"], options["most"]
        )
    return found


def _named(text: str, names: list[str]) -> tuple[str, str]:
    """`NAME=TEXT`, or a text, which is for the input of an empty name."""
    name, separator, rest = text.partition("=")
    return (name, rest) if separator and name in names else ("", text)


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


def read_preprocess(text: str | None) -> Preprocess | None:
    """How pictures become numbers; None where nothing was said."""
    from igrt.inputs import Preprocess

    return None if text is None else Preprocess.named(text)


def read_baselines(specs: tuple[str, ...], explainer: Explainer, how: Preprocess | None) -> Any:
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


def read_target(text: str, labels: tuple[str, ...]) -> Any:
    """What `--target` says, as `explain` takes it: wrong words are found before the model runs."""
    from igrt.selection import parse

    return parse(text, labels)
