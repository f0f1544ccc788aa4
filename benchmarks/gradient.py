"""Cost of a gradient: forward with gradient against forward alone, in onnxruntime on one thread.

    python benchmarks/gradient.py [--net NAME …] [--batch N] [--rounds N] [--json] [--profile]

The gradient graph is the one that the runtime runs. Peers run in the same process, in turns with
it (A B A B …): torch's eager forward with the gradient of the input for the nets that are defined
here, and the model that onnx-ad makes, if it is installed. Prints medians and their ratio to the
forward pass, and counts the nodes that nothing needs and those that repeat another. `--profile`
prints where the time of the gradient goes, and what the forward pass and the gradient's Conv,
ConvTranspose, MatMul and Gemm alone would cost: no gradient can cost less in onnxruntime.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnx
import onnxruntime

import igrt
from igrt.graph.prune import needed_names, prune
from igrt.stage.lower import lower

ROOT = Path(__file__).parents[1]
FILES = {
    "squeezenet": ROOT.parent / "shared/data/models/squeezenet1_imagenet_fp32.onnx",
    "inception_cifar": ROOT / "models/inception_cifar/inception_cifar.onnx",
    "digits_cnn": ROOT / "models/digits_cnn/digits_cnn.onnx",
}
Feeds = dict[str, np.ndarray]


def resnet() -> tuple[Any, Any]:
    """A torch module of 15 convolutions in residual blocks, and its example, images of 224²."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, inner: int, outer: int, stride: int) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(inner, outer, 3, stride, 1, bias=False),
                nn.BatchNorm2d(outer),
                nn.ReLU(),
                nn.Conv2d(outer, outer, 3, 1, 1, bias=False),
                nn.BatchNorm2d(outer),
            )
            project = nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer)
            self.skip = nn.Sequential(*project) if stride > 1 else nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.body(x) + self.skip(x))

    blocks = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1)]
    net = nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        *(Block(*b) for b in blocks),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(256, 1000),
    )
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.running_mean, std=0.1)
    return net, torch.randn(8, 3, 224, 224)


