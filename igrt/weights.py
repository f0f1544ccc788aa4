"""The large tensors of a model in files, for all graphs that are made of it.

A graph that is made of a model has its weights as well. Where they lie in the graphs, each graph
and each session holds them once more; where graphs refer to a file, onnxruntime maps it, and
sessions share one mapping.
"""

from __future__ import annotations

import logging
import mmap
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, final

import numpy as np

from igrt.errors import OutOfMemory
from igrt.source import LOCATION, Bytes
from igrt.specs import Array
from igrt.wire import fields, message, varint

log = logging.getLogger("igrt")

_LEAST = 8 << 20
"""Bytes of weights from which on they get a file."""

_LARGER = 1 << 16
"""Elements up to which a tensor stays where it is: rules may ask what is in it."""

_SHARED = 64 << 20
"""Bytes of matrices from which on sessions read them where they are, and pack none of their own:
a product is up to 4 % slower, and each session smaller by all of them."""

_PREFIX = "igrt-weights-"
_UNLOCKED = 60.0
"""Seconds for which a new file may have no lock yet."""

_PAGE = 4096
_FLOATS: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.float32),
    10: np.dtype(np.float16),
    11: np.dtype(np.float64),
}
"""Element type by the number that ONNX gives it; tensors of other types stay in the model."""


@final
class Weights:
    """A file that ends with this object.

    Args:
        folder: The folder of the file, with nothing else in it.
        file: The file, open and locked.
    """

    def __init__(self, folder: Path, file: BinaryIO) -> None:
        self._folder = folder
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        weakref.finalize(self, _remove, folder, file, os.getpid())

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self._map)

    @property
    def folder(self) -> Path:
        """The folder of the file.

        Raises:
            OutOfMemory: If somebody has removed it, and there is no place to write it again.
        """
        file = self._folder / LOCATION
        if not file.exists():  # folders for temporary files are swept now and then
            try:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                handle, partial = tempfile.mkstemp(dir=self._folder)
                with os.fdopen(handle, "wb") as copy:
                    copy.write(self._map)
                os.replace(partial, file)
            except OSError as error:
                raise OutOfMemory(
                    f"{self._folder} was removed, and cannot be written again: {error.strerror}",
                    hint="keep the folder for temporary files, or name another one in TMPDIR",
                ) from None
        return self._folder


