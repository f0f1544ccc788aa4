"""From a trained torch network to what is shipped: the ONNX file and its MANIFEST entry."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import common
import numpy as np
import onnx
import onnxruntime
import torch
from common import Floats, Split
from onnx import helper

OPSET = 17
IR_VERSION = 8


def write_onnx(name: str, network: torch.nn.Module, input_name: str, example: Floats) -> Path:
    """Export `network` with outputs `logits` and `probabilities`, and check it against torch.

    Args:
        name: the model's folder and file.
        network: returns logits [batch, classes]; batch normalisation already folded.
        input_name: name of the one input, whose first axis becomes `batch`.
        example: float32 [n, *features].
    """
    file = common.ROOT / name / f"{name}.onnx"
    network.eval()
    for parameter in network.parameters():  # trained channels last, perhaps; ONNX stores them first
        parameter.data = parameter.data.contiguous()
    with warnings.catch_warnings():
        # The TorchScript exporter is deprecated, but it alone keeps the module paths as node names
        # and the names of the parameters, by which the twins find their weights.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (torch.from_numpy(example),),
            str(file),
            dynamo=False,
            opset_version=OPSET,
            input_names=[input_name],
            output_names=["logits"],
            dynamic_axes={input_name: {0: "batch"}, "logits": {0: "batch"}},
        )
    model = onnx.load(file)
    graph = model.graph
    graph.name = name
    classes = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    graph.node.append(
        helper.make_node("Softmax", ["logits"], ["probabilities"], name="/Softmax", axis=1)
    )
    graph.output.append(
        helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["batch", classes])
    )
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)

    with torch.no_grad():
        expected = network(torch.from_numpy(example)).numpy()
    logits, _ = common.run(file, example)
    # Two float32 implementations of the same sums; a wrong weight would be off by orders more.
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    return file


def shape_of(value: onnx.ValueInfoProto) -> dict[str, Any]:
    """Name, type and shape of a graph input or output."""
    tensor = value.type.tensor_type
    return {
        "name": value.name,
        "dtype": str(helper.tensor_dtype_to_np_dtype(tensor.elem_type)),
        "shape": [dim.dim_param or dim.dim_value for dim in tensor.shape.dim],
    }


def record(
    name: str,
    file: Path,
    *,
    dataset: dict[str, Any],
    train: Split,
    test: Split,
    samples: list[dict[str, Any]],
) -> None:
    """Measure the written file on the test examples and its samples; note all in the MANIFEST.

    Args:
        name: the model.
        file: its ONNX file.
        dataset: name, source and licence.
        train: what it was trained on.
        test: what it was not trained on.
        samples: `file` (relative to the model's folder), `row` in a table, true `label`.
    """
    model = onnx.load(file)
    labels = common.labels_of(name)
    correct = int((common.run(file, test.x)[0].argmax(1) == test.labels).sum())
    for sample in samples:
        probabilities = common.run(file, common.read_sample(name, sample))[1][0]
        sample["predicted"] = labels[int(probabilities.argmax())]
        sample["probability"] = round(float(probabilities.max()), 4)
    common.record(
        name,
        {
            "file": file.relative_to(common.ROOT).as_posix(),
            "sha256": common.sha256(file),
            "bytes": file.stat().st_size,
            "made_by": f"python models/train_{name}.py",
            "made_with": {
                "torch": torch.__version__,
                "exporter": "torch.onnx.export, TorchScript (dynamo=False)",
                "onnx": onnx.__version__,
                "onnxruntime": onnxruntime.__version__,
            },
            "opset": model.opset_import[0].version,
            "ir_version": model.ir_version,
            "inputs": [shape_of(value) for value in model.graph.input],
            "outputs": [shape_of(value) for value in model.graph.output],
            "parameters": sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer),
            "operators": dict(sorted(Counter(node.op_type for node in model.graph.node).items())),
            "dataset": dataset | {"split": {"train": len(train.x), "test": len(test.x)}},
            "accuracy": {
                "test": round(correct / len(test.x), 4),
                "correct": correct,
                "of": len(test.x),
                "command": f"python models/evaluate.py {name}",
            },
            "samples": samples,
        },
    )
    print(f"{name}: {correct} of {len(test.x)} test examples right, {file.stat().st_size} bytes")
