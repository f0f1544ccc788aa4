"""Which source word a translated word comes from, after Sundararajan et al. 2017, section 6.4.

    python models/experiments/translation.py            # hand-made links of held-out sentences
    python models/experiments/translation.py --output docs/pictures
    python models/experiments/translation.py --ibm      # and links that IBM model 1 finds

Every word of a German sentence is explained by the English words, with the words before it given.
Its strongest English word is compared with links that the model has no part in. Then that English
word is made unknown: what the model really reads, it misses. `--ibm` needs the training pairs that
`models/README.md` tells of, and the package `tokenizers`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

import igrt
from igrt.inputs import read_labels

FOLDER = Path(__file__).resolve().parents[1] / "en_de_gru"
MODEL = FOLDER / "en_de_gru.onnx"
LINKS = Path(__file__).with_suffix(".txt")
LABELS = read_labels(FOLDER / "labels.txt")

EMBEDDED = "/source_embedding/Gather_output_0"
ATTENTION = "/Softmax_output_0"
UNKNOWN, BEGIN, END = 1, 2, 3

PICTURE = "i voted against this report ."

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Pair:
    """Words of a sentence, those of its translation, and which are linked: [target, source]."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    links: Array


def read_pairs(file: Path) -> list[Pair]:
    """Lines of the form `english ||| german ||| 0-0 1-2`, links from English to German."""
    pairs = []
    for line in file.read_text(encoding="utf-8").splitlines():
        source, target, listed = (part.split() for part in line.split("|||"))
        links = np.zeros((len(target), len(source)), dtype=bool)
        for link in listed:
            s, t = map(int, link.split("-"))
            links[t, s] = True
        pairs.append(Pair(tuple(source), tuple(target), links))
    return pairs


@cache
def vocabulary(language: str) -> Mapping[str, int]:
    """Numbers of the words."""
    text = (FOLDER / f"tokenizer.{language}.json").read_text(encoding="utf-8")
    numbers: dict[str, int] = json.loads(text)["model"]["vocab"]
    return numbers


def source_ids(sentences: Sequence[Sequence[str]]) -> Array:
    """Numbers of English words and the end, [sentences, longest + 1], padded with 0."""
    ids = np.zeros((len(sentences), max(map(len, sentences)) + 1), np.int64)
    for row, words in zip(ids, sentences, strict=True):
        row[: len(words) + 1] = [*(vocabulary("en")[word] for word in words), END]
    return ids


def target_ids(sentences: Sequence[Sequence[str]]) -> tuple[Array, Array]:
    """German words as they are fed, with the begin before them, and as they follow."""
    following = np.zeros((len(sentences), max(map(len, sentences))), np.int64)
    for row, words in zip(following, sentences, strict=True):
        row[: len(words)] = [vocabulary("de")[word] for word in words]
    begin = np.full((len(sentences), 1), BEGIN)
    return np.concatenate([begin, following[:, :-1]], axis=1), following


@cache
def session() -> onnxruntime.InferenceSession:
    """The model with its attention as an output."""
    model = onnx.load(MODEL)
    model.graph.output.append(onnx.ValueInfoProto(name=ATTENTION))
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def run(output: str, source: Array, target: Array) -> Array:
    """One output of the model."""
    feeds = {"source_ids": source, "target_ids": target}
    return np.asarray(session().run([output], feeds)[0], dtype=np.float64)


def readings(pairs: Sequence[Pair]) -> dict[str, list[Array]]:
    """How much each German word owes to each English one, by method: [target, source] per pair."""
    source = source_ids([pair.source for pair in pairs])
    fed, following = target_ids([pair.target for pair in pairs])
    # one row per German word
    example = np.repeat(np.arange(len(pairs)), [len(pair.target) for pair in pairs])
    place = np.concatenate([np.arange(len(pair.target)) for pair in pairs])
    target = list(zip(place.tolist(), following[example, place].tolist(), strict=True))
    explainer = igrt.Explainer(MODEL, wrt=[EMBEDDED])

    def explained(method: str) -> Array:
        feeds = {"source_ids": source[example], "target_ids": fed[example]}
        return explainer.explain(feeds, target=target, method=method).values[EMBEDDED]

    found = {
        "integrated gradients": explained("integrated_gradients").sum(axis=2),
        "gradients x input": explained("input_x_gradient").sum(axis=2),
        "|gradients|": np.linalg.norm(explained("gradients"), axis=2),
        "attention weights": run(ATTENTION, source, fed)[example, place],
        "leaving out": lost(source, fed, following)[example, place],
    }
    parts = {
        name: [values[example == k, : len(pair.source)] for k, pair in enumerate(pairs)]
        for name, values in found.items()
    }
    return parts | {"diagonal": [diagonal(pair.links.shape) for pair in pairs]}


