"""Small networks of the architectures that users export, and inputs for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 16),
        nn.GELU(),
        nn.LayerNorm(16),
        nn.Linear(16, 16),
        nn.BatchNorm1d(16),
        nn.SiLU(),
        nn.Dropout(0.5),
        nn.Linear(16, 3),
    )


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=4),
        nn.GroupNorm(2, 8),
        nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
        nn.LogSoftmax(dim=-1),
    )


class Transformer(nn.Module):
    """Layers of torch's own, which take its fused path in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(4, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.project(x)).mean(dim=1))


class TextTransformer(nn.Module):
    """Token numbers and a mask of the padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8, padding_idx=0)
        self.position = nn.Parameter(0.1 * torch.randn(1, 16, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.position[:, : tokens.shape[1]]
        x = self.encoder(x, src_key_padding_mask=tokens == 0)
        kept = (tokens != 0).unsqueeze(-1).to(x.dtype)
        return self.head((x * kept).sum(dim=1) / kept.sum(dim=1))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, past_key: Tensor, past_value: Tensor) -> Any:
        batch, length, width = x.shape
        parts = self.qkv(self.before(x)).chunk(3, dim=-1)
        q, k, v = (
            p.reshape(batch, length, self.heads, width // self.heads).transpose(1, 2) for p in parts
        )
        k, v = torch.cat([past_key, k], dim=2), torch.cat([past_value, v], dim=2)
        visible = torch.ones(length, k.shape[2], dtype=torch.bool).tril(past_key.shape[2])
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
        x = x + self.down(functional.gelu(self.up(self.between(x)), approximate="tanh"))
        return x, k, v


class Decoder(nn.Module):
    """GPT-2 in small: tied embedding, learned positions, keys and values of the past."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(13, 8)
        self.position = nn.Embedding(16, 8)
        self.blocks = nn.ModuleList([Block(8, 2) for _ in range(2)])
        self.norm = nn.LayerNorm(8)

    def forward(
        self, tokens: Tensor, key0: Tensor, value0: Tensor, key1: Tensor, value1: Tensor
    ) -> Any:
        start = key0.shape[2]
        at = torch.arange(start, start + tokens.shape[1])
        x = self.embedding(tokens) + self.position(at)
        x, k0, v0 = self.blocks[0](x, key0, value0)
        x, k1, v1 = self.blocks[1](x, key1, value1)
        logits = functional.linear(self.norm(x), self.embedding.weight)
        return logits, k0, v0, k1, v1


class Recurrent(nn.Module):
    """Two bidirectional LSTM layers and a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 6, num_layers=2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(12, 5, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden, _ = self.lstm(x)
        return self.head(self.gru(hidden)[0][:, -1])


class DenseGraph(nn.Module):
    """Graph convolutions with an adjacency matrix per example."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, nodes: Tensor, adjacency: Tensor) -> Tensor:
        a = adjacency + torch.eye(adjacency.shape[-1], dtype=adjacency.dtype)
        scale = a.sum(dim=-1, keepdim=True).rsqrt()
        a = scale * a * scale.transpose(-1, -2)
        x = torch.tanh(a @ self.first(nodes))
        return self.head(torch.tanh(a @ self.second(x)).mean(dim=1))


class SparseGraph(nn.Module):
    """Messages along a list of edges, added up where they arrive; attention among neighbours."""

    def __init__(self, add: str) -> None:
        super().__init__()
        self.add = add
        self.message = nn.Linear(8, 8)
        self.score = nn.Linear(8, 1)
        self.update = nn.Linear(12, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        source, target = edges[0], edges[1]
        pairs = torch.cat([nodes[source], nodes[target]], dim=-1)
        weight = functional.leaky_relu(self.score(pairs)).exp()
        total = self.summed(weight, target, nodes)
        arrived = self.summed(
            weight / total[target] * torch.tanh(self.message(pairs)), target, nodes
        )
        x = torch.tanh(self.update(torch.cat([nodes, arrived], dim=-1)))
        return self.head(x.mean(dim=0, keepdim=True))

    def summed(self, messages: Tensor, target: Tensor, nodes: Tensor) -> Tensor:
        total = torch.zeros(nodes.shape[0], messages.shape[1], dtype=nodes.dtype)
        if self.add == "index_add":
            return total.index_add(0, target, messages)
        return total.scatter_add(0, target.unsqueeze(-1).expand_as(messages), messages)


class UNet(nn.Module):
    """Down, up by a transposed convolution or by interpolation, and the skipped features."""

    def __init__(self, up: str) -> None:
        super().__init__()
        self.down1 = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.InstanceNorm2d(4), nn.ReLU())
        self.down2 = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ELU())
        if up == "transposed":
            self.up: nn.Module = nn.ConvTranspose2d(8, 4, 2, stride=2)
        else:
            self.up = nn.Sequential(
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                nn.Conv2d(8, 4, 1),
            )
        self.out = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        skipped = self.down1(image)
        x = self.up(self.down2(functional.max_pool2d(skipped, 2)))
        return self.out(torch.cat([skipped, x], dim=1))


