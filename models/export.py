"""From a trained torch network to the ONNX file that is shipped."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import common
import describe
import numpy as np
import onnx
import torch
from common import Feeds
from onnx import helper

OPSET = 17
MADE_WITH = {
    "torch": torch.__version__,
    "exporter": "torch.onnx.export, TorchScript (dynamo=False)",
}


def to_onnx(
    network: torch.nn.Module, axes: Mapping[str, list[str]], example: Feeds, output: list[str]
) -> onnx.ModelProto:
    """`network` as a model with the output `logits`.

    Args:
        network: its forward takes the inputs in the order of `axes`; batch normalisation is folded.
        axes: by input name, the names of its leading axes that are open; the others stay as they
            are in `example`.
        example: inputs by name.
        output: names of the leading open axes of the logits.
    """
    network.eval()
    for parameter in network.parameters():  # trained channels last, perhaps; ONNX stores them first
        parameter.data = parameter.data.contiguous()
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        # The TorchScript exporter is deprecated, but it alone keeps the module paths as node names
        # and the names of the parameters, by which the twins find their weights.
        warnings.simplefilter("ignore", DeprecationWarning)
        file = Path(folder) / "network.onnx"
        torch.onnx.export(
            network,
            tuple(torch.from_numpy(example[name]) for name in axes),
            str(file),
            dynamo=False,
            opset_version=OPSET,
            input_names=list(axes),
            output_names=["logits"],
            dynamic_axes={
                name: dict(enumerate(names)) for name, names in ({"logits": output} | axes).items()
            },
        )
        return onnx.load(file)


def add_probabilities(model: onnx.ModelProto, operator: str = "Softmax") -> None:
    """Append the output `probabilities`: the softmax over the last axis of `logits`, or Sigmoid."""
    graph = model.graph
    (logits,) = graph.output
    attributes = {"axis": -1} if operator == "Softmax" else {}
    graph.node.append(
        helper.make_node(
            operator, ["logits"], ["probabilities"], name=f"/probabilities/{operator}", **attributes
        )
    )
    probabilities = onnx.ValueInfoProto()
    probabilities.CopyFrom(logits)
    probabilities.name = "probabilities"
    graph.output.append(probabilities)


def write_onnx(
    name: str,
    network: torch.nn.Module,
    axes: Mapping[str, list[str]],
    example: Feeds,
    operator: str = "Softmax",
) -> Path:
    """Export a classifier with outputs `logits` and `probabilities`, and check it against torch.

    Args:
        name: the model's folder and file.
        network: returns logits [batch, classes].
        axes: as `to_onnx` takes them.
        example: inputs by name.
        operator: what makes probabilities of logits, Softmax or Sigmoid.
    """
    model = to_onnx(network, axes, example, ["batch"])
    add_probabilities(model, operator)
    file = describe.write(name, model)
    check(file, network, {key: example[key] for key in axes})
    return file


def check(file: Path, network: torch.nn.Module, example: Feeds) -> None:
    """Refuse a file whose logits are not those of torch."""
    with torch.no_grad():
        expected = network(*(torch.from_numpy(x) for x in example.values())).numpy()
    # Two float32 implementations of the same sums; a wrong weight would be off by orders more.
    np.testing.assert_allclose(common.run(file, example)["logits"], expected, rtol=1e-4, atol=1e-4)
