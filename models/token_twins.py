"""The torch networks behind the shipped token models, rebuilt from their files on demand.

As `twins.py`, which holds those of pictures and tables: `load_twin(name)` takes the weights of the
shipped ONNX file, the `train_*.py` scripts train the same classes, and this file stands alone.

Token 0 is padding in every vocabulary. Padding changes no output: its embedding is zero, pooling
and attention leave it out, and the recurrent networks stop at the length of their row.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parent
PAD, UNKNOWN = 0, 1


class Dense(nn.Module):
    """y = x W + b over the last axis. Unlike nn.Linear, its W is exported under its own name."""

    def __init__(self, features_in: int, features_out: int) -> None:
        super().__init__()
        linear = nn.Linear(features_in, features_out)
        self.weight = nn.Parameter(linear.weight.detach().T.contiguous())
        self.bias = nn.Parameter(linear.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """[..., features_in] -> [..., features_out]."""
        return torch.matmul(x, self.weight) + self.bias


def small_embeddings(*embeddings: nn.Embedding) -> None:
    """Start with vectors near zero, so that what is never trained says little."""
    for embedding in embeddings:
        nn.init.normal_(embedding.weight, std=0.1)
        embedding.weight.data[PAD] = 0


def trim(ids: Tensor) -> Tensor:
    """Drop the columns in which every row is padded."""
    return ids[:, : int((ids != PAD).sum(1).max())]


def some_unknown(ids: Tensor, share: float) -> Tensor:
    """Replace a share of the words, drawn at random, by the unknown one."""
    return ids.masked_fill((torch.rand(ids.shape) < share) & (ids != PAD), UNKNOWN)


class TrecCnn(nn.Module):
    """Convolutions over word embeddings, ReLU and maximum over the words (Kim 2014)."""

    def __init__(self, words: int, width: int = 64, filters: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=PAD)
        self.conv1 = nn.Conv1d(width, filters, 1)
        self.conv3 = nn.Conv1d(width, filters, 3, padding=1)
        self.conv5 = nn.Conv1d(width, filters, 5, padding=2)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(3 * filters, 6)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Ids [batch, words] -> logits [batch, 6]."""
        padding = (input_ids == PAD)[:, None]
        x = self.dropout(self.embedding(input_ids)).transpose(1, 2)
        convs = (self.conv1, self.conv3, self.conv5)
        # 0 is the least that a ReLU gives, so padding never is the maximum
        pooled = [F.relu(conv(x)).masked_fill(padding, 0.0).amax(2) for conv in convs]
        logits: Tensor = self.fc(self.dropout(torch.cat(pooled, 1)))
        return logits


