"""What staging saves per gradient evaluation, and what the cost model expects of it.

python benchmarks/staging.py [--rounds 9] [--rows 4] [NET …]

Every net runs in turns: the whole gradient graph; the step with a prologue, as adaptive rules use
it; the step with prologue and epilogue, as a fixed number of steps does. A step is fed by the path
kernel and read by the accumulation kernel, so what is timed is what an evaluation costs. "Forced"
is the cut that saves the most operations, whatever it costs: what the cost model may refuse.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from unittest import mock

import numpy as np
import onnx
import onnxruntime
import torch
from igrt.kernels import select
from nets import Attention, export
from torch import Tensor, nn

from igrt.graph.normalize import normalize
from igrt.graph.prune import prune
from igrt.stage import regions
from igrt.stage.sized import sized_graph
from igrt.stage.split import Choice, choose, part
from igrt.vjp.augment import differentiate

Array = np.ndarray


class Patches(nn.Module):
    """A vision transformer: 16 x 16 patches of 224 x 224, two layers of width 192."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.place = nn.Conv2d(3, 192, 16, 16), nn.Parameter(torch.randn(1, 196, 192))
        self.layers = nn.Sequential(*(Attention(192, before=True) for _ in range(2)))
        self.head = nn.Linear(192, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.patch(x).flatten(2).transpose(1, 2) + self.place
        return self.head(self.layers(h).mean(1))


class Masked(nn.Module):
    """A BERT-like encoder of 64 rows with a mask, two layers of width 128."""

    def __init__(self) -> None:
        super().__init__()
        self.place, self.norm = nn.Parameter(torch.randn(1, 64, 128)), nn.LayerNorm(128)
        self.qkv, self.layers = nn.Linear(128, 384), Attention(128, before=False)
        self.head = nn.Linear(128, 2)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        h = self.norm(x + self.place)
        q, k, v = self.qkv(h).chunk(3, -1)
        hidden = ((1 - seen.float()) * -1e4)[:, None]
        h = h + torch.softmax(q @ k.transpose(1, 2) * 128**-0.5 + hidden, -1) @ v
        return self.head(self.layers(h)[:, 0])


def _stem() -> nn.Module:
    """A residual network's 7 x 7 stem, and two convolutions behind it."""
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
        *(nn.Conv2d(64, 64, 3, 1, 1), nn.ReLU(), nn.Conv2d(64, 128, 3, 2, 1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)),
    )


def _vgg() -> nn.Module:
    """3 x 3 convolutions all the way."""
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 3, 1, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, 1, 1), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Conv2d(64, 128, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(128, 128, 3, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(128, 10),
    )


def _mlp(*widths: int) -> nn.Module:
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 10))


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "7 x 7 stem": (_stem, (3, 224, 224)),
    "VGG-like": (_vgg, (3, 112, 112)),
    "ViT-like": (Patches, (3, 224, 224)),
    "BERT-like": (Masked, (64, 128)),
    "wide MLP": (lambda: _mlp(10_000, 64, 64), (10_000,)),
    "square MLP": (lambda: _mlp(512, 512, 512), (512,)),
    "narrow MLP": (lambda: _mlp(32, 256, 256), (32,)),
    "logistic": (lambda: nn.Sequential(nn.Linear(5000, 10), nn.Sigmoid()), (5000,)),
}


def exported(name: str, rows: int) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """A net as torch exports it, and as many random rows for its inputs."""
    torch.manual_seed(0)
    make, shape = NETS[name]
    feeds = {"x": torch.randn(rows, *shape)}
    if name == "BERT-like":
        feeds["seen"] = torch.ones(rows, shape[0], dtype=torch.int64)
    model = export(make().eval(), tuple(f[:1] for f in feeds.values()), list(feeds))
    return model, {n: f.numpy() for n, f in feeds.items()}


