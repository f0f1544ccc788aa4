"""Any input file to an array that fits a tensor of the model: `read`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from igrt.errors import InputError
from igrt.inputs.arrays import npz_names, read_json, read_npy, read_npz
from igrt.inputs.conform import conform
from igrt.inputs.pictures import read_picture
from igrt.inputs.preprocess import Preprocess
from igrt.inputs.regular import check_regular, printable_path
from igrt.inputs.sound import read_wav
from igrt.inputs.suggest import did_you_mean
from igrt.inputs.tables import read_columns, read_csv
from igrt.specs import Array, TensorSpec

_ARRAYS = {".npy": read_npy, ".npz": read_npz, ".json": read_json}
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif")
SUFFIXES = (*_ARRAYS, ".csv", ".wav", *_PICTURES)
"""Suffixes of the files that `read` reads."""

_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib")


@final
@dataclass(frozen=True, eq=False)
class Loaded:
    """What one or more files gave for one tensor.

    Args:
        array: The tensor, in the model's element type and with its batch axis.
        features: Names along the last axis, from a table's header; empty if unknown.
        pictures: What the model sees of each picture, uint8 [height, width, 3]; empty for others.
        layout: ``NCHW`` or ``NHWC`` for pictures, ``NT``, ``NCT`` or ``NTC`` for sound; else empty.
        rate: Samples per second of sound; 0 for others.
        sources: Where each example came from, one per entry of axis 0.
    """

    array: Array
    features: tuple[str, ...] = ()
    pictures: tuple[Array, ...] = ()
    layout: str = ""
    rate: float = 0.0
    sources: tuple[str, ...] = ()


def read(
    path: str | os.PathLike[str], spec: TensorSpec, preprocess: Preprocess | None = None
) -> Loaded:
    """The array in a file, by its suffix, made to fit `spec`.

    Args:
        path: A `.npy`, `.npz`, `.json` or `.csv` file, a picture, or sound in a `.wav` file.
        spec: The tensor of the model that it is for.
        preprocess: How pictures become tensors; other files hold the model's own numbers.

    Raises:
        InputError: If the file cannot be read, is damaged or hostile, or does not fit.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    check_regular(path)
    if suffix in _PICTURES:
        array, seen, layout = read_picture(path, spec, preprocess)
        return Loaded(array, pictures=(seen,), layout=layout, sources=_sources(path, 1))
    if suffix == ".wav":
        sound, rate, layout = read_wav(path, spec)
        array = conform(f"`{printable_path(path)}`", sound, spec)
        return Loaded(array, layout=layout, rate=rate, sources=_sources(path, 1))
    features: tuple[str, ...] = ()
    if suffix in _ARRAYS:
        raw = _ARRAYS[suffix](path, spec)
    elif suffix == ".csv":
        raw, features = read_csv(path, spec)
    else:
        raise _unknown(path, suffix)
    array = conform(f"`{printable_path(path)}`", raw, spec)
    return _loaded(path, array, features if array.shape[-1:] == (len(features),) else ())


def read_all(path: str | os.PathLike[str], specs: Sequence[TensorSpec]) -> dict[str, Loaded]:
    """One file for several tensors: columns of a table, or arrays of an archive, by their names.

    Args:
        path: A `.csv` file with one column for each tensor, or a `.npz` file with one array for
            each; what it has beside them is left out.
        specs: The tensors.

    Raises:
        InputError: If the file is neither, lacks a tensor, or does not fit.
    """
    path = Path(path)
    shown = printable_path(path)
    check_regular(path)
    if path.suffix.lower() == ".csv":
        columns = read_columns(path, specs)
        return {
            s.name: _loaded(path, conform(f"`{shown}`, column `{s.name}`", columns[s.name], s))
            for s in specs
        }
    held = npz_names(path) if path.suffix.lower() == ".npz" else []
    missing = [s.name for s in specs if s.name not in held]
    if missing:
        raise InputError(
            f"the model has {len(specs)} inputs: which one is {shown}?",
            hint=f"write --input NAME={shown} with one of {', '.join(s.name for s in specs[:8])}"
            + ("" if not held else f"; the archive lacks `{missing[0]}`"),
        )
    return {s.name: read(path, s) for s in specs}


def join(parts: Sequence[Loaded]) -> Loaded:
    """Several files for one tensor as one batch, in their order.

    Raises:
        InputError: If they differ in more than the number of examples.
    """
    first = parts[0]
    for part in parts[1:]:
        if part.array.shape[1:] != first.array.shape[1:] or part.array.ndim < 2:
            raise InputError(
                f"`{part.sources[0]}` does not fit in a batch with `{first.sources[0]}`:"
                f" {list(part.array.shape[1:])} and {list(first.array.shape[1:])} per example"
            )
        if part.rate != first.rate:
            raise InputError(
                f"`{part.sources[0]}` and `{first.sources[0]}` have {part.rate:,.0f} and"
                f" {first.rate:,.0f} samples a second",
                hint="resample one of them",
            )
        if (part.layout, part.features) != (first.layout, first.features):
            raise InputError(
                f"`{part.sources[0]}` and `{first.sources[0]}` are different kinds of input",
                hint="give pictures with pictures, and tables with the same columns",
            )
    return Loaded(
        np.concatenate([part.array for part in parts]),
        first.features,
        tuple(picture for part in parts for picture in part.pictures),
        first.layout,
        first.rate,
        tuple(source for part in parts for source in part.sources),
    )


def _loaded(path: Path, array: Array, features: tuple[str, ...] = ()) -> Loaded:
    return Loaded(array, features, sources=_sources(path, len(array) if array.ndim > 1 else 1))


def _sources(path: Path, count: int) -> tuple[str, ...]:
    name = printable_path(Path(path.name))
    return (name,) if count == 1 else tuple(f"{name}[{i}]" for i in range(count))


def _unknown(path: Path, suffix: str) -> InputError:
    hint = did_you_mean(suffix, SUFFIXES, f"the suffixes read are {' '.join(SUFFIXES)}")
    if suffix in _PICKLES:
        hint = "pickles can run code when read: save the array with numpy.save"
    said = f"unknown suffix `{suffix}`" if suffix else "it has no suffix"
    return InputError(f"cannot tell what `{printable_path(path)}` holds: {said}", hint=hint)


__all__ = ["SUFFIXES", "Loaded", "join", "read", "read_all"]
