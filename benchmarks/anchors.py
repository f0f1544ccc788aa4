"""The networks of `peers.py`: well-known architectures of full size, with seeded weights.

    python benchmarks/anchors.py [--net NAME …] [--models FOLDER]

Writes each as FOLDER/NAME.onnx, as torch exports it, with its weights beside it as NAME.pt, and
prints how much the outputs of onnxruntime differ from torch's. Weights are random but for the
shipped MLP, and calibrated on random pictures, so that activations neither vanish nor explode;
docs/performance.md says what else they were chosen by.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHIPPED = Path(__file__).parents[1] / "models"
REVISION = 1
"""Of the weights: a new number goes with whatever changes them."""

FOLDER = Path(tempfile.gettempdir()) / f"igrt-anchors-{REVISION}"
"""Where models are kept between runs."""


@dataclass
class Anchor:
    """A network with one example.

    Args:
        name: Key of `NETS`.
        file: The ONNX file.
        scores: From the attributed tensor, [batch, …], to logits, [batch, classes].
        feeds: The ONNX model's inputs of one example by name, [1, …].
        rows: The attributed tensor of the same example, [1, …] float32.
        baseline: Where the path begins, [1, …] float32.
        of: Explained output; None for the only one.
        smooth: Whether no operator has a kink.
    """

    name: str
    file: Path
    scores: nn.Module
    feeds: dict[str, np.ndarray]
    rows: Tensor
    baseline: Tensor
    of: str | None = None
    smooth: bool = False

    @cached_property
    def target(self) -> int:
        """The class with the highest score."""
        with torch.no_grad():
            return int(self.scores(self.rows).argmax())


# --- convolutional networks -----------------------------------------------------------------------


def unit(inner: int, outer: int, size: int = 1, stride: int = 1, **more: Any) -> nn.Sequential:
    """Convolution and batch normalisation; `act` is what follows, ReLU by default, None nothing."""
    act = more.pop("act", nn.ReLU)
    padding = (size - 1) // 2
    conv = nn.Conv2d(inner, outer, size, stride, padding, bias=False, **more)
    return nn.Sequential(conv, nn.BatchNorm2d(outer), *([act()] if act else []))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 beside a shortcut (He et al., 2016; the stride is in the 3x3)."""

    def __init__(self, inner: int, width: int, stride: int) -> None:
        super().__init__()
        outer = 4 * width
        self.body = nn.Sequential(
            unit(inner, width), unit(width, width, 3, stride), unit(width, outer, act=None)
        )
        same = stride == 1 and inner == outer
        self.skip = nn.Identity() if same else unit(inner, outer, 1, stride, act=None)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.skip(x))