class Net:
    """A gradient graph, whole and in parts, and what feeds them."""

    def __init__(self, name: str, rows: int) -> None:
        model, self.feeds = exported(name, rows)
        augmented = differentiate(normalize(model), wrt=["x"])
        self.gradient = augmented.gradients["x"]
        self.lean = prune(augmented.model, [self.gradient])
        self.feeds[augmented.cotangent] = np.eye(10, dtype=np.float32)[np.zeros(rows, int)]
        if name == "BERT-like":
            self.feeds[augmented.cotangent] = np.eye(2, dtype=np.float32)[np.zeros(rows, int)]
        shapes = {n: (1, *a.shape[1:]) for n, a in self.feeds.items()}
        self.sized = sized_graph(
            self.lean,
            shapes | {self.gradient: shapes["x"]},
            moving=["x"],
            shared=(),
            late=[augmented.cotangent],
            batched=True,
            any_rows=True,
        )

    def choice(self, *, sums: bool, forced: bool = False) -> Choice:
        """What runs where; with cuts for nothing it is as much as can be."""
        cuts = {"MOVED": 1e-6, "COPIED": 1e-6, "SUMMED": 1e-6} if forced else {}
        with mock.patch.multiple(regions, **cuts) if cuts else mock.patch.dict({}):
            return choose(self.sized, [self.gradient], sums=sums)

    def evaluation(self, choice: Choice | None) -> Callable[[], None]:
        """One run of a chunk: fill, step, accumulate."""
        if choice is None:
            model, moving, outputs, at = self.lean, ["x"], [self.gradient], self.feeds
        else:
            parts = choice.staging.parts
            model, moving, outputs = part(self.lean, parts, "step"), parts.moving, parts.summed
            at = dict(self.feeds)
            if parts.made:
                prologue = part(self.lean, parts, "prologue")
                names = [i.name for i in prologue.graph.input]
                made = _session(prologue).run(parts.made, {n: at[n] for n in names})
                at |= dict(zip(parts.made, made, strict=True))
        session, kernels = _session(model), select("cpu")
        rows = len(self.feeds["x"])
        alphas, zeros = np.linspace(0.1, 0.9, rows), np.zeros(rows, np.int64)
        ends = {n: at[n][:1].reshape(1, -1) for n in moving}
        feeds = {i.name: at[i.name].copy() for i in model.graph.input}
        weights = np.full((1, rows), 1 / rows)
        sums: dict[str, Array] = {}

        def run() -> None:
            for name, x in ends.items():
                points = feeds[name].reshape(rows, -1)
                kernels.interpolate(np.zeros_like(x), x, zeros, alphas, points)
            for name, made in zip(outputs, session.run(outputs, feeds), strict=True):
                flat = np.ascontiguousarray(made).reshape(rows, -1)
                total = sums.setdefault(name, np.zeros((1, 1, flat.shape[1])))
                kernels.accumulate(total, flat, zeros, weights)

        run()
        return run


def _session(model: object) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def main() -> None:
    """Measure in turns and print medians of the ratio to the whole graph of the same round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nets", nargs="*", help=f"of {', '.join(NETS)}")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", type=int, default=4)
    options = parser.parse_args()
    print("| net | rules | expected | taken | whole / staged | forced: whole / staged |")
    print("|---|---|---|---|---|---|")
    for name in options.nets or NETS:
        net = Net(name, options.rows)
        whole = net.evaluation(None)
        for rules, sums in (("adaptive", False), ("fixed", True)):
            choice, forced = net.choice(sums=sums), net.choice(sums=sums, forced=True)
            runs = [whole, net.evaluation(choice), net.evaluation(forced)]
            if not choice.front.moving:
                print(f"| {name} | {rules} | | no: one evaluation is exact | | |")
                continue
            ratios: list[list[float]] = [[], []]
            for _ in range(options.rounds):
                taken = [_seconds(run) for run in runs]
                for k in range(2):
                    ratios[k].append(taken[0] / taken[k + 1])
            said = "yes" if choice.pays else "no"
            found = [f"{statistics.median(r):.2f}" for r in ratios]
            expected = f"{1 / (1 - choice.saved):.2f}"
            print("| " + " | ".join([name, rules, expected, said, *found]) + " |", flush=True)


def _seconds(run: Callable[[], None]) -> float:
    """Of the processor, in the fastest of three runs."""
    taken = []
    for _ in range(3):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return min(taken)


if __name__ == "__main__":
    main()
