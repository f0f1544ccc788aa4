"""Gradients beside Integrated Gradients on pictures, after Sundararajan et al. 2017, section 6.1.

    python models/experiments/object_recognition.py            # the shipped pictures
    python models/experiments/object_recognition.py --output docs/pictures
    python models/experiments/object_recognition.py --test --count 200

For every picture the class that the model sees in it is explained, from a black picture on. Then
squares of 4 x 4 pixels give way to a blur in the order of their attribution: if it is right, the
probability of the class falls soon where the strongest are first, and late where the weakest are.
`--test` takes pictures of the test set, and needs the data that `models/README.md` tells of.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import igrt
from igrt.blur import gaussian
from igrt.inputs import Preprocess, join, read, read_labels
from igrt.render.canvas import GRAY, Sheet
from igrt.render.colour import limit, paint, strength
from igrt.render.facts import MEANING
from igrt.render.views import enlarge, heat

FOLDER = Path(__file__).resolve().parents[1] / "inception_cifar"
MODEL = FOLDER / "inception_cifar.onnx"
PREPROCESS = FOLDER / "preprocess.toml"
LABELS = read_labels(FOLDER / "labels.txt")

TOLERANCE = 0.05
"""Relative error of the attributions; the order of the squares hardly changes below it."""

SQUARE = 4
"""Pixels of a side of what is taken out as one: noise of single pixels confuses any model."""

STEPS = 16
"""Points of a deletion curve after its first."""

BLUR = 4.0
"""Pixels; what is left of 32 x 32 then is a stain of colour."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Pictures:
    """What is explained: inputs of the model [n, 3, 32, 32], and pixels to look at."""

    x: Array
    shown: Sequence[Array]


def shipped(count: int | None) -> Pictures:
    """The first pictures beside the model."""
    spec = igrt.Explainer(MODEL).inputs[0]
    files = sorted((FOLDER / "inputs").glob("*.png"))[:count]
    loaded = join([read(file, spec, Preprocess.named(PREPROCESS)) for file in files])
    return Pictures(loaded.array, loaded.pictures)


def of_test_set(count: int | None) -> Pictures:
    """Pictures from all over the test set."""
    sys.path.insert(0, str(FOLDER.parent))
    import datasets

    x = datasets.cifar("test").feeds["image"]
    return Pictures(x[np.linspace(0, len(x) - 1, count or len(x)).astype(int)], ())


def black() -> Array:
    """The input that a black picture becomes, [3, 32, 32]."""
    rule = Preprocess.named(PREPROCESS)
    level = -np.float32(rule.mean) / np.float32(rule.std)
    return np.broadcast_to(level[:, None, None], (3, 32, 32)).copy()


def attributions(x: Array, blurred: Array) -> tuple[dict[str, Array], Array, Array]:
    """Attribution of every pixel by method, [n, 3, 32, 32]; class and probability, [n]."""
    explainer = igrt.Explainer(MODEL)

    def integrated(baseline: Array) -> igrt.Attribution:
        return explainer.explain(x, baselines=baseline, target="top1", tolerance=TOLERANCE)

    from_black, from_blur = integrated(black()), integrated(blurred)
    target = np.array(from_black.target)
    slopes = explainer.explain(x, target=target, method="gradients").values["image"]
    scores = np.asarray(from_black.scores, dtype=np.float64)
    return (
        {
            "integrated gradients from black": from_black.values["image"],
            "gradients x (image - black)": slopes * (x - black()),
            "integrated gradients from the blur": from_blur.values["image"],
            "gradients x (image - blur)": slopes * (x - blurred),
            "|gradients|": np.abs(slopes),
        },
        target,
        softmax(scores)[np.arange(len(x)), target],
    )


def softmax(scores: Array) -> Array:
    """Probabilities of the classes, [n, classes]."""
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


@cache
def session() -> onnxruntime.InferenceSession:
    """The model, loaded once."""
    return onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])