def resnet50() -> nn.Module:
    """ResNet-50 (He et al., 2016)."""
    layers: list[nn.Module] = [unit(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    inner = 64
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for k in range(blocks):
            layers.append(Bottleneck(inner, width, stride if k == 0 else 1))
            inner = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


def vgg16() -> nn.Module:
    """VGG-16 (Simonyan and Zisserman, 2015), configuration D."""
    layers: list[nn.Module] = []
    inner = 3
    for width, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(convolutions):
            layers += [nn.Conv2d(inner, width, 3, padding=1), nn.ReLU()]
            inner = width
        layers.append(nn.MaxPool2d(2))
    head = (nn.Linear(25088, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU())
    return nn.Sequential(*layers, nn.Flatten(), *head, nn.Linear(4096, 1000))


class Inverted(nn.Module):
    """Widen, depthwise 3x3, narrow (Sandler et al., 2018)."""

    def __init__(self, inner: int, outer: int, stride: int, factor: int) -> None:
        super().__init__()
        wide = factor * inner
        self.body = nn.Sequential(
            *([unit(inner, wide, act=nn.ReLU6)] if factor > 1 else []),
            unit(wide, wide, 3, stride, groups=wide, act=nn.ReLU6),
            unit(wide, outer, act=None),
        )
        self.residual = stride == 1 and inner == outer

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.residual else self.body(x)


def mobilenet_v2() -> nn.Module:
    """MobileNetV2 (Sandler et al., 2018)."""
    layers: list[nn.Module] = [unit(3, 32, 3, 2, act=nn.ReLU6)]
    inner = 32
    plan = (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    )
    for factor, outer, blocks, stride in plan:
        for k in range(blocks):
            layers.append(Inverted(inner, outer, stride if k == 0 else 1, factor))
            inner = outer
    layers += [unit(320, 1280, act=nn.ReLU6), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(1280, 1000))


class Inception(nn.Module):
    """Four branches side by side (Szegedy et al., 2015), with batch normalisation."""

    def __init__(self, inner: int, *widths: int) -> None:
        super().__init__()
        one, three, three_out, five, five_out, pool = widths
        self.branches = nn.ModuleList(
            [
                unit(inner, one),
                nn.Sequential(unit(inner, three), unit(three, three_out, 3)),
                nn.Sequential(unit(inner, five), unit(five, five_out, 5)),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), unit(inner, pool)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def googlenet() -> nn.Module:
    """GoogLeNet (Szegedy et al., 2015), with batch normalisation and without the side heads."""

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        *(unit(3, 64, 7, 2), pool(), unit(64, 64), unit(64, 192, 3), pool()),
        Inception(192, 64, 96, 128, 16, 32, 32),
        Inception(256, 128, 128, 192, 32, 96, 64),
        pool(),
        Inception(480, 192, 96, 208, 16, 48, 64),
        Inception(512, 160, 112, 224, 24, 64, 64),
        Inception(512, 128, 128, 256, 24, 64, 64),
        Inception(512, 112, 144, 288, 32, 64, 64),
        Inception(528, 256, 160, 320, 32, 128, 128),
        nn.MaxPool2d(2, 2, ceil_mode=True),
        Inception(832, 256, 160, 320, 32, 128, 128),
        Inception(832, 384, 192, 384, 48, 128, 128),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 1000)),
    )


# --- transformers and recurrence ------------------------------------------------------------------


class Layer(nn.Module):
    """Multi-head attention and an MLP, normalised before (ViT) or after (BERT)."""

    def __init__(self, width: int, heads: int, *, before: bool) -> None:
        super().__init__()
        self.heads, self.before = heads, before
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def mix(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        size = d // self.heads
        q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, size).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, scale=size**-0.5)
        return self.out(mixed.transpose(1, 2).reshape(b, t, d))

    def widen(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))

    def forward(self, x: Tensor) -> Tensor:
        for norm, part in zip(self.norms, (self.mix, self.widen), strict=True):
            x = x + part(norm(x)) if self.before else norm(x + part(x))
        return x


class VisionTransformer(nn.Module):
    """ViT-B/16 (Dosovitskiy et al., 2021): 196 patches and a class token, 12 layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 768, 16, 16)
        self.token, self.place = nn.Embedding(1, 768), nn.Embedding(197, 768)
        self.layers = nn.Sequential(*(Layer(768, 12, before=True) for _ in range(12)))
        self.norm, self.head = nn.LayerNorm(768), nn.Linear(768, 1000)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).transpose(1, 2)
        token = self.token.weight[None].expand(x.shape[0], -1, -1)
        h = self.layers(torch.cat([token, patches], 1) + self.place.weight)
        return self.head(self.norm(h)[:, 0])


class Encoder(nn.Module):
    """BERT-base (Devlin et al., 2019) behind its lookup: 128 rows to two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.place, self.norm = nn.Embedding(128, 768), nn.LayerNorm(768)
        self.layers = nn.Sequential(*(Layer(768, 12, before=False) for _ in range(12)))
        self.pool, self.head = nn.Linear(768, 768), nn.Linear(768, 2)

    def forward(self, rows: Tensor) -> Tensor:
        h = self.layers(self.norm(rows + self.place.weight))
        return self.head(torch.tanh(self.pool(h[:, 0])))


