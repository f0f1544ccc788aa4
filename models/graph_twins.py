"""The torch network behind the shipped graph model, and the same network rebuilt from its file.

As `twins.py`: `load_twin(name)` takes the weights of the shipped ONNX file, and this file stands
alone.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent
ATOM_FEATURES, PAIR_FEATURES, ASSAYS = 17, 8, 12
TYPICAL_ATOMS = 16  # of a molecule; a sum in this unit, because the number of atoms matters


class Linear(nn.Module):
    """y = x W. Without bias, zeros stay zeros: atoms that are not there say nothing."""

    def __init__(self, features_in: int, features_out: int) -> None:
        super().__init__()
        weight = torch.randn(features_in, features_out) / features_in**0.5
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        """[..., features_in] -> [..., features_out]."""
        return torch.matmul(x, self.weight)


class Convolution(nn.Module):
    """h_i + tanh(h_i W + Σ_j Σ_k e_ijk h_j W_k): a message along each kind of edge.

    After Gilmer et al. 2017, section 2, with messages linear in the features of the edge.
    """

    def __init__(self, width: int, kinds: int) -> None:
        super().__init__()
        self.kinds = kinds
        self.own = Linear(width, width)
        self.message = Linear(width, kinds * width)
        # a dozen atoms and more send messages, which must not saturate the tanh from the start
        self.message.weight.data /= kinds

    def forward(self, h: Tensor, edges: Tensor) -> Tensor:
        """[batch, n, width], [batch, n, n · kinds] -> [batch, n, width]."""
        batch, n, width = h.shape
        messages = self.message(h).reshape(batch, n * self.kinds, width)
        return h + torch.tanh(self.own(h) + torch.matmul(edges, messages))


class Tox21Graph(nn.Module):
    """Three graph convolutions, a gated sum over the atoms and two dense layers; smooth."""

    def __init__(self, width: int = 48, hidden: int = 96) -> None:
        super().__init__()
        kinds = 1 + PAIR_FEATURES
        self.embed = Linear(ATOM_FEATURES, width)
        self.convolutions = nn.ModuleList(Convolution(width, kinds) for _ in range(3))
        self.gate, self.value = Linear(width, hidden), Linear(width, hidden)
        self.fc1 = nn.Linear(hidden, hidden)
        self.fc2 = nn.Linear(hidden, ASSAYS)
        self.dropout = nn.Dropout(0.2)

    def forward(self, atoms: Tensor, adjacency: Tensor, pairs: Tensor) -> Tensor:
        """[batch, n, 17], [batch, n, n], [batch, n, n, 8] -> logits [batch, 12] of the assays."""
        edges = torch.cat([adjacency[..., None], pairs], 3).flatten(2)
        h = self.embed(atoms)
        for convolution in self.convolutions:
            h = convolution(h, edges)
        h = self.dropout(h)
        seen = (torch.sigmoid(self.gate(h)) * torch.tanh(self.value(h))).sum(1) / TYPICAL_ATOMS
        logits: Tensor = self.fc2(self.dropout(torch.tanh(self.fc1(seen))))
        return logits


NETWORKS: dict[str, type[nn.Module]] = {"tox21_graph": Tox21Graph}


def load_twin(name: str) -> nn.Module:
    """The torch network of a shipped model, with the weights of its ONNX file, in eval mode.

    Raises:
        RuntimeError: a parameter has no initializer of that name and shape.
    """
    graph = onnx.load(ROOT / name / f"{name}.onnx").graph
    # Copied, because torch refuses to share memory that NumPy holds read-only.
    weights = {
        w.name: torch.from_numpy(onnx.numpy_helper.to_array(w).copy()) for w in graph.initializer
    }
    network = NETWORKS[name]()
    network.load_state_dict(weights)
    return network.eval()
