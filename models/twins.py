"""The torch networks behind the shipped ONNX files, and the same networks rebuilt from those files.

`load_twin(name)` gives a network whose weights come from the shipped file, for comparisons with
peers that need torch. The `train_*.py` scripts train the same classes. This file stands alone and
can be loaded by its path.

Every network returns logits [batch, classes]. Batch normalisation is there only while training:
`fold` merges it into the convolution before it, so that every exported convolution has a bias.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

ROOT = Path(__file__).resolve().parent


class ConvUnit(nn.Module):
    """Convolution, batch normalisation (training only) and ReLU at constant picture size."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels_in, height, width] -> [batch, channels_out, height, width]."""
        return F.relu(self.norm(self.conv(x)))


def local_response_norm(x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    """Normalise over neighbouring channels, as `torch.nn.functional.local_response_norm` does.

    The window sum is a 1x1 convolution with a banded matrix: torch's own average pool over a
    padded fifth axis takes a fifth of the whole training time.
    """
    channel = torch.arange(x.shape[1])
    near = (channel[:, None] - channel[None, :]).abs() <= size // 2
    band = near.to(x.dtype) * (alpha / size)
    y: Tensor = x * (F.conv2d(x * x, band[:, :, None, None]) + k).pow(-beta)
    return y


class _OnnxLRN(torch.autograd.Function):
    """Local response normalisation that the exporter writes as one `LRN` node."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
        return local_response_norm(x, size, alpha, beta, k)

    @staticmethod
    def symbolic(g: Any, x: Any, size: int, alpha: float, beta: float, k: float) -> Any:
        # The exporter cannot infer that an LRN keeps type and shape.
        return g.op("LRN", x, size_i=size, alpha_f=alpha, beta_f=beta, bias_f=k).setType(x.type())


class LocalResponseNorm(nn.Module):
    """y = x / (k + alpha/size · Σ x²)^beta, the sum over `size` (odd) neighbouring channels.

    Reference: Krizhevsky et al. 2012, section 3.3. Their alpha = 1e-4 suits activations of pixels
    in 0..255; on normalised activations it would be the identity, hence the larger value here.
    """

    def __init__(
        self, size: int = 5, alpha: float = 0.5, beta: float = 0.75, k: float = 1.0
    ) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] -> the same shape."""
        normalise = _OnnxLRN.apply if torch.onnx.is_in_onnx_export() else local_response_norm
        y: Tensor = normalise(x, self.size, self.alpha, self.beta, self.k)
        return y


class Inception(nn.Module):
    """Four branches side by side: 1x1; 1x1 then 3x3; 1x1 then 5x5; max-pool then 1x1.

    The 5x5 is two 3x3 in a row (Szegedy et al. 2016, section 3.1). Module: Szegedy et al. 2015,
    figure 2(b).
    """

    def __init__(
        self,
        channels_in: int,
        one: int,
        three: tuple[int, int],
        five: tuple[int, int],
        pool: int,
    ) -> None:
        super().__init__()
        self.branch1 = ConvUnit(channels_in, one, 1)
        self.branch3 = nn.Sequential(
            ConvUnit(channels_in, three[0], 1), ConvUnit(three[0], three[1], 3)
        )
        self.branch5 = nn.Sequential(
            ConvUnit(channels_in, five[0], 1),
            ConvUnit(five[0], five[1], 3),
            ConvUnit(five[1], five[1], 3),
        )
        self.branch_pool = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1), ConvUnit(channels_in, pool, 1)
        )
        self.channels_out = one + three[1] + five[1] + pool

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels_in, height, width] -> [batch, channels_out, height, width]."""
        branches = (self.branch1, self.branch3, self.branch5, self.branch_pool)
        return torch.cat([branch(x) for branch in branches], dim=1)


class InceptionCifar(nn.Module):
    """A small GoogLeNet for 32x32 colour pictures, with its two LRN layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ConvUnit(3, 32, 3)
        self.pool1 = nn.MaxPool2d(2)
        self.lrn1 = LocalResponseNorm()
        self.conv2 = ConvUnit(32, 64, 3)
        self.lrn2 = LocalResponseNorm()
        self.inception3a = Inception(64, 24, (24, 48), (12, 24), 16)
        self.inception3b = Inception(112, 40, (40, 72), (16, 32), 24)
        self.pool3 = nn.MaxPool2d(2)
        self.inception4a = Inception(168, 56, (56, 112), (20, 48), 40)
        self.inception4b = Inception(256, 80, (64, 128), (24, 48), 48)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(self.inception4b.channels_out, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Image [batch, 3, 32, 32] -> logits [batch, 10]."""
        x = self.lrn1(self.pool1(self.conv1(image)))
        x = self.inception3b(self.inception3a(self.lrn2(self.conv2(x))))
        x = self.inception4b(self.inception4a(self.pool3(x)))
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        logits: Tensor = self.fc(self.dropout(x))
        return logits


class DigitsCnn(nn.Module):
    """Three convolutions and a linear layer for 8x8 gray pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1)
        self.fc = nn.Linear(32 * 4 * 4, 10)

    def forward(self, image: Tensor) -> Tensor:
        """Image [batch, 1, 8, 8] -> logits [batch, 10]."""
        x = F.relu(self.conv1(image))
        x = self.pool(F.relu(self.conv2(x)))
        x = F.relu(self.conv3(x))
        logits: Tensor = self.fc(x.flatten(1))
        return logits