class Bert(nn.Module):
    """The encoder with its lookup, as exported."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.encoder = nn.Embedding(30522, 768), Encoder()

    def forward(self, tokens: Tensor) -> Tensor:
        return self.encoder(self.words(tokens))


class Lstm(nn.Module):
    """Two layers of 128 over 64 steps of 32 features, to ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(32, 128, num_layers=2, batch_first=True), nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


# --- weights and examples -------------------------------------------------------------------------


def pictures(count: int, seed: int) -> Tensor:
    """Random pictures with the power spectrum of natural ones, [count, 3, 224, 224].

    Amplitudes fall as 1 / frequency (Field, 1987); zero mean, unit variance, half of it shared by
    the channels.
    """
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 4, 224, 224, generator=draw)
    rate = torch.fft.fftfreq(224)
    away = torch.sqrt(rate[:, None] ** 2 + rate[None, :] ** 2).clamp(min=1 / 224)
    x = torch.fft.ifft2(torch.fft.fft2(noise) / away).real
    x = (x[:, :3] + x[:, 3:]) / 2**0.5
    return (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True)


def calibrated(net: nn.Module) -> nn.Module:
    """Channels with the mean and the spread that they are given, on random pictures.

    A deep net of independent weights is chaotic, as no trained one is. Hence filters that are
    smooth in space, as those of trained nets are, and shifts that let most ReLUs pass.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            if isinstance(module, nn.Conv2d):
                _smooth(module.weight)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.3)
        elif isinstance(module, nn.BatchNorm2d):
            _draw(module.weight, module.bias)
            module.momentum = 1.0
    alone = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.bias is not None]
    hooks = [m.register_forward_hook(_normalised) for m in alone]
    with torch.no_grad():
        net.train()(pictures(16, seed=1))
    for hook in hooks:
        hook.remove()
    return net.eval()


def _smooth(weight: Tensor) -> None:
    """Filters that are a window of one sign but for a third of their size, [out, in, k, k]."""
    size = weight.shape[-1]
    window = torch.hann_window(size + 2, periodic=False)[1:-1]
    window = window[:, None] * window
    with torch.no_grad():
        spread = weight.std()
        weight *= 0.3 / (spread * size)
        weight += torch.randn(*weight.shape[:2], 1, 1) * window / window.norm()
        weight *= spread / weight.std()


def _draw(scale: Tensor, shift: Tensor) -> None:
    nn.init.uniform_(scale, 0.3, 0.7)
    nn.init.normal_(shift, 1.0, 0.5)


def _normalised(conv: nn.Module, _: Any, y: Tensor) -> Tensor:
    """What batch normalisation would make of the output, merged into the convolution."""
    scale, shift = torch.empty(2, y.shape[1])
    _draw(scale, shift)
    factor = scale / y.std((0, 2, 3))
    conv.weight *= factor[:, None, None, None]
    conv.bias.copy_(shift + (conv.bias - y.mean((0, 2, 3))) * factor)
    return y * factor[:, None, None] + (shift - y.mean((0, 2, 3)) * factor)[:, None, None]


def normal(net: nn.Module) -> nn.Module:
    """Normally distributed weights, 0.03 of width 768: attention is then neither flat nor hard."""
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.03)
            nn.init.normal_(module.bias, std=0.1)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.05)
    return net.eval()


def wide(net: nn.Module) -> nn.Module:
    """Twice torch's own weights: the gates of an untrained LSTM hardly move."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter *= 2
    return net.eval()


@dataclass(frozen=True)
class _Recipe:
    build: Callable[[], nn.Module]
    weights: Callable[[nn.Module], nn.Module]
    example: Callable[[], Tensor]
    input: str = "image"
    smooth: bool = False


def _tokens() -> Tensor:
    return torch.randint(1000, 30000, (1, 128), generator=torch.Generator().manual_seed(7))


def _series() -> Tensor:
    steps = torch.randn(1, 64, 32, generator=torch.Generator().manual_seed(7))
    return steps.cumsum(1) / 4


def _picture() -> Tensor:
    return pictures(1, seed=7)


