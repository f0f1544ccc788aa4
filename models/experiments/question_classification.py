"""Which words say what a question asks for, after Sundararajan et al. 2017, section 6.3.

    python models/experiments/question_classification.py
    python models/experiments/question_classification.py --output docs/pictures

Explains the answer type that the shipped network gives to each of 500 test questions of TREC and
adds the attributions up by word and by pair of words, per type.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import igrt
from igrt.inputs import read_labels
from igrt.render.png import draw

FOLDER = Path(__file__).resolve().parents[1] / "trec_cnn"
LABELS = read_labels(FOLDER / "labels.txt")

SHOWN = (
    "How many feet in a mile ?",
    "What year did the Titanic sink ?",
    "What metal has the highest melting point ?",
)
"""Questions of the picture: two of the paper's triggers, and one that the network gets wrong."""

OFTEN = 3
"""In how many questions a phrase has to stand, lest the table be one of rare names."""


@dataclass(frozen=True)
class Question:
    """A test question, explained.

    Args:
        truth: Its answer type.
        found: What the network says.
        words: Its words, as the network reads them.
        shares: Attribution of each word, relative to the sum of magnitudes.
    """

    truth: str
    found: str
    words: tuple[str, ...]
    shares: tuple[float, ...]

    def phrases(self, length: int) -> dict[str, float]:
        """Attribution by phrase of so many words; a phrase that comes twice has the sum."""
        sums: defaultdict[str, float] = defaultdict(float)
        for start in range(len(self.words) - length + 1):
            sums[" ".join(self.words[start : start + length]).lower()] += sum(
                self.shares[start : start + length]
            )
        return dict(sums)


def explain(texts: list[str]) -> igrt.Attribution:
    """Attributions of the words for the likeliest answer type."""
    explainer = igrt.Explainer(FOLDER / "trec_cnn.onnx")
    questions = igrt.Text(texts, FOLDER / "tokenizer.json")
    return explainer.explain(questions, target="top1", display=igrt.Display(labels=LABELS))


def read() -> tuple[list[str], list[str]]:
    """Answer types and questions of the test set."""
    lines = Path(__file__).with_suffix(".tsv").read_text(encoding="utf-8").splitlines()
    truths, texts = zip(*(line.split("\t") for line in lines), strict=True)
    return list(truths), list(texts)


def explained(truths: list[str], texts: list[str]) -> list[Question]:
    """All questions with the attribution of their words."""
    result = explain(texts)
    questions = []
    for row, truth in enumerate(truths):
        (tokens,) = result.tokens(row).values()
        words = [t for t in tokens if t["kind"] in ("text", "unknown")]
        size = sum(abs(t["attribution"]) for t in words)
        questions.append(
            Question(
                truth,
                result.label(row),
                tuple(t["text"] for t in words),
                tuple(t["attribution"] / size for t in words),
            )
        )
    return questions


def triggers(questions: list[Question], length: int) -> list[tuple[str, float, int]]:
    """Phrases by their mean share in the questions that have them: phrase, share, questions."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for question in questions:
        for phrase, share in question.phrases(length).items():
            found[phrase].append(share)
    means = [(p, sum(s) / len(s), len(s)) for p, s in found.items() if len(s) >= OFTEN]
    return sorted(means, key=lambda m: -m[1])


def tell(questions: list[Question]) -> None:
    """Triggers of every answer type, and how much of the attribution the first two words have."""
    for label in LABELS:
        mine = [q for q in questions if q.found == label]
        right = sum(q.truth == label for q in mine)
        print(f"{label}: {len(mine)} questions, {right} of them rightly so")
        for length in (1, 2):
            best = triggers(mine, length)[:5]
            print("   ", ", ".join(f"{p} {100 * s:.0f} % ({n})" for p, s, n in best))
    for name, chosen in (
        ("rightly", [q for q in questions if q.found == q.truth]),
        ("wrongly", [q for q in questions if q.found != q.truth]),
    ):
        lead = sum(sum(abs(s) for s in q.shares[:2]) for q in chosen) / len(chosen)
        part = sum(2 / len(q.words) for q in chosen) / len(chosen)
        print(
            f"{len(chosen)} questions {name} classified: the first two words have "
            f"{100 * lead:.0f} % of the magnitudes, being {100 * part:.0f} % of the words"
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, help="folder for question-classification.png")
    parser.add_argument("--first", type=int, help="so many questions instead of all")
    args = parser.parse_args()
    truths, texts = read()
    tell(explained(truths[: args.first], texts[: args.first]))
    if args.output:
        file = args.output / "question-classification.png"
        draw(explain(list(SHOWN))).quantize(128).save(file, optimize=True)
        print(file)


if __name__ == "__main__":
    main()