class Standardise(nn.Module):
    """(x - mean) / std, per feature."""

    mean: Tensor
    std: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    def fit(self, x: Tensor) -> None:
        """Take mean and standard deviation from rows [n, features]."""
        self.mean.copy_(x.mean(0))
        self.std.copy_(x.std(0))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, features] -> the same shape."""
        return (x - self.mean) / self.std


class BreastCancerMlp(nn.Module):
    """Two hidden layers on raw features; tanh makes it smooth, unlike the two picture models."""

    def __init__(self) -> None:
        super().__init__()
        self.standardise = Standardise(30)
        self.fc1 = nn.Linear(30, 32)
        self.fc2 = nn.Linear(32, 16)
        self.fc3 = nn.Linear(16, 2)

    def forward(self, features: Tensor) -> Tensor:
        """Features [batch, 30] -> logits [batch, 2]: malignant, benign."""
        x = torch.tanh(self.fc1(self.standardise(features)))
        logits: Tensor = self.fc3(torch.tanh(self.fc2(x)))
        return logits


def fold(network: nn.Module) -> nn.Module:
    """Merge every batch normalisation into the convolution before it; returns `network`."""
    network.eval()
    for unit in network.modules():
        if isinstance(unit, ConvUnit) and isinstance(unit.norm, nn.BatchNorm2d):
            unit.conv = fuse_conv_bn_eval(unit.conv, unit.norm)
            unit.norm = nn.Identity()
    return network


NETWORKS: dict[str, type[nn.Module]] = {
    "breast_cancer_mlp": BreastCancerMlp,
    "digits_cnn": DigitsCnn,
    "inception_cifar": InceptionCifar,
}


def load_twin(name: str) -> nn.Module:
    """The torch network of a shipped model, with the weights of its ONNX file, in eval mode.

    Args:
        name: a key of `NETWORKS`.

    Returns:
        A module from float32 inputs [batch, *features] to logits [batch, classes].

    Raises:
        RuntimeError: an initializer of the file has no parameter of that name, or the reverse.
    """
    network = fold(NETWORKS[name]())
    graph = onnx.load(ROOT / name / f"{name}.onnx").graph
    # Copied, because torch refuses to share memory that NumPy holds read-only.
    weights = {
        w.name: torch.from_numpy(onnx.numpy_helper.to_array(w).copy()) for w in graph.initializer
    }
    network.load_state_dict(weights)
    return network.eval()
