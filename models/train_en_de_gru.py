"""Train and export models/en_de_gru, which translates short sentences (some minutes)."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import alignment
import common
import datasets
import describe
import export
import numpy as np
import onnx
import token_data
import token_twins
import tokenizers
import torch
from onnx import helper, numpy_helper
from torch import Tensor
from torch.nn import functional as F

NAME = "en_de_gru"
PIECES = 3000  # in each vocabulary
DATASET = {
    "name": "English-German sentence pairs of at most 32 word pieces, every twentieth for the test",
    "source": "demonstration data of OpenNMT-py (Europarl, news and web)",
    "licence": "MIT",
}
# Written for this model; each word of them is frequent in the training pairs.
SAMPLES = [
    ("i thank the commissioner .", "ich danke dem kommissar ."),
    (
        "the european parliament has adopted the report .",
        "das parlament hat den bericht angenommen .",
    ),
    ("this is a very important question .", "dies ist eine sehr wichtige frage ."),
    ("we need a new policy .", "wir brauchen eine neue politik ."),
    ("the hotel is located in the centre of the city .", "das hotel liegt im zentrum der stadt ."),
    ("i can not accept it .", "ich kann das nicht akzeptieren ."),
]


def pairs_of(split: datasets.Split) -> list[alignment.Pair]:
    """Source tokens and the target tokens that follow, without padding."""
    return [
        (source[source != 0], following[following != 0])
        for source, following in zip(split.feeds["source_ids"], split.labels, strict=True)
    ]


def likely_alignments(split: datasets.Split, table: common.Floats) -> Tensor:
    """p(source | next target) of every pair [n, target, source], by IBM model 1."""
    n, source = split.feeds["source_ids"].shape
    likely = np.zeros((n, split.labels.shape[1], source), np.float32)
    for row, pair in enumerate(pairs_of(split)):
        p = alignment.posterior(table, pair).T
        likely[row, : p.shape[0], : p.shape[1]] = p
    return torch.from_numpy(likely)


def start_from_dictionary(network: token_twins.EnDeGru, table: common.Floats) -> None:
    """Begin as a dictionary: an English word is the mean of the German ones it may stand for.

    With E the random vectors of German words and P the translation table, x = P E, and the
    attended words are passed on unchanged, so that logits begin near tanh(Σ a x) E'.
    """
    target, source = network.target_embedding.weight.data, network.source_embedding.weight.data
    target.normal_(std=0.3)
    target[token_twins.PAD] = 0
    source.copy_(torch.from_numpy(table) @ target)
    source[token_twins.PAD] = 0
    width = target.shape[1]
    network.mix.weight.data[-width:] += torch.eye(width)


def batches(lengths: Tensor, batch: int) -> Iterator[Tensor]:
    """Indices of pairs of like length, in random order."""
    order = (lengths + 4 * torch.rand(len(lengths))).argsort()
    parts = order.split(batch)
    return (parts[i] for i in torch.randperm(len(parts)))


def train(split: datasets.Split, epochs: int, batch: int, seed: int) -> token_twins.EnDeGru:
    """Train from scratch, and the attention to look where IBM model 1 does.

    With so few pairs, attention finds no alignment by itself; being guided (Chen et al. 2016) it
    does. One target word in seven is read as unknown, so that the source is looked at.
    """
    torch.manual_seed(seed)
    source, target = (torch.from_numpy(split.feeds[f"{side}_ids"]) for side in ("source", "target"))
    following = torch.from_numpy(split.labels)
    table = alignment.translation_table(pairs_of(split), (PIECES, PIECES))
    likely = likely_alignments(split, table)
    network = token_twins.EnDeGru((PIECES, PIECES))
    start_from_dictionary(network, table)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=3e-3, weight_decay=1e-3, betas=(0.9, 0.98)
    )
    steps = epochs * math.ceil(len(split) / batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min(1.0, (s + 1) / 50) * 0.5 * (1 + math.cos(math.pi * s / steps))
    )
    lengths = (following != 0).sum(1).float()
    for epoch in range(epochs):
        network.train()
        total = 0.0
        for chosen in batches(lengths, batch):
            words = token_twins.trim(source[chosen])
            n, s = int(lengths[chosen].max()), words.shape[1]
            fed = token_twins.some_unknown(target[chosen, :n], 0.15)
            wanted = following[chosen, :n]
            known = wanted != token_twins.PAD
            logits, attention = network.translate(words, fed)
            loss = F.cross_entropy(logits[known], wanted[known], label_smoothing=0.1)
            guide = -(likely[chosen, :n, :s] * (attention + 1e-6).log()).sum(2)[known].mean()
            optimizer.zero_grad()
            (loss + guide).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        print(
            f"epoch {epoch + 1}: loss {total / len(split):.3f}, guide {guide.item():.3f}",
            flush=True,
        )
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
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    folder = common.ROOT / NAME
    folder.mkdir(exist_ok=True)
    english, german = token_data.en_de("train", args.data)
    for language, texts, template in (
        ("en", english, "$A [EOS]"),
        ("de", german, "[BOS] $A [EOS]"),
    ):
        file = folder / f"tokenizer.{language}.json"
        if not file.exists():  # its trainer decides ties in another way every time
            token_data.piece_tokenizer(texts, PIECES, template).save(str(file))
    data = token_data.en_de_split("train", args.data)
    network = train(data, args.epochs, args.batch, args.seed)
    samples = write_samples()
    write(network)
    describe.record(
        NAME,
        made_with=export.MADE_WITH | {"tokenizers": tokenizers.__version__},
        dataset=DATASET,
        train=len(data),
        test=token_data.en_de_split("test", args.data),
        samples=samples,
    )


if __name__ == "__main__":
    main()
