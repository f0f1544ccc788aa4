"""Train and export models/en_de_gru, which translates short sentences (25 minutes on one core)."""

from __future__ import annotations

import argparse
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import common
import datasets
import describe
import export
import numpy as np
import numpy.typing as npt
import onnx
import phrases
import token_data
import token_twins
import tokenizers
import torch
from onnx import helper, numpy_helper
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from translate import BEGIN, END

NAME = "en_de_gru"
LEAST = 8  # times that a word occurs
DATASET = {
    "name": "English-German sentence pairs, as phrase pairs, clauses and short sentences; the test "
    "is on whole sentences of at most 12 words, all of them known",
    "source": "demonstration data of OpenNMT-py (Europarl, news and web)",
    "licence": "MIT",
}
# Written for this model, which translates the first six as here, and forgets `statt` in the last.
SAMPLES = [
    ("thank you for the answer .", "vielen dank für die antwort ."),
    ("we need a new policy .", "wir brauchen eine neue politik ."),
    ("this is a very important question .", "das ist eine sehr wichtige frage ."),
    ("i voted against this report .", "ich habe gegen diesen bericht gestimmt ."),
    ("we have a common foreign policy .", "wir haben eine gemeinsame außenpolitik ."),
    (
        "the new members of the european union are important .",
        "die neuen mitglieder der europäischen union sind wichtig .",
    ),
    ("the vote will take place tomorrow .", "die abstimmung findet morgen statt ."),
]


@dataclass(frozen=True)
class Examples:
    """What the network learns from: token numbers, and how often each pair is shown."""

    source: list[list[int]]
    target: list[list[int]]
    weight: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.source)

    def batches(self, tokens: int, draw: np.random.Generator) -> list[list[int]]:
        """One epoch: indices of pairs of like length, `tokens` of the target in each batch."""
        times = np.floor(self.weight + draw.random(len(self))).astype(int)
        lengths = np.array([len(target) for target in self.target])
        order = np.repeat(np.arange(len(self)), times)
        order = order[np.argsort(lengths[order] + 2 * draw.random(len(order)))]
        batch = np.cumsum(lengths[order]) // tokens
        parts = [part.tolist() for part in np.split(order, np.flatnonzero(np.diff(batch)) + 1)]
        draw.shuffle(parts)
        return parts


def examples_of(
    english: Sequence[str], german: Sequence[str], held_out: Collection[tuple[str, ...]]
) -> Examples:
    """Phrase pairs of the sentences, without those whose source is a sentence of the test.

    A whole clause is shown five times as often as a piece of one.
    """
    vocabularies = [
        token_data.load_tokenizer(NAME, f"tokenizer.{language}.json").get_vocab()
        for language in ("en", "de")
    ]
    texts = zip(token_data.words_of(english), token_data.words_of(german), strict=True)
    found = phrases.collect(
        [(source, target) for source, target in texts if 0 < min(len(source), len(target))],
        (vocabularies[0], vocabularies[1]),
    )
    source, target, weight = [], [], []
    for counts, share in zip(found, (1.0, 5.0), strict=True):
        for phrase, count in counts.items():
            if phrase[0] in held_out:
                continue
            english_ids, german_ids = (
                [numbers[word] for word in words]
                for words, numbers in zip(phrase, vocabularies, strict=True)
            )
            source.append([*english_ids, END])
            target.append([BEGIN, *german_ids, END])
            weight.append(share * min(count, 4) ** 0.5)
    return Examples(source, target, np.array(weight) / np.mean(weight))


def padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Token numbers [rows, longest]."""
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def train(
    examples: Examples, sizes: tuple[int, int], epochs: int, tokens: int, seed: int
) -> token_twins.EnDeGru:
    """Train from scratch. Nothing tells the attention where to look.

    One target word in ten is read as unknown, so that the source is looked at.
    """
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    network = token_twins.EnDeGru(sizes)
    token_twins.small_embeddings(network.source_embedding, network.target_embedding)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=3e-3, weight_decay=1e-2, betas=(0.9, 0.98)
    )
    plan = [batch for _ in range(epochs) for batch in examples.batches(tokens, draw)]
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min(1.0, (s + 1) / 100) * 0.5 * (1 + math.cos(math.pi * s / len(plan)))
    )
    total = 0.0
    for step, batch in enumerate(plan, start=1):
        source = token_twins.some_unknown(padded([examples.source[i] for i in batch]), 0.05)
        target = padded([examples.target[i] for i in batch])
        fed, wanted = token_twins.some_unknown(target[:, :-1], 0.1), target[:, 1:]
        real = wanted != token_twins.PAD
        logits = network.next_words(network.read(source, fed)[real])
        loss = F.cross_entropy(logits, wanted[real], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total += loss.item()
        if step % 200 == 0:
            print(f"step {step} of {len(plan)}: loss {total / 200:.3f}", flush=True)
            total = 0.0
    return network


def write_samples() -> list[dict[str, object]]:
    """Sentences and the translations that they should have, both as tokens."""
    texts, translations = zip(*SAMPLES, strict=True)
    english, german = (
        token_data.load_tokenizer(NAME, f"tokenizer.{language}.json") for language in ("en", "de")
    )
    target = token_data.encode(german, translations)
    feeds = {
        "source_ids": token_data.encode(english, texts),
        "target_ids": token_data.without_end(target),
    }
    return token_data.write_samples(NAME, texts, translations, feeds)


def write(network: token_twins.EnDeGru) -> None:
    """Export with the lengths of the sentences, which the exporter cannot give to a GRU node."""
    folder = common.ROOT / NAME / "inputs"
    example = {name: np.load(folder / f"{name}.npy") for name in ("source_ids", "target_ids")}
    axes = {"source_ids": ["batch", "source"], "target_ids": ["batch", "target"]}
    model = export.to_onnx(network, axes, example, ["batch", "target"])
    graph = model.graph
    encoder, decoder = (node for node in graph.node if node.op_type == "GRU")
    for node, module in ((encoder, "encoder"), (decoder, "decoder")):
        for index, kind in enumerate("WRB", start=1):
            (weight,) = (w for w in graph.initializer if w.name == node.input[index])
            weight.name = node.input[index] = f"{module}.{kind}"
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(token_twins.PAD), "/lengths/padding"),
            numpy_helper.from_array(np.array([1]), "/lengths/axes"),
        ]
    )
    int32 = onnx.TensorProto.INT32
    for index, node in enumerate(
        [
            helper.make_node("Equal", ["source_ids", "/lengths/padding"], ["/lengths/padded"]),
            helper.make_node("Not", ["/lengths/padded"], ["/lengths/real"]),
            helper.make_node("Cast", ["/lengths/real"], ["/lengths/ones"], to=int32),
            helper.make_node(
                "ReduceSum", ["/lengths/ones", "/lengths/axes"], ["/lengths"], keepdims=0
            ),
        ]
    ):
        node.name = f"/lengths/{node.op_type}"
        graph.node.insert(index, node)
    encoder.input[4] = "/lengths"
    export.add_probabilities(model)
    export.check(describe.write(NAME, model), network, example)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=datasets.shared_data())
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=512, help="of the target in a batch")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    folder = common.ROOT / NAME
    folder.mkdir(exist_ok=True)
    texts = token_data.en_de("train", args.data)
    tokenizers_ = []
    for language, side, template in zip(
        ("en", "de"), texts, ("$A [EOS]", "[BOS] $A [EOS]"), strict=True
    ):
        tokenizers_.append(token_data.sentence_tokenizer(side, LEAST, template))
        tokenizers_[-1].save(str(folder / f"tokenizer.{language}.json"))
    sizes = [tokenizer.get_vocab_size() for tokenizer in tokenizers_]
    german = tokenizers_[1]
    common.write_labels(NAME, [german.id_to_token(i) for i in range(sizes[1])])
    held_out = {
        tuple(words) for words in token_data.words_of(token_data.en_de("test", args.data)[0])
    }
    examples = examples_of(*texts, held_out)
    print(f"{len(examples)} pairs, {sum(map(len, examples.target))} words of the target")
    network = train(examples, (sizes[0], sizes[1]), args.epochs, args.tokens, args.seed)
    samples = write_samples()
    write(network)
    describe.record(
        NAME,
        made_with=export.MADE_WITH | {"tokenizers": tokenizers.__version__},
        dataset=DATASET,
        train=len(examples),
        test=token_data.en_de_split(args.data),
        samples=samples,
    )


if __name__ == "__main__":
    main()
