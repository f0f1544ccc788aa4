"""Exports by torch's two exporters, and torch's own gradients to hold against igrt's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor
from torch_nets import NETS, seeded

# What the exporters say of themselves and of the networks, in the versions of torch that we know:
# TorchScript's is deprecated as a whole, traces shapes as numbers, warns of recurrent networks with
# batches and of InstanceNorm, which has no evaluation mode; torch.export reads its own internals.
WARNINGS = [
    pytest.mark.filterwarnings(f"ignore:{text}")
    for text in (
        "You are using the legacy TorchScript:DeprecationWarning",
        "The feature will be removed:DeprecationWarning",
        "Converting a tensor to a Python boolean",
        "Exporting a model to ONNX with a batch_size other than 1:UserWarning",
        "ONNX export mode is set to TrainingMode.EVAL:UserWarning",
        "ONNX Preprocess - Removing mutation:UserWarning",
        ".*LeafSpec.* is deprecated:FutureWarning",
        "The tensor attributes self:UserWarning",
        "_check_is_size will be removed:FutureWarning",
        "The .grad attribute of a Tensor that is not a leaf:UserWarning",
    )
]


class How(NamedTuple):
    """How a network is exported.

    Args:
        dynamo: By `torch.export`, or by TorchScript.
        opset: The opset asked for.
        dynamic: With open axes, or with the sizes of the example.
    """

    dynamo: bool
    opset: int
    dynamic: bool

    def __str__(self) -> str:
        exporter = "dynamo" if self.dynamo else "script"
        return f"{exporter}-{self.opset}-{'dynamic' if self.dynamic else 'static'}"


def export(
    module: torch.nn.Module,
    inputs: dict[str, Tensor],
    name: str,
    how: How,
    path: Path,
    **options: Any,
) -> Path:
    """Write a network of `NETS` as `how` says; further options go to torch."""
    net = NETS[name]
    axes = {n: ({0: "batch"} if net.batch else {}) | net.dynamic.get(n, {}) for n in inputs}
    if how.dynamic and how.dynamo:
        auto = torch.export.Dim.DYNAMIC
        options["dynamic_shapes"] = tuple(dict.fromkeys(axes[n], auto) for n in inputs)
    elif how.dynamic:
        options["dynamic_axes"] = axes
    torch.onnx.export(
        module,
        tuple(inputs.values()),
        path,
        input_names=list(inputs),
        output_names=list(net.outputs),
        opset_version=how.opset,
        dynamo=how.dynamo,
        verbose=False,
        **options,
    )
    return path


class Truth(NamedTuple):
    """What torch computes in float64.

    Args:
        feeds: The inputs, in the types of the model.
        outputs: The outputs.
        cotangent: A random cotangent of the first output.
        gradients: Gradient of ⟨cotangent, first output⟩ by float input.
        lookup: The same for what the token embedding puts out; None where there is none.
    """

    feeds: dict[str, Any]
    outputs: list[Any]
    cotangent: Any
    gradients: dict[str, Any]
    lookup: Any


def truth(name: str, rows: int) -> Truth:
    module, _ = seeded(name)
    torch.manual_seed(rows)
    inputs = NETS[name].inputs(rows)
    module = module.double()
    wide = {
        n: x.double().requires_grad_() if x.is_floating_point() else x for n, x in inputs.items()
    }
    seen: list[Tensor] = []
    embedding = getattr(module, "embedding", None)
    if embedding is not None:
        embedding.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    outputs = module(*wide.values())
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    cotangent = torch.randn_like(outputs[0])
    floats = [n for n, x in wide.items() if x.is_floating_point()]
    found = torch.autograd.grad(outputs[0], [*(wide[n] for n in floats), *seen], cotangent)
    return Truth(
        {n: x.numpy() for n, x in inputs.items()},
        [y.detach().numpy() for y in outputs],
        cotangent.numpy().astype(np.float32),
        {n: g.numpy() for n, g in zip(floats, found, strict=False)},
        found[len(floats)].numpy() if seen else None,
    )


def lookup_of(path: Path, tokens: str) -> str:
    """The tensor that the embedding lookup behind the token numbers puts out."""
    nodes = onnx.load(path, load_external_data=False).graph.node
    (found,) = (n.output[0] for n in nodes if n.op_type == "Gather" and n.input[1] == tokens)
    return str(found)
