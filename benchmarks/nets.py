"""The networks of `honesty.py`: small ones, seeded and briefly trained, of the kinds in use.

Each is a `Subject`: an ONNX model as torch exports it, inputs, and the same function in float64
torch, whose gradients are the reference.
"""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

MODELS = Path(__file__).parents[1] / "models"
Array = np.ndarray


@dataclass
class Subject:
    """A model with inputs, and its gradients by other means than igrt.

    Args:
        name: What it is called in the table.
        model: As exported.
        feeds: Inputs, [examples, …] by name.
        ends: The attributed tensor at the input, [examples, …] float64.
        baseline: Where paths begin, one example.
        scores: From example number and points, [points, …], to outputs, [points, classes].
        of: Explained output; None for the only one.
        options: Further arguments of `Explainer.explain`.
    """

    name: str
    model: onnx.ModelProto | Path
    feeds: dict[str, Array]
    ends: Array
    baseline: Array
    scores: Callable[[int, Tensor], Tensor]
    of: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def gradient(self, example: int, target: int, alphas: Array) -> Array:
        """dF/dx at points of the path of one example, [alphas, features] float64."""
        found = []
        b = torch.from_numpy(self.baseline.astype(np.float64))
        d = torch.from_numpy(self.ends[example].astype(np.float64)) - b
        for part in np.array_split(alphas, max(1, len(alphas) // 100)):
            at = torch.from_numpy(part).reshape(-1, *(1,) * d.ndim)
            points = (b + at * d).requires_grad_()
            scores = self.scores(example, points)
            (slope,) = torch.autograd.grad(scores[:, target].sum(), points)
            found.append(slope.reshape(len(part), -1).numpy())
        return np.concatenate(found)


def digits() -> tuple[Tensor, Tensor]:
    """Scikit-learn's 8 x 8 digits, [1797, 64] in [0, 1], shuffled, and their labels."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return torch.from_numpy(x[order] / 16).float(), torch.from_numpy(y[order])


def train(
    net: nn.Module,
    inputs: tuple[Tensor, ...],
    wanted: Tensor,
    *,
    epochs: int,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> nn.Module:
    """A few epochs of Adam, as seeded."""
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(wanted)).split(64):
            optimiser.zero_grad()
            loss(net(*(i[rows] for i in inputs)), wanted[rows]).backward()
            optimiser.step()
    return net.eval()


def export(net: nn.Module, example: tuple[Tensor, ...], names: list[str]) -> onnx.ModelProto:
    """What torch's exporter makes of a module, with a free batch axis."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this exporter is older than the other one
        torch.onnx.export(
            net,
            example,
            stream,
            opset_version=18,
            input_names=names,
            output_names=["y"],
            dynamic_axes={n: {0: "batch"} for n in (*names, "y")},
            dynamo=False,
        )
    return onnx.load_from_string(stream.getvalue())


class Attention(nn.Module):
    """Multi-head attention and an MLP, normalised before (ViT) or after (BERT)."""

    def __init__(self, width: int, *, before: bool) -> None:
        super().__init__()
        self.before = before
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def mix(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, 4, d // 4).permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(q @ k.transpose(-2, -1) * (d // 4) ** -0.5, dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(b, t, d))

    def forward(self, x: Tensor) -> Tensor:
        for norm, part in zip(self.norms, (self.mix, self.widen), strict=True):
            x = x + part(norm(x)) if self.before else norm(x + part(x))
        return x

    def widen(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))


class VisionTransformer(nn.Module):
    """16 patches of 2 x 2, a class token, three layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 32, 2, 2)
        self.token = nn.Parameter(torch.randn(1, 1, 32) * 0.02)
        self.place = nn.Parameter(torch.randn(1, 17, 32) * 0.02)
        self.layers = nn.Sequential(*(Attention(32, before=True) for _ in range(3)))
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.token.expand(x.shape[0], -1, -1), patches], 1) + self.place
        return self.head(self.norm(self.layers(h))[:, 0])


class Bert(nn.Module):
    """Token numbers to two classes: embedding, two layers, a pooler on the first token."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.place = nn.Embedding(40, 32), nn.Parameter(torch.randn(1, 12, 32) * 0.1)
        self.norm = nn.LayerNorm(32)
        self.layers = nn.Sequential(*(Attention(32, before=False) for _ in range(2)))
        self.pool, self.head = nn.Linear(32, 32), nn.Linear(32, 2)

    def encode(self, rows: Tensor) -> Tensor:
        h = self.layers(self.norm(rows + self.place))
        return self.head(torch.tanh(self.pool(h[:, 0])))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.encode(self.words(tokens))


class Lstm(nn.Module):
    """A digit, row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 32, num_layers=2, batch_first=True), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class GraphNet(nn.Module):
    """Two graph convolutions with ReLU (Kipf and Welling, 2017) and a mean over the nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 32), nn.Linear(32, 32)
        self.head = nn.Linear(32, 3)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        a = adjacency + torch.eye(adjacency.shape[-1], dtype=adjacency.dtype)
        a = a / a.sum(-1, keepdim=True)
        h = torch.relu(self.second(a @ torch.relu(self.first(a @ x))))
        return self.head(h.mean(1))


def _subject(name: str, net: nn.Module, feeds: dict[str, Tensor], **options: Any) -> Subject:
    """A net whose first input is attributed, from a baseline of zeros; the others stay."""
    model = export(net, tuple(f[:1] for f in feeds.values()), list(feeds))
    (first, x), *rest = feeds.items()
    exact = net.double()

    def scores(example: int, points: Tensor) -> Tensor:
        more = [
            f[example : example + 1].double().expand(len(points), *f.shape[1:]) for _, f in rest
        ]
        return exact(points, *more)

    arrays = {n: f.numpy() for n, f in feeds.items()}
    return Subject(name, model, arrays, arrays[first], np.zeros(x.shape[1:]), scores, **options)


def relu_regression(count: int) -> Subject:
    """A ReLU MLP on scikit-learn's diabetes table."""
    from sklearn.datasets import load_diabetes

    torch.manual_seed(1)
    x, y = load_diabetes(return_X_y=True)
    table = torch.from_numpy(x / x.std(0)).float()
    wanted = torch.from_numpy((y - y.mean()) / y.std()).float()[:, None]
    net = nn.Sequential(
        *(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    )
    train(net, (table,), wanted, epochs=40, loss=F.mse_loss)
    return _subject("ReLU regression MLP", net, {"x": table[:count]})


def vit(count: int) -> Subject:
    """A vision transformer on digits."""
    torch.manual_seed(2)
    x, y = digits()
    x = x.reshape(-1, 1, 8, 8)
    return _subject("ViT", train(VisionTransformer(), (x,), y, epochs=6), {"x": x[-count:]})


def bert(count: int) -> Subject:
    """A BERT-style classifier: are there more tokens of the first half of the vocabulary?"""
    torch.manual_seed(3)
    tokens = torch.randint(1, 40, (2000, 12))
    tokens[:, 0] = 0
    wanted = ((tokens[:, 1:] < 20).sum(1) > 5).long()
    net = train(Bert(), (tokens,), wanted, epochs=6)
    model = export(net, (tokens[:1],), ["tokens"])
    rows = net.words(tokens[:count]).detach().numpy()
    exact = net.double()
    feeds = {"tokens": tokens[:count].numpy()}
    return Subject(
        *("BERT-style", model, feeds, rows, np.zeros(rows.shape[1:])),
        lambda _, points: exact.encode(points),
    )


def lstm(count: int) -> Subject:
    """An LSTM of two layers on digits."""
    torch.manual_seed(4)
    x, y = digits()
    x = x.reshape(-1, 8, 8)
    return _subject("LSTM", train(Lstm(), (x,), y, epochs=8), {"x": x[-count:]})


def graph_net(count: int) -> Subject:
    """A graph net on random graphs of 12 nodes: few, some or many edges between like nodes?"""
    torch.manual_seed(5)
    x = torch.randn(1500, 12, 6)
    a = torch.triu((torch.rand(1500, 12, 12) < 0.25).float(), 1)
    a = a + a.transpose(1, 2)
    like = ((x @ x.transpose(1, 2)) * a).sum((1, 2)) / 12
    wanted = torch.bucketize(like, torch.quantile(like, torch.tensor([1 / 3, 2 / 3])))
    net = train(GraphNet(), (x, a), wanted, epochs=15)
    subject = _subject("graph net", net, {"nodes": x[:count], "adjacency": a[:count]})
    subject.options["wrt"] = ["nodes"]
    return subject


def saturated(count: int) -> Subject:
    """A ReLU MLP on digits, sure of itself, with the softmax explained."""
    torch.manual_seed(6)
    x, y = digits()
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
    net.extend([nn.Linear(64, 10)])
    train(net, (x,), y, epochs=40)
    with torch.no_grad():
        last = net[-1]
        last.weight *= 5
        last.bias *= 5
    net.extend([nn.Softmax(-1)])
    return _subject("saturated softmax", net, {"x": x[-count:]})


def shipped(name: str) -> Callable[[int], Subject]:
    """One of the shipped models with its own sample inputs."""

    def load(count: int) -> Subject:
        import igrt
        from igrt.inputs import Preprocess, read

        folder = MODELS / name
        file = folder / f"{name}.onnx"
        (spec,) = igrt.Explainer(file, of="logits").inputs
        how = folder / "preprocess.toml"
        preprocess = Preprocess.named(str(how)) if how.exists() else None
        files = sorted((folder / "inputs").iterdir())
        x = np.concatenate([read(f, spec, preprocess).array for f in files])
        baseline = x.mean(0) if name == "breast_cancer_mlp" else np.zeros(x.shape[1:])
        twin = _twins().load_twin(name).double()
        arrays = {spec.name: x[:count]}
        baseline = baseline.astype(np.float32)
        return Subject(
            *(name, file, arrays, x[:count], baseline, lambda _, p: twin(p)), of="logits"
        )

    return load


def _twins() -> Any:
    spec = importlib.util.spec_from_file_location("twins", MODELS / "twins.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NETS: dict[str, Callable[[int], Subject]] = {
    "inception_cifar": shipped("inception_cifar"),
    "digits_cnn": shipped("digits_cnn"),
    "breast_cancer_mlp": shipped("breast_cancer_mlp"),
    "relu_regression": relu_regression,
    "vit": vit,
    "bert": bert,
    "lstm": lstm,
    "graph_net": graph_net,
    "saturated": saturated,
}
