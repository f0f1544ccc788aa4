"""An augmented model as a file."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from igrt.attribution import write_atomically
from igrt.errors import InputError
from igrt.graph import Graph, load, serialise
from igrt.graph.load import external_files
from igrt.graph.normalize import normalize
from igrt.vjp.augment import differentiate


def save_augmented(
    model: Path, output: Path, *, wrt: Sequence[str] | None = None, of: str | None = None
) -> dict[str, Any]:
    """Write a model with its gradient graph; external data files are copied beside it.

    Args:
        model: The model's file.
        output: File to write.
        wrt: Tensors to differentiate with respect to; all float inputs by default.
        of: Tensor to differentiate; the first float output by default.

    Returns:
        What was written: file, nodes, how many of them were added, cotangent and gradients.

    Raises:
        InputError: If `output` is the model itself or cannot be written.
    """
    if output.suffix.lower() != ".onnx":
        raise InputError(f"cannot write {output}: it should end in .onnx")
    if output.exists() and model.exists() and output.samefile(model):
        raise InputError(f"{output} is the model itself", hint="choose another name")
    source = load(model)
    normal = normalize(source.model)
    found = differentiate(normal, wrt=wrt, of=of)
    data = serialise(found.model)

    def write(path: Path) -> None:
        path.write_bytes(data)

    write_atomically(output, write)
    for location in external_files(found.model):
        here, there = Path(model).parent / location, output.parent / location
        if not there.exists() or not there.samefile(here):
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(here, there)
    graph = Graph(found.model)
    return {
        "model": str(model),
        "file": str(output),
        "bytes": len(data),
        "opset": graph.opset,
        "nodes": len(graph.nodes),
        "added": len(graph.nodes) - len(normal.graph.node),
        "of": str(found.of),
        "cotangent": str(graph.spec(found.cotangent)),
        "gradients": [str(graph.spec(n)) for n in found.gradients.values()],
    }


__all__ = ["save_augmented"]
