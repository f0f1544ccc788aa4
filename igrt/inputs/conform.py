"""Makes an array that someone gave fit a tensor of the model, or says exactly why it does not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from igrt.errors import InputError
from igrt.specs import Array, TensorSpec, as_native

_EXACT = 2**53
"""Largest magnitude up to which float64 holds every integer."""


def conform(where: str, array: object, spec: TensorSpec) -> Array:
    """`array` with the batch axis, shape and element type of `spec`.

    Args:
        where: What the array is called in errors, such as a file name.
        array: Anything that `numpy.asarray` takes.
        spec: The tensor that it is for.

    Returns:
        Native, C-contiguous array of `spec.dtype` (float32 for bfloat16, which NumPy lacks; NumPy
        text for strings), with a batch axis of 1 in front if only that was missing.

    Raises:
        InputError: If the shape does not fit, a number is not finite, or converting the elements
            would change what they mean.
    """
    native = as_native(where, array)
    shape = fit_shape(where, native.shape, spec)
    return convert(where, native, spec).reshape(shape)


def fit_shape(where: str, shape: Sequence[int], spec: TensorSpec) -> tuple[int, ...]:
    """`shape` with the batch axis that `spec` has, checked against the dimensions of `spec`.

    Axis 0 of a tensor of two or more axes counts the examples and may be any number but 0, even
    where the model fixes it: whether a fixed batch can be lifted is not for a file reader to say.
    Other fixed dimensions must match, and a symbol must stand for one size.

    Raises:
        InputError: If it does not fit.
    """
    got = tuple(int(s) for s in shape)
    if spec.shape is None:
        full = got
    elif len(got) + 1 == len(spec.shape):
        full = (1, *got)
    elif len(got) == len(spec.shape):
        full = got
    else:
        raise _misfit(where, got, spec)
    sizes: dict[str, int] = {}
    for axis, (size, dim) in enumerate(zip(full, spec.shape or (), strict=False)):
        if axis == 0 and len(full) > 1:
            continue
        if isinstance(dim, str) and sizes.setdefault(dim, size) != size:
            raise _misfit(where, got, spec)
        if isinstance(dim, int) and dim != size:
            raise _misfit(where, got, spec)
    if 0 in full:
        raise InputError(f"{where} is empty: its shape is {list(got)}", hint="give one example")
    return full


def convert(where: str, array: Array, spec: TensorSpec) -> Array:
    """`array` with the element type of `spec`, if that changes no meaning.

    Floats become narrower or wider floats and integers become floats quietly; floats become
    integers only where every one is a whole number in range; text is only for text tensors.

    Raises:
        InputError: If it would lose something, or a float is NaN or infinite.
    """
    kind = array.dtype.kind
    if spec.dtype == "string" or kind in "US":
        if spec.dtype == "string" and kind == "U":
            return array
        raise _wrong_type(where, array, spec)
    try:
        wanted = np.dtype("float32" if spec.dtype == "bfloat16" else spec.dtype)
    except TypeError:
        raise InputError(f"`{spec}` has an element type that cannot be read from a file") from None
    if kind not in "biuf":
        raise _wrong_type(where, array, spec)
    if kind == "f":
        _check_finite(where, array, "is")
    if array.dtype == wanted:
        return array
    if wanted.kind == "f":
        with np.errstate(over="ignore"):
            result = array.astype(wanted)
        if kind in "fiu":
            _check_finite(where, result, f"is out of range for {spec.dtype}:", array)
        return result
    return _to_whole(where, array, wanted, spec)


def _to_whole(where: str, array: Array, wanted: np.dtype[np.generic], spec: TensorSpec) -> Array:
    # compared as Python numbers: int64's largest value has no float64
    low, high = (0, 1) if wanted.kind == "b" else _range(wanted)
    if array.dtype.kind == "f":
        fractions = array != np.trunc(array)
        if fractions.any():
            at = _first(fractions)
            raise InputError(
                f"{where} holds {array[at]} at {list(at)}, but `{spec}` takes whole numbers",
                hint="convert it yourself if rounding is meant",
            )
        low, high = max(low, -_EXACT), min(high, _EXACT)
    if int(array.min()) < low or int(array.max()) > high:
        at = _first((array < low) | (array > high))
        raise InputError(
            f"{where} holds {array[at]} at {list(at)}, which is out of range for `{spec}`"
        )
    return array.astype(wanted)


def _range(wanted: np.dtype[np.generic]) -> tuple[int, int]:
    info = np.iinfo(wanted.name)
    return int(info.min), int(info.max)


def _check_finite(where: str, array: Array, what: str, original: Array | None = None) -> None:
    finite = np.isfinite(array)
    if not finite.all():
        at = _first(~finite)
        shown = array[at] if original is None else original[at]
        raise InputError(
            f"{where} {what} not finite: {shown} at index {list(at)}"
            if original is None
            else f"{where} {what} {shown} at index {list(at)}",
            hint="an explanation needs ordinary numbers; replace or drop such entries",
        )


def _first(mask: Array) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(mask)), mask.shape))


def _wrong_type(where: str, array: Array, spec: TensorSpec) -> InputError:
    names = {"U": "text", "S": "bytes", "M": "dates", "m": "durations", "V": "records"}
    held = names.get(array.dtype.kind, str(array.dtype))
    wanted = "text" if spec.dtype == "string" else "numbers"
    return InputError(f"{where} holds {held}, but `{spec}` takes {wanted}")


def _misfit(where: str, got: tuple[int, ...], spec: TensorSpec) -> InputError:
    assert spec.shape is not None
    expected = ", ".join("?" if d is None else str(d) for d in spec.shape)
    return InputError(
        f"{where} does not fit `{spec.name}`: expected shape [{expected}], got {list(got)}",
        hint=_shape_hint(got, spec),
    )


def _shape_hint(got: tuple[int, ...], spec: TensorSpec) -> str:
    assert spec.shape is not None
    wanted = spec.shape[-3:]
    swaps = {"numpy.moveaxis(x, -1, -3)": got[-1:] + got[-3:-1]}
    swaps["numpy.moveaxis(x, -3, -1)"] = got[-2:] + got[-3:-2]
    if len(got) >= 3 and len(wanted) == 3 and len(got) in (len(spec.shape), len(spec.shape) - 1):
        for call, shape in swaps.items():
            if all(not isinstance(d, int) or d == s for d, s in zip(wanted, shape, strict=True)):
                return f"the channels are on the wrong axis: {call} puts them right"
    if len(got) == len(spec.shape) + 1 and got[0] == 1:
        return "drop the leading axis of 1: this tensor has no batch axis"
    return "the first axis counts the examples; it may be left out for a single one"


__all__ = ["conform", "convert", "fit_shape"]
