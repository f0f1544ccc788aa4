"""Models from and to files; weights in external files stay where they are and are never read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import final

import onnx
from google.protobuf.message import DecodeError, EncodeError

from igrt.errors import ModelLoadError
from igrt.graph.text import check_text
from igrt.graph.view import subgraphs
from igrt.source import LOCATION, Bytes, ModelLike, read


@final
@dataclass(frozen=True)
class Source:
    """A model as the user gave it.

    Args:
        model: The model; tensors in external files are references only.
        name: File name, or a word for a model from memory.
        folder: Folder that references to external files start from; None where there are none.
        sha256: Digest of the model's bytes (external files are not read).
    """

    model: onnx.ModelProto
    name: str
    folder: Path | None
    sha256: str


def load(model: ModelLike | Bytes) -> Source:
    """Read a model from a path, from bytes or from memory.

    Raises:
        ModelLoadError: If it is missing, unreadable, no ONNX model, or its external files are
            missing or outside its folder.
    """
    given = model if isinstance(model, Bytes) else read(model)
    proto = _parse(given.data, given.where) if given.proto is None else given.proto
    return _checked(proto, given)


def _parse(data: bytes, where: str) -> onnx.ModelProto:
    if not data:
        raise ModelLoadError(f"{where} is empty", hint="export or download the model again")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, UnicodeDecodeError, ValueError, RuntimeError):
        raise ModelLoadError(
            f"{where} is not an ONNX model, or is truncated", hint=_format_hint(data)
        ) from None
    return model


def _checked(model: onnx.ModelProto, given: Bytes) -> Source:
    name = given.name
    if not model.graph.node and not model.graph.output:
        raise ModelLoadError(f"{name} holds no ONNX graph", hint=_format_hint(given.data))
    if not model.graph.output:
        raise ModelLoadError(
            f"{name} has no outputs, so there is nothing to explain",
            hint="export it again, with the tensor to explain as an output",
        )
    model = _with_opset(model)
    if not any(o.domain in ("", "ai.onnx") for o in model.opset_import):
        raise ModelLoadError(
            f"{name} does not say which ONNX operator set (opset) it uses",
            hint="export it again with a current exporter",
        )
    check_text(model, name)
    for reference in external_files(model):
        _resolve(reference, name, given.folder)
    return Source(model, name, given.folder, given.sha256)


_FREE_CHOICE = 18
"""Opset of a model that uses no standard operator: what the gradient rules start from."""


def _with_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, or a copy with an opset for standard operators where it has other ones only."""
    domains = {o.domain for o in model.opset_import}
    if not domains or domains & {"", "ai.onnx"}:
        return model
    graphs = [model.graph]
    while graphs:
        for node in graphs.pop().node:
            if node.domain in ("", "ai.onnx"):
                return model
            graphs.extend(subgraphs(node))
    inside = [o for f in model.functions for o in f.opset_import if o.domain in ("", "ai.onnx")]
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    version = max((o.version for o in inside), default=_FREE_CHOICE)
    copy.opset_import.append(onnx.helper.make_opsetid("", version))
    return copy


def external_files(model: onnx.ModelProto) -> list[str]:
    """Locations of external tensor data that the model refers to anywhere, each once.

    Not the one of weights that igrt has taken out of the model itself.
    """
    tensors = [
        *_stored_in(model.graph),
        *(t for f in model.functions for node in f.node for t in _stored_in_node(node)),
    ]
    locations = (
        {e.key: e.value for e in tensor.external_data}.get("location", "")
        for tensor in tensors
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    )
    return [found for found in dict.fromkeys(locations) if found != LOCATION]


def _stored_in(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _stored_in_node(node)


def _stored_in_node(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
    for graph in subgraphs(node):
        yield from _stored_in(graph)


def _resolve(location: str, name: str, folder: Path | None) -> Path:
    """The one place that decides which external file a model may name.

    A model file from anywhere must not make us read outside its own folder, so a location is
    relative, has no `..`, and leads to a regular file.
    """
    # read as Windows reads it, a backslash separates and a drive letter is absolute as well
    path = PureWindowsPath(location)
    if not location or "\0" in location or path.anchor or ".." in path.parts:
        raise ModelLoadError(
            f"{name} refers to external data at {location!r}, outside its own folder",
            hint="put the data file beside the model",
        )
    if folder is None:
        raise ModelLoadError(
            f"the model refers to external data at {location!r}, which only a file can have",
            hint="pass the model's path",
        )
    file = folder / location
    if not file.is_file():
        raise ModelLoadError(
            f"external data file {location!r} of {name} is missing",
            hint=f"put it into {folder}",
        )
    return file


_MAGIC = {
    b"\x89HDF": "this looks like an HDF5 file (Keras); export it with tf2onnx",
    b"PK\x03\x04": "this looks like a zip archive (PyTorch .pt, Keras .keras); export it to ONNX",
    b"\x80\x02": "this looks like a Python pickle; export the model to ONNX",
    b"\x80\x04": "this looks like a Python pickle; export the model to ONNX",
    b"\x80\x05": "this looks like a Python pickle; export the model to ONNX",
    b"version https://git-lfs": "this is a Git LFS pointer; run `git lfs pull`",
}


def _format_hint(data: bytes) -> str:
    if data[4:8] == b"TFL3":
        return "this looks like a TensorFlow Lite file; export the original model to ONNX"
    if data[4:8] == b"ORTM":
        return "this is onnxruntime's own .ort format; use the .onnx file it was made from"
    for magic, hint in _MAGIC.items():
        if data.startswith(magic):
            return hint
    return "check that the file was exported or downloaded completely"


def serialise(model: onnx.ModelProto) -> bytes:
    """The model as bytes.

    Raises:
        ModelLoadError: If it passes protobuf's 2 GB, which external data avoids.
    """
    try:
        return bytes(model.SerializeToString())
    except (EncodeError, ValueError) as error:
        raise ModelLoadError(
            f"the model is too large for one file: {error}",
            hint="save its weights as external data first",
        ) from None


__all__ = ["Source", "external_files", "load", "serialise"]