def diagonal(shape: tuple[int, ...]) -> Array:
    """Nearness of places in two sentences, [target, source]."""
    t, s = ((np.arange(size) + 0.5) / size for size in shape)
    return -np.abs(t[:, None] - s)


def lost(source: Array, fed: Array, following: Array) -> Array:
    """Fall of log p of every German word with an English one unknown: [pairs, target, source]."""

    def chance(ids: Array) -> Array:
        each = np.take_along_axis(run("probabilities", ids, fed), following[..., None], axis=2)
        return np.log(each[..., 0])

    whole = chance(source)
    fall = np.zeros((*following.shape, source.shape[1]))
    for s in range(source.shape[1]):
        without = source.copy()
        without[source[:, s] > END, s] = UNKNOWN
        fall[..., s] = whole - chance(without)
    return fall


def hits(scores: Sequence[Array], links: Sequence[Array]) -> Array:
    """Whether the strongest English word is one of theirs, of all German words with a link."""
    found = []
    for values, linked in zip(scores, links, strict=True):
        best = linked[np.arange(len(values)), values.argmax(axis=1)]
        found.append(best[linked.any(axis=1)])
    return np.concatenate(found)


def error_rate(scores: Sequence[Array], links: Sequence[Array]) -> float:
    """1 - 2 |A ∩ S| / (|A| + |S|) with one link A per German word (Och and Ney 2003)."""
    size = sum(len(values) for values in scores) + sum(int(linked.sum()) for linked in links)
    return float(1 - 2 * hits(scores, links).sum() / size)


def worth(scores: Sequence[Array], fall: Sequence[Array]) -> float:
    """Mean fall of log p of a German word without its strongest English word."""
    of_words = [
        lost_of[np.arange(len(values)), values.argmax(axis=1)]
        for values, lost_of in zip(scores, fall, strict=True)
    ]
    return float(np.concatenate(of_words).mean())


def ibm_links(pairs: Sequence[Pair]) -> list[Array]:
    """What IBM model 1 links in both directions, learned from the training pairs."""
    sys.path.insert(0, str(FOLDER.parent))
    import phrases
    import token_data

    texts = [token_data.words_of(side) for side in token_data.en_de("train")]
    both = [text for text in zip(*texts, strict=True) if all(text)]
    aligner = phrases.WordAligner(both)
    return [aligner.both_ways((pair.source, pair.target))[0].T for pair in pairs]


def translate(words: Sequence[str], longest: int = 24) -> list[str]:
    """The likeliest known word after another, until the end."""
    source, said = source_ids([words]), [BEGIN]
    while len(said) < longest:
        logits = run("logits", source, np.array([said]))[0, -1]
        logits[UNKNOWN] = -np.inf
        said.append(int(logits.argmax()))
        if said[-1] == END:
            break
    return [LABELS[number] for number in said[1:] if number != END]


def matrix(words: Sequence[str]) -> igrt.Attribution:
    """Every word of the model's own translation, explained."""
    said = translate(words)
    source, (fed, _) = source_ids([words]), target_ids([said])
    tokens = (*map(igrt.Token, words), igrt.Token("[EOS]", "special"))
    return igrt.Explainer(MODEL, wrt=[EMBEDDED]).explain(
        {"source_ids": source, "target_ids": fed},
        target="[:, top1]",
        display=igrt.Display(labels=tuple(LABELS), tokens={EMBEDDED: (tokens,)}),
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, help="folder for translation.png")
    parser.add_argument("--count", type=int, metavar="N", help="the first N sentences only")
    parser.add_argument("--ibm", action="store_true", help="compare with IBM model 1 as well")
    args = parser.parse_args()
    pairs = read_pairs(LINKS)[: args.count]
    found = readings(pairs)
    references = {"by hand": [pair.links for pair in pairs]}
    if args.ibm:
        references["IBM model 1"] = ibm_links(pairs)
    for reference, links in references.items():
        right = {name: hits(scores, links) for name, scores in found.items()}
        ours = right["integrated gradients"]
        print(f"links {reference}, {len(ours)} German words of {len(pairs)} sentences;")
        print("lost and won: right with integrated gradients only, and without them only")
        print(f"{'':22}{'right':>8}{'lost':>6}{'won':>6}{'AER':>8}{'worth':>8}")
        for name, scores in found.items():
            lost_won = f"{(ours & ~right[name]).sum():6}{(right[name] & ~ours).sum():6}"
            rates = f"{error_rate(scores, links):8.3f}{worth(scores, found['leaving out']):8.2f}"
            print(f"{name:22}{right[name].mean():8.1%}{lost_won}{rates}")
    if args.output:
        file = args.output / "translation.png"
        matrix(PICTURE.split()).save(file)
        print(f"wrote {file}")


if __name__ == "__main__":
    main()
