"""An augmented model as a file."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from igrt.attribution import write_atomically
from igrt.errors import InputError
from igrt.graph import Graph, load, serialise
from igrt.graph.load import external_files
from igrt.graph.normalize import normalize
from igrt.specs import STRAIGHT_THROUGH
from igrt.vjp.augment import differentiate


def save_augmented(
    model: Path,
    output: Path,
    *,
    wrt: Sequence[str] | None = None,
    of: str | None = None,
    quantised: str = STRAIGHT_THROUGH,
) -> dict[str, Any]:
    """Write a model with its gradient graph; external data files are copied beside it.

    Args:
        model: The model's file.
        output: File to write.
        wrt: Tensors to differentiate with respect to; all float inputs by default.
        of: Tensor to differentiate; the first float output by default.
        quantised: ``straight_through`` or ``dequantise``, for a quantised model.

    Returns:
        What was written: file, nodes, how many of them were added, cotangent and gradients.

    Raises:
        InputError: If `output` is the model itself or cannot be written, or if another file is
            where the external data would go.
    """
    if output.suffix.lower() != ".onnx":
        raise InputError(
            f"cannot write {output}: it should end in .onnx",
            hint=f"name it {output.with_suffix('.onnx').name}",
        )
    if not output.parent.is_dir():
        raise InputError(f"cannot write {output}: no such folder", hint=f"mkdir -p {output.parent}")
    if output.exists() and model.exists() and output.samefile(model):
        raise InputError(f"{output} is the model itself", hint="choose another name")
    source = load(model)
    normal = normalize(source.model, quantised)
    found = differentiate(normal, wrt=wrt, of=of)
    data = serialise(found.model)
    copies = _copies(found.model, model.parent, output.parent)
    for here, there in copies:
        there.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(there, partial(_copy, here))
    write_atomically(output, lambda path: _write(data, path))
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


def _copies(model: onnx.ModelProto, source: Path, folder: Path) -> list[tuple[Path, Path]]:
    """External data files that are not in the folder yet, and where they go."""
    copies = []
    for location in external_files(model):
        here, there = source / location, folder / location
        if not there.exists():
            copies.append((here, there))
        elif not there.samefile(here) and not filecmp.cmp(here, there, shallow=False):
            raise InputError(
                f"{there} exists and holds other data than the model's {here}",
                hint="write into a folder of its own",
            )
    return copies


def _copy(source: Path, path: Path) -> None:
    shutil.copyfile(source, path)


def _write(data: bytes, path: Path) -> None:
    path.write_bytes(data)


__all__ = ["save_augmented"]