def area(x: Array, filler: Array, values: Array, target: int, sign: int) -> float:
    """Mean probability while squares give way to a filler.

    Args:
        x: A picture, [3, 32, 32].
        filler: What takes the place of its squares.
        values: The attribution.
        target: The class.
        sign: -1 for the strongest first, 1 for the weakest.

    Source: Petsiuk, Das and Saenko, 2018, "RISE": deletion.
    """
    side = x.shape[-1] // SQUARE
    sums = values.sum(axis=0).reshape(side, SQUARE, side, SQUARE).sum(axis=(1, 3))
    order = np.argsort(sign * sums, axis=None, kind="stable")
    share = np.linspace(0.0, 1.0, STEPS + 1)
    left = np.argsort(order) >= np.rint(share * len(order))[:, None]
    left = left.reshape(-1, 1, side, side).repeat(SQUARE, axis=2).repeat(SQUARE, axis=3)
    feeds = {"image": np.where(left, x, filler).astype(np.float32)}
    chance = session().run(["probabilities"], feeds)[0][:, target].astype(np.float64)
    return float(((chance[1:] + chance[:-1]) / 2 * np.diff(share)).sum())


def areas(x: Array, blurred: Array, values: Array, target: Array) -> Array:
    """What `area` says of every picture, strongest first and weakest first, [n, 2]."""
    return np.array(
        [
            [area(*of, int(t), sign) for sign in (-1, 1)]
            for *of, t in zip(x, blurred, values, target, strict=True)
        ]
    )


def figure(pictures: Pictures, found: Mapping[str, Array], told: Sequence[str]) -> Sheet:
    """One column per picture: what the model sees, and where two methods see it."""
    side, gap, left, top = 112.0, 10.0, 96.0, 34.0
    rows = {
        "image": None,
        "integrated gradients": found["integrated gradients from black"],
        "gradients x image": found["gradients x (image - black)"],
    }
    width = left + len(told) * (side + gap)
    sheet = Sheet(width + gap, top + 3 * (side + gap) + 30)
    for row, (name, values) in enumerate(rows.items()):
        y = top + row * (side + gap)
        for at, word in enumerate(name.split(" ", 1)):
            sheet.text(left - gap, y + side / 2 - 14 + 15 * at, word, size=12, anchor="right")
        for k in range(len(told)):
            x = left + k * (side + gap)
            pixels = pictures.shown[k] if values is None else _map(values[k])
            sheet.pixels(x, y, enlarge(pixels, 7, 7))
            sheet.frame(x, y, side, side)
            if row == 0:
                label, _, chance = told[k].partition(" ")
                sheet.text(x + side / 2, 2, label, size=12, anchor="middle")
                sheet.text(x + side / 2, 17, chance, size=10, colour=GRAY, anchor="middle")
    bar = np.linspace(-1.0, 1.0, 448)[np.newaxis].repeat(16, axis=0)
    y = top + 3 * (side + gap) + 4
    sheet.pixels(left, y, paint(bar, 1.0))
    sheet.frame(left, y, 224, 8)
    said = f"{MEANING}; each map to the 99.5th percentile of its own magnitudes"
    sheet.text(left + 224 + gap, y - 3, said, size=11, colour=GRAY)
    return sheet


def _map(values: Array) -> Array:
    flat = values.sum(axis=0)
    return heat(strength(flat, limit(flat)))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, help="folder for object-recognition.png")
    parser.add_argument("--test", action="store_true", help="pictures of the test set")
    parser.add_argument("--count", type=int, metavar="N", help="N pictures only")
    args = parser.parse_args()
    pictures = of_test_set(args.count) if args.test else shipped(args.count)
    blurred = gaussian(pictures.x, BLUR, (2, 3)).astype(np.float32)
    found, target, probability = attributions(pictures.x, blurred)
    found["random order"] = np.random.default_rng(0).normal(size=pictures.x.shape)
    print(f"mean probability while squares of {len(target)} pictures give way to a blur")
    print(f"{'':36}{'strongest first':>16}{'weakest first':>15}{'difference':>12}")
    for name, values in found.items():
        strong, weak = areas(pictures.x, blurred, values, target).mean(axis=0)
        print(f"{name:36}{strong:16.3f}{weak:15.3f}{weak - strong:12.3f}")
    if args.output and not args.test:
        file = args.output / "object-recognition.png"
        told = [f"{LABELS[t]} {p:.0%}" for t, p in zip(target, probability, strict=True)]
        figure(pictures, found, told).image.save(file, optimize=True)
        print(f"wrote {file}")


if __name__ == "__main__":
    main()