class Net(NamedTuple):
    """A network with what its export needs.

    Args:
        build: Makes the module.
        inputs: Makes inputs of so many rows, by name.
        outputs: Names of the outputs; the first is explained.
        dynamic: Open axes by input, besides that of the batch, with their names.
        batch: Whether axis 0 of every input is a batch axis.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[int], dict[str, Tensor]]
    outputs: tuple[str, ...] = ("logits",)
    dynamic: dict[str, dict[int, str]] = {}  # noqa: RUF012
    batch: bool = True


def decoder_inputs(rows: int) -> dict[str, Tensor]:
    past = {n: torch.randn(rows, 2, 3, 4) for n in ("key0", "value0", "key1", "value1")}
    return {"tokens": torch.randint(0, 13, (rows, 4)), **past}


def text_inputs(rows: int) -> dict[str, Tensor]:
    tokens = torch.randint(1, 11, (rows, 5))
    tokens[-1, 3:] = 0
    return {"tokens": tokens}


def dense_graph_inputs(rows: int) -> dict[str, Tensor]:
    links = (torch.rand(rows, 5, 5) < 0.4).to(torch.float32)
    return {
        "nodes": torch.randn(rows, 5, 4),
        "adjacency": torch.maximum(links, links.transpose(1, 2)),
    }


def sparse_graph_inputs(rows: int) -> dict[str, Tensor]:
    count = 5 * rows
    return {"nodes": torch.randn(count, 4), "edges": torch.randint(0, count, (2, 3 * count))}


NETS: dict[str, Net] = {
    "mlp": Net(mlp, lambda rows: {"features": torch.randn(rows, 6)}),
    "cnn": Net(cnn, lambda rows: {"image": torch.randn(rows, 2, 8, 8)}),
    "transformer": Net(Transformer, lambda rows: {"x": torch.randn(rows, 5, 4)}),
    "text_transformer": Net(TextTransformer, text_inputs, dynamic={"tokens": {1: "length"}}),
    "decoder": Net(
        Decoder,
        decoder_inputs,
        ("logits", "present_key0", "present_value0", "present_key1", "present_value1"),
        {"tokens": {1: "length"}} | {n: {2: "past"} for n in ("key0", "value0", "key1", "value1")},
    ),
    "lstm": Net(Recurrent, lambda rows: {"x": torch.randn(rows, 5, 4)}),
    "dense_graph": Net(DenseGraph, dense_graph_inputs),
    "scatter_graph": Net(
        lambda: SparseGraph("scatter_add"),
        sparse_graph_inputs,
        dynamic={"nodes": {0: "nodes"}, "edges": {1: "edges"}},
        batch=False,
    ),
    "index_graph": Net(
        lambda: SparseGraph("index_add"),
        sparse_graph_inputs,
        dynamic={"nodes": {0: "nodes"}, "edges": {1: "edges"}},
        batch=False,
    ),
    "unet_transposed": Net(
        lambda: UNet("transposed"), lambda rows: {"image": torch.randn(rows, 2, 8, 8)}, ("mask",)
    ),
    "unet_upsample": Net(
        lambda: UNet("bilinear"), lambda rows: {"image": torch.randn(rows, 2, 8, 8)}, ("mask",)
    ),
}


def seeded(name: str, rows: int = 2) -> tuple[nn.Module, dict[str, Tensor]]:
    """The module in evaluation mode and its inputs, the same at every call."""
    torch.manual_seed(sum(map(ord, name)))
    module = NETS[name].build()
    with torch.no_grad():
        for buffer_name, buffer in module.named_buffers():
            if "running_mean" in buffer_name:
                buffer.normal_()
            if "running_var" in buffer_name:
                buffer.uniform_(0.5, 2.0)
    return module.eval(), NETS[name].inputs(rows)