def transformer() -> tuple[Any, Any]:
    """A pre-LN transformer of 4 layers, and its example, sequences of 128 vectors of 256."""
    import torch
    from torch import nn

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norms = nn.ModuleList([nn.LayerNorm(256), nn.LayerNorm(256)])
            self.qkv, self.out = nn.Linear(256, 768), nn.Linear(256, 256)
            self.mlp = nn.Sequential(nn.Linear(256, 1024), nn.GELU(), nn.Linear(1024, 256))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            b, t, d = x.shape
            heads = self.qkv(self.norms[0](x)).reshape(b, t, 3, 4, d // 4).permute(2, 0, 3, 1, 4)
            q, k, v = heads[0], heads[1], heads[2]
            weights = torch.softmax(q @ k.transpose(-2, -1) * (d // 4) ** -0.5, dim=-1)
            x = x + self.out((weights @ v).transpose(1, 2).reshape(b, t, d))
            return x + self.mlp(self.norms[1](x))

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(*(Layer() for _ in range(4)))
            self.norm, self.head = nn.LayerNorm(256), nn.Linear(256, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.norm(self.layers(x)).mean(1))

    return Pooled(), torch.randn(8, 128, 256)


def recurrent(kind: str) -> tuple[Any, Any]:
    """Two layers of 128 of torch's LSTM, GRU or RNN, and its example, sequences of 64 steps."""
    import torch
    from torch import nn

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = getattr(nn, kind)(128, 128, num_layers=2, batch_first=True)
            self.head = nn.Linear(128, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.layers(x)[0][:, -1])

    return Last(), torch.randn(8, 64, 128)


NETS = {
    "resnet": resnet,
    "transformer": transformer,
    **{k.lower(): partial(recurrent, k) for k in ("LSTM", "GRU", "RNN")},
}


def export(net: Any, example: Any, opset: int = 18) -> onnx.ModelProto:
    """What torch's exporter makes of a module, with BatchNormalization as it is in the module."""
    import torch

    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this exporter is older than the other one
        torch.onnx.export(
            net,
            (example,),
            stream,
            opset_version=opset,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}},
            training=torch.onnx.TrainingMode.PRESERVE,
            dynamo=False,
        )
    return onnx.load_from_string(stream.getvalue())


def dead_nodes(model: onnx.ModelProto) -> int:
    """Nodes that no output needs."""
    needed = needed_names(model.graph.node, {o.name for o in model.graph.output})
    return sum(not needed.intersection(n.output) for n in model.graph.node)


def repeated_nodes(model: onnx.ModelProto) -> int:
    """Nodes that compute what another node has computed from the same values."""
    same: dict[str, str] = {}
    for tensor in model.graph.initializer:
        if not tensor.external_data:
            key = onnx.TensorProto.FromString(tensor.SerializeToString())
            key.ClearField("name")
            same[tensor.name] = f"constant {hash(key.SerializeToString(deterministic=True))}"
    seen: Counter[str] = Counter()
    for node in model.graph.node:
        attributes = sorted(a.SerializeToString(deterministic=True) for a in node.attribute)
        inputs = [same.get(n, n) for n in node.input]
        key = f"{node.domain} {node.op_type} {inputs} {attributes} {len(node.output)}"
        seen[key] += 1
        for i, name in enumerate(node.output):
            same[name] = f"{hash(key)} {i}"
    return sum(n - 1 for n in seen.values())


def session(model: onnx.ModelProto, *, profile: str = "") -> onnxruntime.InferenceSession:
    """A session on one thread of the CPU, as onnxruntime optimises it by itself."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    data = model.SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def feeds_of(model: onnx.ModelProto, batch: int) -> Feeds:
    """Normally distributed inputs, symbolic sizes set to `batch`."""
    rng = np.random.default_rng(0)
    stored = {t.name for t in model.graph.initializer}
    feeds = {}
    for value in model.graph.input:
        tensor = value.type.tensor_type
        if value.name not in stored:
            shape = [d.dim_value or batch for d in tensor.shape.dim]
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
            feeds[value.name] = rng.standard_normal(shape).astype(dtype)
    return feeds


def medians(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each, measured in turns after one round that does not count.

    Of the processor's time: everything runs on one thread, and others may use the machine.
    """
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            start = time.process_time()
            run()
            found[name].append(1000 * (time.process_time() - start))
    return {name: float(np.median(times[1:])) for name, times in found.items()}


def torch_runs(net: Any, example: Any, ct: np.ndarray) -> dict[str, Callable[[], Any]]:
    """torch's forward pass, and the same with the gradient of the input."""
    import torch

    cotangent = torch.from_numpy(ct)
    for parameter in net.parameters():
        parameter.requires_grad_(False)

    def forward() -> Any:
        with torch.no_grad():
            return net(example)

    def gradient() -> Any:
        x = example.clone().requires_grad_(True)
        return torch.autograd.grad(net(x), x, cotangent)[0]

    return {"torch forward": forward, "torch forward + gradient": gradient}


def onnx_ad_run(model: onnx.ModelProto, feeds: Feeds, ct: np.ndarray) -> Callable[[], Any] | None:
    """The model that onnx-ad makes, for fixed sizes as it refuses others; None if it cannot."""
    try:
        import onnx_ad
    except ImportError:
        return None
    fixed = onnx.ModelProto.FromString(model.SerializeToString())
    sizes = {name: array.shape for name, array in feeds.items()}
    sizes[fixed.graph.output[0].name] = ct.shape
    for value in (*fixed.graph.input, *fixed.graph.output):
        for dim, size in zip(
            value.type.tensor_type.shape.dim, sizes.get(value.name, ()), strict=False
        ):
            dim.dim_value = size
    try:
        made = session(onnx_ad.reverse(onnx.shape_inference.infer_shapes(fixed), layout="onnx"))
    except Exception as error:
        print(f"  onnx-ad: {type(error).__name__}: {error}")
        return None
    given = dict(feeds)
    for value in made.get_inputs():  # one seed per output, the first one's first
        if value.name not in feeds:
            first = len(given) == len(feeds)
            given[value.name] = ct[..., None] if first else np.zeros_like(ct)[..., None]
    return lambda: made.run(None, given)


PRODUCTS = ("Conv", "ConvTranspose", "FusedMatMul", "Gemm", "MatMul")


def least(spent: dict[str, float], forward: float) -> float:
    """Ratio to the forward pass of it and the gradient's products alone, without anything else."""
    return 1.0 + sum(spent.get(f"gradient {name}", 0.0) for name in PRODUCTS) / forward


def profile(model: onnx.ModelProto, feeds: Feeds, rounds: int) -> dict[str, float]:
    """Milliseconds per run by operator and half: `forward` is what the model had before."""
    with tempfile.TemporaryDirectory() as folder:
        made = session(model, profile=f"{folder}/ort")
        for _ in range(rounds):
            made.run(None, feeds)
        events = json.loads(Path(made.end_profiling()).read_text())
    times: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            half = "gradient" if "igrt/" in event["name"] else "forward"
            operator = f"{half} {event['args']['op_name']}"
            times[operator, event["name"]].append(event["dur"] / 1000)
    spent: defaultdict[str, float] = defaultdict(float)
    for (operator, _), durations in times.items():
        spent[operator] += float(np.median(durations))
    return dict(sorted(spent.items(), key=lambda item: -item[1]))


def measure(name: str, options: argparse.Namespace) -> dict[str, Any] | None:
    """Everything about one net; None where its file is not there."""
    runs: dict[str, Callable[[], Any]] = {}
    if name in NETS:
        import torch

        torch.manual_seed(0)
        torch.set_num_threads(1)
        net, example = NETS[name]()
        example = torch.randn(options.batch, *example.shape[1:])
        net.eval()
        model, feeds = export(net, example), {"x": example.numpy()}
    elif FILES[name].exists():
        model = onnx.load(FILES[name])
        feeds = feeds_of(model, options.batch)
    else:
        return None
    augmented = igrt.augment(model)
    gradients = [o.name for o in augmented.graph.output if o.name.startswith("igrt/grad/")]
    step = lower(prune(augmented, gradients))
    plain, graded = session(model), session(step)
    cotangent = next(i.name for i in augmented.graph.input if i.name.startswith("igrt/"))
    y = plain.run(None, feeds)[0]
    ct = np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype)
    both = feeds | {cotangent: ct}
    runs["forward"] = lambda: plain.run(None, feeds)
    runs["forward + gradient"] = lambda: graded.run(None, both)
    if name in NETS:
        runs |= torch_runs(net, example, ct)
    peer = onnx_ad_run(model, feeds, ct)
    if peer is not None:
        runs["onnx-ad"] = peer
    found: dict[str, Any] = {"net": name, "milliseconds": medians(runs, options.rounds)}
    forward = found["milliseconds"]["forward"]
    found["ratios"] = {n: t / forward for n, t in found["milliseconds"].items()}
    found["nodes"] = {"forward": len(model.graph.node), "gradient": len(augmented.graph.node)}
    found["nodes"]["gradient"] -= found["nodes"]["forward"]
    # what an exporter wrote twice is not ours to remove
    found["dead"] = dead_nodes(augmented) - dead_nodes(model)
    found["repeated"] = repeated_nodes(augmented) - repeated_nodes(model)
    if options.profile:
        found["profile"] = profile(step, both, options.rounds)
        alone = profile(model, feeds, options.rounds)
        found["least"] = least(found["profile"], sum(alone.values()))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", action="append", choices=[*NETS, *FILES])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--batch", type=int, default=8, help="rows, and all symbolic sizes of model files"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    for name in options.net or [*NETS, *FILES]:
        found = measure(name, options)
        if found is None:
            continue
        if options.json:
            print(json.dumps(found), flush=True)
            continue
        nodes = found["nodes"]
        print(
            f"{found['net']}: {nodes['forward']} nodes + {nodes['gradient']} for the gradient, "
            f"{found['dead']} dead, {found['repeated']} repeated"
        )
        for run, milliseconds in found["milliseconds"].items():
            print(f"  {run:<26} {milliseconds:8.1f} ms  {found['ratios'][run]:5.2f} x forward")
        for operator, milliseconds in list(found.get("profile", {}).items())[:25]:
            print(f"    {operator:<40} {milliseconds:8.2f} ms")
        if options.profile:
            print(f"  {'forward + products alone':<38} {found['least']:5.2f} x forward")


if __name__ == "__main__":
    main()