_RECIPES = {
    "resnet50": _Recipe(resnet50, calibrated, _picture),
    "vgg16": _Recipe(vgg16, calibrated, _picture),
    "mobilenet_v2": _Recipe(mobilenet_v2, calibrated, _picture),
    "googlenet": _Recipe(googlenet, calibrated, _picture),
    "vit_b16": _Recipe(VisionTransformer, normal, _picture, smooth=True),
    "bert_base": _Recipe(Bert, normal, _tokens, "tokens", smooth=True),
    "lstm": _Recipe(Lstm, wide, _series, "series", smooth=True),
}
NETS = (*_RECIPES, "mlp")


def load(name: str, folder: Path = FOLDER) -> Anchor:
    """A network by its name; makes its files where they are not there yet."""
    if name == "mlp":
        return _shipped_mlp()
    recipe = _RECIPES[name]
    file, weights = folder / f"{name}.onnx", folder / f"{name}.pt"
    example = recipe.example()
    if not (file.exists() and weights.exists()):
        _make(recipe, name, example, folder)
    with torch.device("meta"):
        net = recipe.build()
    # mapped, so that a process that only reads the weights does not hold them twice
    net.load_state_dict(torch.load(weights, mmap=True, weights_only=True), assign=True)
    net.eval().requires_grad_(False)
    rows, scores = example, net
    if isinstance(net, Bert):
        rows, scores = net.words(example), net.encoder
    feeds = {recipe.input: example.numpy()}
    begin = torch.zeros_like(rows)
    return Anchor(name, file, scores, feeds, rows, begin, smooth=recipe.smooth)


def _make(recipe: _Recipe, name: str, example: Tensor, folder: Path) -> None:
    torch.manual_seed(0)
    net = recipe.weights(recipe.build())
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{os.getpid()}.{name}"
    torch.save(net.state_dict(), part)
    part.rename(folder / f"{name}.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this exporter is older than the other one
        torch.onnx.export(
            net,
            (example,),
            str(part),
            opset_version=18,
            input_names=[recipe.input],
            output_names=["logits"],
            dynamic_axes={n: {0: "batch"} for n in (recipe.input, "logits")},
            dynamo=False,
        )
    part.rename(folder / f"{name}.onnx")


def _shipped_mlp() -> Anchor:
    """The trained MLP of the breast cancer data, from the mean of its table."""
    spec = importlib.util.spec_from_file_location("twins", SHIPPED / "twins.py")
    assert spec is not None and spec.loader is not None
    twins = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(twins)
    folder = SHIPPED / "breast_cancer_mlp"
    net = twins.load_twin("breast_cancer_mlp").requires_grad_(False)
    (table, *_) = sorted((folder / "inputs").glob("*.csv"))
    x = np.loadtxt(table, delimiter=",", skiprows=1, dtype=np.float32, ndmin=2)[:1]
    begin = net.standardise.mean[None].clone()
    file = folder / "breast_cancer_mlp.onnx"
    feeds = {"features": x}
    return Anchor("mlp", file, net, feeds, torch.from_numpy(x), begin, of="logits", smooth=True)


def main() -> None:
    """Make the files and compare."""
    import onnxruntime

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", action="append", choices=NETS)
    parser.add_argument("--models", type=Path, default=FOLDER)
    options = parser.parse_args()
    for name in options.net or NETS:
        anchor = load(name, options.models)
        session = onnxruntime.InferenceSession(anchor.file, providers=["CPUExecutionProvider"])
        found = session.run([anchor.of or "logits"], anchor.feeds)[0]
        with torch.no_grad():
            expected = anchor.scores(anchor.rows).numpy()
            begin = anchor.scores(anchor.baseline).numpy()
        apart = np.abs(found - expected).max() / np.abs(expected).max()
        change = float(expected[0, anchor.target] - begin[0, anchor.target])
        megabytes = anchor.file.stat().st_size / 2**20
        print(
            f"{name:<13} {megabytes:6.1f} MiB  logits of std {expected.std():.2f}, from baseline "
            f"to input {change:+.2f}, onnxruntime differs by {apart:.1e}  {anchor.file}"
        )


if __name__ == "__main__":
    main()