@final
class Shared:
    """Files of weights in a folder, each mapped once for all sessions."""

    def __init__(self) -> None:
        self._files: dict[Path, mmap.mmap] = {}

    def arrays(self, model: bytes, folder: Path) -> dict[str, Array]:
        """What sessions of a graph read where it is, by the name of an initialiser.

        Nothing where packed matrices, which make products faster, take little.

        Args:
            model: Serialised graph.
            folder: What its references to files are relative to.
        """
        tensors = _references(model)
        if sum(t.length for t in tensors if len(t.shape) == 2) < _SHARED:
            return {}
        found = {}
        for t in tensors:
            file = np.frombuffer(self._file(folder / t.location), np.uint8)
            aligned = t.offset % t.dtype.itemsize == 0
            if aligned and 0 <= t.offset <= len(file) - t.length:
                part = file[t.offset : t.offset + t.length]
                found[t.name] = part.view(t.dtype).reshape(t.shape)
        return found

    def let_go(self) -> None:
        """Have the system take back what was read so far; what is read again comes back.

        The first run reads a table of embeddings, from which on nobody looks anything up.
        """
        if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            for file in self._files.values():
                file.madvise(mmap.MADV_DONTNEED)

    def _file(self, path: Path) -> mmap.mmap:
        if path not in self._files:
            with path.open("rb") as file:
                self._files[path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._files[path]


def taken_out(given: Bytes) -> tuple[Bytes, Weights | None]:
    """A model without its large tensors, and these; as it is and None where that does not serve.

    That is so for small models, for those with external data, which is in files already, and where
    no file can be written and locked.
    """
    if len(given.data) < _LEAST:
        return given, None
    data = memoryview(given.data)
    large: list[tuple[int, memoryview]] = []

    def place(raw: memoryview) -> int:
        last, bytes_ = large[-1] if large else (0, memoryview(b""))
        offset = -(-(last + len(bytes_)) // _PAGE) * _PAGE
        large.append((offset, raw))
        return offset

    try:
        lean = b"".join(_inside(data, {7: lambda g: _inside(g, {5: lambda t: _tensor(t, place)})}))
    except (IndexError, ValueError):  # no model, which is said where it is read
        return given, None
    if sum(len(raw) for _, raw in large) < _LEAST or lean.count(_KEY) > len(large):
        return given, None
    try:
        weights = _written(large)
    except (OSError, ImportError) as error:
        log.debug("the weights have no file of their own: %s", error)
        return given, None
    return replace(given, data=lean, proto=None, digest=given.sha256), weights


def _written(large: list[tuple[int, memoryview]]) -> Weights:
    import fcntl

    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    file = (folder / LOCATION).open("w+b")
    try:
        fcntl.flock(file, fcntl.LOCK_SH)
        for offset, raw in large:
            file.seek(offset)
            file.write(raw)
        file.flush()
        return Weights(folder, file)
    except OSError:
        _remove(folder, file, os.getpid())
        raise


def _remove(folder: Path, file: BinaryIO, process: int) -> None:
    file.close()
    if os.getpid() == process:  # and not in a fork of it
        shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    """Remove what processes left that were killed: their locks ended with them."""
    import fcntl

    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError), (folder / LOCATION).open("r+b") as file:
            if time.time() - os.fstat(file.fileno()).st_mtime > _UNLOCKED:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


_Parts = Iterator[bytes | memoryview]


def _inside(data: memoryview, change: dict[int, Callable[[memoryview], _Parts]]) -> _Parts:
    """A message with the messages in some of its fields changed."""
    for field, begin, start, end in fields(data):
        if field in change:
            yield message(field, b"".join(change[field](data[start:end])))
        else:
            yield data[begin:end]


def _tensor(data: memoryview, place: Callable[[memoryview], int]) -> _Parts:
    """A TensorProto, or what refers to its bytes in the file."""
    raw = [(start, end) for field, _, start, end in fields(data) if field == 9]
    known = _shape_and_type(data)
    if len(raw) != 1 or known is None:
        return iter([data])
    shape, dtype = known
    start, end = raw[0]
    if prod(shape) <= _LARGER or end - start != prod(shape) * dtype.itemsize:
        return iter([data])
    return _reference(data, place(data[start:end]), end - start)


def _reference(data: memoryview, offset: int, length: int) -> _Parts:
    for field, begin, _, end in fields(data):
        if field not in (9, 14):
            yield data[begin:end]
    for key, value in (("location", LOCATION), ("offset", offset), ("length", length)):
        yield message(13, message(1, key.encode()) + message(2, str(value).encode()))
    yield bytes([14 << 3, 1])


_KEY = message(1, b"location")


def _shape_and_type(
    data: memoryview,
) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
    shape: list[int] = []
    dtype: np.dtype[Any] | None = None
    for field, _, start, end in fields(data):
        if field == 1:
            at = start
            while at < end:  # one number, or several of them in one field
                size, at = varint(data, at)
                shape.append(size)
        elif field == 2:
            dtype = _FLOATS.get(varint(data, start)[0])
    return None if dtype is None else (tuple(shape), dtype)


@final
@dataclass(frozen=True)
class _Tensor:
    """A tensor whose elements are in a file."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    location: str
    offset: int

    @property
    def length(self) -> int:
        """Its bytes."""
        return prod(self.shape) * self.dtype.itemsize


def _references(model: bytes) -> list[_Tensor]:
    """The initialisers of a graph that are in files."""
    found = []
    for field, _, start, end in fields(memoryview(model)):
        if field == 7:
            graph = memoryview(model)[start:end]
            tensors = (graph[a:b] for inner, _, a, b in fields(graph) if inner == 5)
            found += [t for t in map(_referred, tensors) if t is not None]
    return found


def _referred(data: memoryview) -> _Tensor | None:
    entries: dict[str, str] = {}
    name = ""
    for field, _, start, end in fields(data):
        if field == 8:
            name = bytes(data[start:end]).decode(errors="replace")
        elif field == 13:
            pair = data[start:end]
            texts = {n: bytes(pair[a:b]).decode(errors="replace") for n, _, a, b in fields(pair)}
            entries[texts.get(1, "")] = texts.get(2, "")
    known = _shape_and_type(data)
    if "location" not in entries or known is None:
        return None
    shape, dtype = known
    try:
        offset = int(entries.get("offset", "0"))
    except ValueError:  # onnxruntime says so
        return None
    return _Tensor(name, dtype, shape, entries["location"], offset)


__all__ = ["Shared", "Weights", "taken_out"]
