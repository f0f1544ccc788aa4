"""Translate with models/en_de_gru: run the ONNX file again and again, with the target so far.

    python models/translate.py "the people want peace ." -o question

prints the translation and writes `question/source_ids.npy` and `question/target_ids.npy`, which
are what `igrt explain --input NAME=FILE` takes.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import common
import numpy as np
import onnxruntime
import token_data
from common import Array, Feeds
from datasets import Split

NAME = "en_de_gru"
UNKNOWN, BEGIN, END = 1, 2, 3


def greedy(file: Path, source_ids: Array, longest: int = 24) -> Array:
    """The likeliest known word, until every sentence has ended: [batch, words], first is BEGIN."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    target = np.full((len(source_ids), 1), BEGIN, np.int64)
    ended = np.zeros(len(source_ids), bool)
    while not ended.all() and target.shape[1] < longest:
        feeds = {"source_ids": source_ids, "target_ids": target}
        (logits,) = session.run(["logits"], feeds)
        logits[:, -1, UNKNOWN] = -np.inf
        following = np.where(ended, 0, logits[:, -1].argmax(1))
        ended |= following == END
        target = np.concatenate([target, np.where(following == END, 0, following)[:, None]], 1)
    return target


def bleu(found: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]]) -> float:
    """exp(min(0, 1 - r/c) + ¼ Σ log p_n), n = 1..4, over all sentences (Papineni et al. 2002).

    On lower-case words and signs with one reference, without smoothing.
    """
    logs = []
    for n in (1, 2, 3, 4):
        hits = total = 0
        for a, b in zip(found, wanted, strict=True):
            have, want = (
                Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
                for words in (a, b)
            )
            hits += (have & want).total()
            total += have.total()
        logs.append(np.log(hits / total) if hits else -np.inf)
    shortness = sum(map(len, wanted)) / max(1, sum(map(len, found)))
    return float(np.exp(min(0.0, 1 - shortness) + np.mean(logs)))


def measure(file: Path, test: Split) -> dict[str, float]:
    """Share of next words that are right when the true ones come before, and BLEU of `greedy`."""
    tokenizer = token_data.load_tokenizer(NAME, "tokenizer.de.json")
    feeds: Feeds = test.feeds
    hit = common.run(file, feeds, part=50)["logits"].argmax(2) == test.labels
    found = [words(tokenizer, row) for row in greedy(file, feeds["source_ids"])]
    wanted = [words(tokenizer, row) for row in test.labels]
    return {"token accuracy": float(hit[test.labels != 0].mean()), "BLEU": bleu(found, wanted)}


def words(tokenizer: token_data.Tokenizer, ids: Array) -> list[str]:
    """Words of one sentence."""
    text: str = tokenizer.decode([int(i) for i in ids if i], skip_special_tokens=True)
    return text.split()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("text", help="an English sentence")
    parser.add_argument("-o", "--output", type=Path, help="folder for the two arrays")
    args = parser.parse_args()
    english, german = (
        token_data.load_tokenizer(NAME, f"tokenizer.{language}.json") for language in ("en", "de")
    )
    source = token_data.encode(english, [args.text])
    target = greedy(common.ROOT / NAME / f"{NAME}.onnx", source)
    target = target[:, target[0] != 0]
    print(" ".join(words(german, target[0])))
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
        np.save(args.output / "source_ids.npy", source)
        np.save(args.output / "target_ids.npy", target)


if __name__ == "__main__":
    main()
