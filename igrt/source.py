"""The bytes of a model, their digest, and where it lies; nothing is parsed here."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, final

from igrt.errors import ModelLoadError

if TYPE_CHECKING:
    import onnx

ModelLike: TypeAlias = "str | os.PathLike[str] | bytes | onnx.ModelProto"

LOCATION = "igrt-weights"
"""What a model calls the file with those of its weights that were taken out of it."""


@final
@dataclass(frozen=True, eq=False)
class Bytes:
    """A model as it was read.

    Args:
        data: The serialised model; weights in external files are not in it.
        name: File name, or a word for a model from memory.
        where: The same for messages, with the path.
        folder: Folder that references to external files start from; None where there are none.
        proto: The model itself where it came from memory.
        digest: Digest of the bytes as they were read, where some have been taken out.
    """

    data: bytes
    name: str
    where: str
    folder: Path | None = None
    proto: onnx.ModelProto | None = None
    digest: str = ""

    @cached_property
    def sha256(self) -> str:
        """Digest of the bytes as they were read (external files are not)."""
        return self.digest or hashlib.sha256(self.data).hexdigest()


def read(model: ModelLike) -> Bytes:
    """Read a model from a path, from bytes or from memory.

    Raises:
        ModelLoadError: If it is missing or unreadable.
    """
    if isinstance(model, bytes):
        return Bytes(model, "model", "the byte string")
    if isinstance(model, (str, os.PathLike)):
        return _read_file(Path(model))
    onnx = sys.modules.get("onnx")  # whoever has such an object has imported it
    if onnx is None or not isinstance(model, onnx.ModelProto):
        raise ModelLoadError(
            f"a model is a path, bytes or onnx.ModelProto, not {type(model).__name__}",
            hint="pass one of these",
        )
    try:
        data = model.SerializeToString()
    except Exception as error:  # protobuf's, which is not imported for its name
        raise ModelLoadError(
            f"the model cannot be serialised: {error}",
            hint="save it with external data and pass the path",
        ) from None
    return Bytes(data, "model", "model", proto=model)


def _read_file(path: Path) -> Bytes:
    try:
        if not path.exists():
            raise ModelLoadError(f"no such model file: {path}", hint=_similar(path))
        if not path.is_file():
            raise ModelLoadError(f"{path} is not a file", hint="name the .onnx file itself")
        return Bytes(path.read_bytes(), path.name, str(path), path.parent)
    except OSError as error:
        raise ModelLoadError(
            f"cannot read {path}: {error.strerror or error}", hint="check its permissions"
        ) from None


def _similar(path: Path) -> str:
    import difflib

    try:
        names = [p.name for p in path.parent.iterdir() if p.suffix == ".onnx"]
    except OSError:
        return f"the folder {path.parent} does not exist"
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"did you mean {path.parent / close[0]}?" if close else "check the path"


__all__ = ["LOCATION", "Bytes", "ModelLike", "read"]
