"""Arrays in `.npy`, `.npz` and `.json` files; what a file claims is checked before it is read."""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from numpy.lib import format as npy

from igrt.errors import InputError
from igrt.inputs.conform import fit_shape
from igrt.inputs.regular import check_regular, printable_path, read_text
from igrt.inputs.suggest import did_you_mean
from igrt.specs import Array, TensorSpec

ARRAY_LIMIT = 2 * 2**30
"""Largest array read from an archive, bytes: a small archive can claim to hold anything."""

_DEPTH = 32
"""Deepest nesting of JSON lists; ONNX tensors of more axes do not occur."""


def read_npy(path: Path, spec: TensorSpec) -> Array:
    """The array of a `.npy` file, as it is stored.

    Raises:
        InputError: If it is no intact `.npy` file of numbers or text, or does not fit `spec`.
    """
    size = check_regular(path)
    shown = f"`{printable_path(path)}`"
    try:
        with path.open("rb") as file:
            return _read_stream(shown, file, size, spec)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise _damaged(shown, ".npy", error) from None


def read_npz(path: Path, spec: TensorSpec) -> Array:
    """The only array of a `.npz` file, or the one named like the tensor.

    Raises:
        InputError: If it is no intact archive, it is unclear which array is meant, the array does
            not fit `spec`, or it takes more than 2 GiB.
    """
    check_regular(path)
    shown = f"`{printable_path(path)}`"
    try:
        with zipfile.ZipFile(path) as archive:
            members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}
            name = _choose(shown, sorted(members), spec)
            member = members[name]
            if member.file_size > ARRAY_LIMIT:
                raise InputError(
                    f"array `{name}` in {shown} takes {member.file_size:,} bytes;"
                    f" at most {ARRAY_LIMIT:,} are read"
                )
            with archive.open(member) as file:
                return _read_stream(f"array `{name}` in {shown}", file, member.file_size, spec)
    except InputError:
        raise
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, MemoryError) as error:
        raise _damaged(shown, ".npz", error) from None
    except RuntimeError as error:  # encrypted, or a compression that Python lacks
        raise _damaged(shown, ".npz", error) from None


def npz_names(path: Path) -> list[str]:
    """Names of the arrays in a `.npz` file.

    Raises:
        InputError: If it is no intact archive.
    """
    check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise _damaged(f"`{printable_path(path)}`", ".npz", error) from None


def _choose(shown: str, names: list[str], spec: TensorSpec) -> str:
    if spec.name in names:
        return spec.name
    if len(names) == 1:
        return names[0]
    if not names:
        raise InputError(f"{shown} holds no arrays")
    listed = ", ".join(f"`{n}`" for n in names[:20]) + (", ..." if len(names) > 20 else "")
    raise InputError(
        f"{shown} holds {len(names)} arrays and none is named `{spec.name}`: {listed}",
        hint=did_you_mean(spec.name, names, "save one array, or name it like the tensor"),
    )


def _read_stream(shown: str, file: IO[bytes], size: int, spec: TensorSpec) -> Array:
    """Reads one array of `size` bytes, header included, after looking at what it claims to be."""
    version = npy.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = npy.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = npy.read_array_header_2_0(file)
    else:
        raise InputError(f"{shown} is .npy version {version[0]}.{version[1]}, which holds records")
    if min(shape, default=0) < 0:
        raise InputError(f"{shown} claims the impossible shape {list(shape)}")
    if dtype.hasobject:
        raise InputError(
            f"{shown} holds Python objects, which could run code when read",
            hint="save it as an array of numbers or text",
        )
    fit_shape(shown, shape, spec)
    claimed = math.prod(shape) * dtype.itemsize
    if claimed > size - file.tell():
        raise InputError(
            f"{shown} is cut off: {list(shape)} {dtype} takes {claimed:,} bytes,"
            f" the file has {size - file.tell():,}",
            hint="get the file again",
        )
    file.seek(0)
    return np.asarray(npy.read_array(file, allow_pickle=False))


def _damaged(shown: str, kind: str, error: BaseException) -> InputError:
    if isinstance(error, InputError):
        return error
    if isinstance(error, PermissionError):
        return InputError(f"cannot read {shown}: {error.strerror}")
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return InputError(f"{shown} is no intact {kind} file: {reason}")


def read_json(path: Path, spec: TensorSpec) -> Array:
    """Nested lists of numbers, or of strings for text tensors, in a `.json` file.

    Raises:
        InputError: If it is no JSON, holds anything else, is ragged, or does not fit `spec`.
    """
    shown = f"`{printable_path(path)}`"
    document = parse_json(shown, read_text(path))
    if isinstance(document, dict):
        raise InputError(
            f"{shown} holds an object, not nested lists of numbers", hint="write [[1.0, 2.0], ...]"
        )
    array = _rectangular(shown, document)
    fit_shape(shown, array.shape, spec)
    return array


def parse_json(shown: str, text: str) -> Any:
    """The JSON document in `text`, by the standard: without NaN and infinity.

    Raises:
        InputError: If it is not JSON.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise InputError(f"{shown} is nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{shown} is not JSON: {error}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, and an explanation needs ordinary numbers")


def _rectangular(shown: str, document: Any) -> Array:
    """Nested lists as an array, level by level: a document may be deeper than Python recurses."""
    level: list[Any] = [document]
    shape: list[int] = []
    while level and all(isinstance(item, list) for item in level):
        lengths = {len(item) for item in level}
        if len(lengths) > 1:
            few, many = min(lengths), max(lengths)
            raise InputError(
                f"{shown} is ragged: at depth {len(shape) + 1}, lists have {few} to {many} items"
            )
        shape.append(lengths.pop())
        if len(shape) > _DEPTH:
            raise InputError(f"{shown} is nested more than {_DEPTH} deep")
        level = [entry for item in level for entry in item]
    kinds = {type(item) for item in level}
    if kinds <= {int, float, bool}:
        flat = _numbers(shown, level, kinds)
    elif kinds == {str}:
        flat = np.asarray(level, dtype=np.str_)
    else:
        words = {list: "lists", dict: "objects", str: "strings", type(None): "null"}
        found = sorted({words.get(kind, "numbers") for kind in kinds})
        raise InputError(
            f"{shown} mixes {' and '.join(found)} at depth {len(shape)}"
            if len(found) > 1
            else f"{shown} holds {found[0]}, not numbers"
        )
    return flat.reshape(shape)


def _numbers(shown: str, level: list[Any], kinds: set[type]) -> Array:
    if kinds == {bool}:
        return np.asarray(level, dtype=np.bool_)
    wanted = (np.float64,) if float in kinds else (np.int64, np.uint64)
    for dtype in wanted:
        try:
            return np.asarray(level, dtype=dtype)
        except OverflowError:
            continue
    raise InputError(f"{shown} holds a number that is too large")


__all__ = ["ARRAY_LIMIT", "npz_names", "parse_json", "read_json", "read_npy", "read_npz"]