class Sst2Attention(nn.Module):
    """Two gated convolutions and attention over the words; smooth, and words act on one another.

    x ← x + a ⊙ σ(b) with (a, b) = conv(x), twice; logits = Σ softmax(x v) x W + b. The gates are
    the linear units of Dauphin et al. 2017.
    """

    def __init__(self, words: int, width: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width, padding_idx=PAD)
        self.conv1 = nn.Conv1d(width, 2 * width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, 2 * width, 3, padding=1)
        self.score = Dense(width, 1)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(width, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Ids and mask [batch, words] -> logits [batch, 2]: negative, positive."""
        real = attention_mask.to(torch.float32)[:, None]
        x = self.dropout(self.embedding(input_ids)).transpose(1, 2) * real
        x = (x + F.glu(self.conv1(x), 1)) * real
        x = self.dropout(x + F.glu(self.conv2(x), 1)).transpose(1, 2)
        scores = self.score(x)[..., 0].masked_fill(attention_mask == 0, float("-inf"))
        seen = torch.matmul(torch.softmax(scores, 1)[:, None], x)[:, 0]
        logits: Tensor = self.fc(self.dropout(seen))
        return logits


class EnDeGru(nn.Module):
    """Encoder and decoder of gated recurrent units with attention, fed with the target so far.

    s = BiGRU(x), h = GRU(y), a = softmax(h W s'), o = tanh(W_o [h, Σ a s, Σ a x]), o E' + b:
    the global attention of Luong, Pham and Manning 2015, with the attended words themselves beside
    the encoder's states (after Nguyen and Chiang 2018) and E shared with the decoder's input.
    """

    def __init__(self, words: tuple[int, int], width: int = 96, hidden: int = 128) -> None:
        super().__init__()
        source, target = words
        self.source_embedding = nn.Embedding(source, width, padding_idx=PAD)
        self.target_embedding = nn.Embedding(target, width, padding_idx=PAD)
        self.encoder = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.decoder = nn.GRU(width, hidden, batch_first=True)
        self.start = Dense(2 * width, hidden)
        self.query = Dense(hidden, 2 * width)
        self.mix = Dense(hidden + 3 * width, width)
        self.bias = nn.Parameter(torch.zeros(target))
        self.dropout = nn.Dropout(0.25)

    def forward(self, source_ids: Tensor, target_ids: Tensor) -> Tensor:
        """Ids [batch, source], [batch, target] -> logits [batch, target, words] of what follows."""
        o = self.read(source_ids, target_ids)
        # E o' and not o E': the exporter would store a transposed copy of the embedding
        logits = torch.matmul(self.target_embedding.weight, o.transpose(1, 2)).transpose(1, 2)
        return logits + self.bias

    def read(self, source_ids: Tensor, target_ids: Tensor) -> Tensor:
        """o [batch, target, width], what the next word is told by."""
        x = self.dropout(self.source_embedding(source_ids))
        states, last = self.encode(x, source_ids)
        y = self.dropout(self.target_embedding(target_ids))
        h, _ = self.decoder(y, torch.tanh(self.start(last))[None])
        h = self.dropout(h)
        scores = torch.matmul(self.query(h), states.transpose(1, 2))
        scores = scores.masked_fill((source_ids == PAD)[:, None], float("-inf"))
        seen = torch.matmul(torch.softmax(scores, 2), torch.cat([states, x], 2))
        return self.dropout(torch.tanh(self.mix(torch.cat([h, seen], 2))))

    def next_words(self, o: Tensor) -> Tensor:
        """o [n, width] -> logits [n, words], as `forward` has them."""
        return F.linear(o, self.target_embedding.weight, self.bias)

    def encode(self, x: Tensor, source_ids: Tensor) -> tuple[Tensor, Tensor]:
        """States [batch, source, 2 width] of both directions, and the last [batch, 2 width]."""
        if torch.onnx.is_in_onnx_export():  # `sequence_lens` of the GRU node is set afterwards
            states, last = self.encoder(x)
        else:
            lengths = (source_ids != PAD).sum(1).cpu()
            packed = nn.utils.rnn.pack_padded_sequence(
                x, lengths, batch_first=True, enforce_sorted=False
            )
            out, last = self.encoder(packed)
            states, _ = nn.utils.rnn.pad_packed_sequence(
                out, batch_first=True, total_length=x.shape[1]
            )
        return states, last.transpose(0, 1).flatten(1)


NETWORKS: dict[str, type[nn.Module]] = {
    "en_de_gru": EnDeGru,
    "sst2_attention": Sst2Attention,
    "trec_cnn": TrecCnn,
}


def load_twin(name: str) -> nn.Module:
    """The torch network of a shipped model, with the weights of its ONNX file, in eval mode.

    Args:
        name: a key of `NETWORKS`.

    Returns:
        A module from token numbers, in the order of the file's inputs, to logits.

    Raises:
        RuntimeError: a parameter has no initializer of that name and shape, or the reverse.
    """
    graph = onnx.load(ROOT / name / f"{name}.onnx").graph
    # Copied, because torch refuses to share memory that NumPy holds read-only.
    weights = {
        w.name: torch.from_numpy(onnx.numpy_helper.to_array(w).copy())
        for w in graph.initializer
        if not w.name.startswith("/")  # constants, not parameters
    }
    if name == "en_de_gru":
        for recurrent in ("encoder", "decoder"):
            weights |= gru_parameters(recurrent, weights)
            for kind in "WRB":
                del weights[f"{recurrent}.{kind}"]
        words = (len(weights["source_embedding.weight"]), len(weights["target_embedding.weight"]))
        network: nn.Module = EnDeGru(words)
    else:
        network = NETWORKS[name](len(weights["embedding.weight"]))
    network.load_state_dict(weights)
    return network.eval()


def gru_parameters(name: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters of an nn.GRU from W, R, B of a GRU node, whose gates are z r h in ONNX."""
    found = {}
    for direction, suffix in enumerate(("", "_reverse")[: len(weights[f"{name}.W"])]):
        w, r, b = (weights[f"{name}.{kind}"][direction] for kind in "WRB")
        for key, gates in (
            ("weight_ih", w),
            ("weight_hh", r),
            ("bias_ih", b[: len(b) // 2]),
            ("bias_hh", b[len(b) // 2 :]),
        ):
            z, reset, h = gates.chunk(3)
            found[f"{name}.{key}_l0{suffix}"] = torch.cat([reset, z, h])
    return found
