"""What makes a sentence good or bad: Integrated Gradients beside plain gradients.

    python models/experiments/sentiment.py
    python models/experiments/sentiment.py --output docs/pictures

Explains the shipped sentiment network on sentences such as "i did not like this film .", and counts
on test sentences of SST-2 how far the score falls once the words are left out that a method ranks
first (comprehensiveness; DeYoung et al. 2020, eq. 1, in logits).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import igrt
from igrt.inputs import read_labels
from igrt.render.png import draw

FOLDER = Path(__file__).resolve().parents[1] / "sst2_attention"
LABELS = read_labels(FOLDER / "labels.txt")

SHOWN = ("i did not like this film .",)
"""The sentence of the picture."""

SENTENCES = (
    "i liked this film .",
    "i did not like this film .",
    "this is a good film .",
    "this is not a good film .",
    "this is a bad film .",
    "this is not a bad film .",
)

METHODS = ("integrated_gradients", "input_x_gradient", "gradients")
PARTS = (0.1, 0.2, 0.4)
"""Shares of a sentence's words that are left out."""

Array = np.ndarray[Any, Any]
Words = list[str]
EXPLAINER = igrt.Explainer(FOLDER / "sst2_attention.onnx")


def explain(texts: list[str], method: str, target: Any = "top1") -> igrt.Attribution:
    """Attributions of the words."""
    given = igrt.Text(texts, FOLDER / "tokenizer.json")
    display = igrt.Display(labels=LABELS)
    return EXPLAINER.explain(given, target=target, method=method, display=display)


def importance(result: igrt.Attribution, row: int) -> Array:
    """How much each word counts for the score; of plain gradients, the length of each word's."""
    (values,) = result.row(row).values()
    (tokens,) = result.tokens(row).values()
    words = [t["kind"] in ("text", "unknown") for t in tokens]
    how: Callable[[Array], Array] = (
        (lambda v: np.linalg.norm(v, axis=1)) if result.method == "gradients" else _sum
    )
    return how(values)[words]


def _sum(values: Array) -> Array:
    return np.asarray(values.sum(axis=1))


def tell(texts: tuple[str, ...]) -> None:
    """Every sentence with the attribution of its words, by two methods."""
    results = [explain(list(texts), m) for m in METHODS[:2]]
    for row, text in enumerate(texts):
        change = float(results[0].output[row] - results[0].baseline_output[row])
        print(f"{results[0].label(row)} ({change:+.2f}): {text}")
        for result in results:
            parts = zip(text.split(), importance(result, row), strict=True)
            print(f"    {result.method:21}" + "  ".join(f"{w} {v:+.2f}" for w, v in parts))


def falls(texts: list[str]) -> dict[str, Array]:
    """How far the score falls where words are left out, [sentences, parts] by method."""
    results = {m: explain(texts, m) for m in METHODS}
    first = results[METHODS[0]]
    random = np.random.default_rng(0)
    ranks = {
        m: [np.argsort(-importance(r, at), kind="stable") for at in range(len(texts))]
        for m, r in results.items()
    }
    ranks["by chance"] = [random.permutation(len(t.split())) for t in texts]
    return {
        name: np.stack(
            [first.output - _left(texts, order, part, list(first.target)) for part in PARTS], axis=1
        )
        for name, order in ranks.items()
    }


def _left(texts: list[str], order: list[Array], part: float, targets: list[Any]) -> Array:
    """The score without the first words of an order."""
    kept = []
    for text, ranked in zip(texts, order, strict=True):
        words = text.split()
        gone = set(ranked[: max(1, round(part * len(words)))].tolist())
        kept.append(" ".join(w for at, w in enumerate(words) if at not in gone))
    return explain(kept, "gradients", targets).output


def count(texts: list[str]) -> None:
    """Means over the test sentences."""
    found = falls(texts)
    print(
        f"mean fall of the score over {len(texts)} test sentences, by the share of words left out"
    )
    print(f"{'':24}" + "".join(f"{100 * p:>6.0f} %" for p in PARTS))
    for name, fall in found.items():
        print(f"{name:24}" + "".join(f"{f:8.2f}" for f in fall.mean(axis=0)))
    ours = found[METHODS[0]]
    for name in METHODS[1:]:
        more = ours - found[name]
        spread = more.std(axis=0, ddof=1) / np.sqrt(len(more))
        print(
            f"integrated_gradients over {name}: "
            + ", ".join(
                f"{m:+.2f} ± {s:.2f}" for m, s in zip(more.mean(axis=0), spread, strict=True)
            )
        )


def read() -> list[str]:
    """Test sentences of at least five words."""
    lines = Path(__file__).with_suffix(".tsv").read_text(encoding="utf-8").splitlines()
    return [t for t in (line.split("\t")[1] for line in lines) if len(t.split()) >= 5]


def picture(folder: Path) -> Path:
    """Both methods, one above the other."""
    drawn = []
    for method in METHODS[:2]:
        result = explain(list(SHOWN), method)
        drawn.append(draw(replace(result, display=replace(result.display, sources=(method,)))))
    width = max(d.width for d in drawn)
    sheet = Image.new("RGB", (width, sum(d.height for d in drawn)), "white")
    top = 0
    for part in drawn:
        sheet.paste(part, (0, top))
        top += part.height
    file = folder / "sentiment.png"
    sheet.quantize(128).save(file, optimize=True)
    return file


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, help="folder for sentiment.png")
    parser.add_argument("--first", type=int, help="so many test sentences instead of all")
    args = parser.parse_args()
    tell(SENTENCES)
    count(read()[: args.first])
    if args.output:
        print(picture(args.output))


if __name__ == "__main__":
    main()
