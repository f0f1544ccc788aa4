"""From the user's arrays to what the model takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from igrt.errors import InputError, did_you_mean
from igrt.rows import Batching, NotRows
from igrt.specs import Array, TensorSpec, as_native


def example_feeds(
    specs: tuple[TensorSpec, ...], inputs: Any, layout: Batching
) -> tuple[dict[str, Array], bool]:
    """Arrays with an example axis in front for every input, and whether the user left it out.

    Args:
        specs: The model's inputs.
        inputs: Arrays by name, or one array for a model with one input.
        layout: Which inputs have a batch axis in the model.

    Raises:
        InputError: If an input is missing, unknown, or does not fit its spec.
    """
    if not isinstance(inputs, Mapping):
        if len(specs) != 1:
            raise InputError(
                f"the model has {len(specs)} inputs, one array was given",
                hint=f"give a mapping with the names {', '.join(f'`{s.name}`' for s in specs)}",
            )
        inputs = {specs[0].name: inputs}
    known = {s.name for s in specs}
    for name in inputs:
        if name not in known:
            raise InputError(
                f"the model has no input `{name}`", hint=did_you_mean(str(name), known)
            )
    feeds: dict[str, Array] = {}
    without: set[bool] = set()
    for spec in specs:
        if spec.name not in inputs:
            raise InputError(
                f"input {spec} is missing",
                hint=f"give all of {', '.join(f'`{s.name}`' for s in specs)}",
            )
        array = as_model_type(spec, inputs[spec.name])
        array, bare = _with_example_axis(spec, array, spec.name in layout.inputs)
        if spec.name in layout.inputs:
            without.add(bare)
        feeds[spec.name] = array
    counts = {n: len(a) for n, a in feeds.items() if n in layout.inputs or not layout.batched}
    examples = max(counts.values(), default=1)
    for name, count in counts.items():
        if count not in (1, examples):
            raise NotRows(
                f"inputs have different numbers of examples: {counts}",
                hint="give every input one row per example",
            )
        if count == 0:
            raise InputError(f"input `{name}` has no rows", hint="give at least one example")
    feeds = {
        n: np.broadcast_to(a, (examples, *a.shape[1:])) if len(a) != examples else a
        for n, a in feeds.items()
    }
    return feeds, without == {True}


def as_model_type(spec: TensorSpec, array: Any) -> Array:
    """An array in the element type of an input; never silently narrowed to integers.

    Raises:
        InputError: If the types do not fit or a number is not finite.
    """
    native = as_native(spec.name, array)
    if spec.dtype == "string":
        if native.dtype.kind not in "US":
            raise InputError(
                f"input {spec} takes text, not {native.dtype}", hint="give an array of strings"
            )
        return native.astype(object)
    if native.dtype.kind in "US" or spec.dtype in ("unknown", "sequence", "map", "optional"):
        raise InputError(
            f"input {spec} cannot be fed with {native.dtype}", hint="give an array of its type"
        )
    wanted = np.dtype(spec.dtype)
    if native.dtype == wanted:
        converted = native
    elif spec.is_float or np.array_equal(native, native.astype(wanted)):
        with np.errstate(over="ignore"):
            converted = native.astype(wanted)
    else:
        raise InputError(
            f"input {spec} takes whole numbers; {native.dtype} values would be cut",
            hint="round them yourself if that is meant",
        )
    if spec.is_float and not np.isfinite(converted).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(converted))[0])
        raise InputError(
            f"input `{spec.name}` is NaN or infinite at {list(where)}",
            hint="an explanation needs ordinary numbers; replace or drop such entries",
        )
    return converted


def _with_example_axis(spec: TensorSpec, array: Array, batched: bool) -> tuple[Array, bool]:
    if spec.shape is None:
        return (array, False) if batched else (array[np.newaxis], True)
    shape = list(spec.shape)
    inner = shape[1:] if batched else shape
    if array.ndim == len(inner):
        array, bare = array[np.newaxis], True
    elif batched and array.ndim == len(shape):
        bare = False
    else:
        raise InputError(
            f"input {spec} has {len(shape)} axes; "
            f"an array of the shape {list(array.shape)} was given",
            hint="give one example, or several along the first axis"
            if batched
            else "it has no batch axis: give one example at a time"
            + (" or leave it out of `wrt`" if array.ndim == len(inner) + 1 else ""),
        )
    for got, want in zip(array.shape[1:], inner, strict=True):
        if isinstance(want, int) and got != want:
            raise InputError(
                f"input {spec}: expected {[d if d is not None else '?' for d in shape]}, "
                f"got {list(array.shape)}",
                hint="resize or pad the example; the model has this size built in",
            )
    return array, bare


__all__ = ["as_model_type", "example_feeds"]
