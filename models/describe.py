"""What MANIFEST.json says of a model, measured on the written file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import common
import measures
import numpy as np
import onnx
import onnxruntime
from datasets import Split
from onnx import helper

IR_VERSION = 8  # newer ones are refused by runtimes still in use


def write(name: str, model: onnx.ModelProto) -> Path:
    """Check `model`, give it its name and an old IR version, and write it to its folder."""
    model.graph.name = name
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    file = common.ROOT / name / f"{name}.onnx"
    file.parent.mkdir(exist_ok=True)
    onnx.save(model, file)
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
    *,
    made_with: Mapping[str, str],
    dataset: Mapping[str, Any],
    train: int,
    test: Split,
    samples: Sequence[dict[str, Any]],
) -> None:
    """Measure the written file on the test examples and its samples; note all in the MANIFEST.

    Args:
        name: the model.
        made_with: versions of what trained and exported it.
        dataset: name, source and licence.
        train: number of examples it was trained on.
        test: what it was not trained on.
        samples: `file` (relative to the model's folder), `row` where it has several, `label`.
    """
    file = common.ROOT / name / f"{name}.onnx"
    model = onnx.load(file)
    for sample in samples:
        sample |= measures.predicted(name, common.run(file, common.read_sample(name, sample)))
    figures = measures.measure(name, file, test)
    common.record(
        name,
        {
            "file": file.relative_to(common.ROOT).as_posix(),
            "sha256": common.sha256(file),
            "bytes": file.stat().st_size,
            "made_by": f"python models/train_{name}.py",
            "made_with": {
                **made_with,
                "onnx": onnx.__version__,
                "onnxruntime": onnxruntime.__version__,
            },
            "opset": next(item.version for item in model.opset_import if not item.domain),
            "ir_version": model.ir_version,
            "inputs": [shape_of(value) for value in model.graph.input],
            "outputs": [shape_of(value) for value in model.graph.output],
            "parameters": sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer),
            "operators": dict(sorted(Counter(node.op_type for node in model.graph.node).items())),
            "dataset": {**dataset, "split": {"train": train, "test": len(test)}},
            "test": {**figures, "command": f"python models/evaluate.py {name}"},
            "samples": list(samples),
        },
    )
    shown = ", ".join(f"{key} {value:.4f}" for key, value in figures.items())
    print(f"{name}: {shown} on {len(test)} test examples, {file.stat().st_size} bytes")
