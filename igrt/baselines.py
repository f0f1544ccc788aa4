"""Baselines: the input that stands for "nothing there", where the path begins."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from igrt.blur import gaussian
from igrt.errors import InputError
from igrt.specs import Array, as_native

Baseline = Any
"""None, a number, an array, a text such as ``"blur:4"``, or a mapping from names to these."""

_SPEC = re.compile(r"(?P<kind>[a-z]+)(?::(?P<argument>.+))?")

NAMES = ("zeros", "constant:V", "mean", "blur:SIGMA", "uniform:SEED", "token:ID")


def build(baseline: Baseline, inputs: Mapping[str, Array], *, batched: bool) -> dict[str, Array]:
    """One baseline for each attributed input, in its shape and element type.

    Args:
        baseline: What the user gave.
        inputs: The attributed inputs, [examples, ...] or without an example axis.
        batched: Whether the inputs have an example axis.

    Raises:
        InputError: If it is unknown, does not fit the inputs, or is not finite.
    """
    if isinstance(baseline, Mapping):
        unknown = set(baseline) - set(inputs)
        if unknown:
            raise InputError(
                f"baseline for `{sorted(unknown)[0]}`, which is not attributed",
                hint=f"attributed are {', '.join(f'`{n}`' for n in inputs)}",
            )
        return {n: _one(baseline.get(n), n, x, batched=batched) for n, x in inputs.items()}
    if len(inputs) > 1 and baseline is not None and not isinstance(baseline, (str, int, float)):
        raise InputError(
            "one array as baseline, but several inputs are attributed",
            hint=f"give a mapping with the names {', '.join(f'`{n}`' for n in inputs)}",
        )
    return {n: _one(baseline, n, x, batched=batched) for n, x in inputs.items()}


def as_list(baselines: Baseline | Sequence[Baseline]) -> list[Baseline]:
    """Several baselines (a list or tuple) as a list; one baseline as a list of one."""
    if isinstance(baselines, (list, tuple)) and baselines and not _is_number_list(baselines):
        return list(baselines)
    if isinstance(baselines, (list, tuple)) and not baselines:
        raise InputError("an empty list of baselines", hint="leave it out to use zeros")
    return [baselines]


@final
@dataclass(frozen=True, eq=False)
class Background:
    """A set of baselines to draw from: one baseline, a list, or arrays with one in each row.

    Args:
        baselines: What the user gave.
    """

    baselines: Baseline | Sequence[Baseline]

    def members(self, points: Mapping[str, Array], feeds: Mapping[str, Array]) -> list[Baseline]:
        """Its baselines, one by one.

        Args:
            points: Attributed arrays by name, [examples, ...].
            feeds: The model's inputs, which a mapping may name instead.

        Raises:
            InputError: If the arrays of a mapping have different numbers of rows.
        """
        return [m for item in as_list(self.baselines) for m in self._rows(item, points, feeds)]

    def _rows(
        self, item: Baseline, points: Mapping[str, Array], feeds: Mapping[str, Array]
    ) -> list[Baseline]:
        if isinstance(item, Mapping):
            ranks = {n: a.ndim for n, a in {**feeds, **points}.items() if n in item}
            stacked = {n: a for n, a in item.items() if n in ranks and np.ndim(a) == ranks[n] > 0}
            counts = {n: len(a) for n, a in stacked.items()}
            if len(set(counts.values())) > 1:
                raise InputError(
                    f"baselines have different numbers of rows: {counts}",
                    hint="give each input one row per baseline",
                )
            if not counts:
                return [item]
            rows = range(next(iter(counts.values())))
            return [{**item, **{n: a[k] for n, a in stacked.items()}} for k in rows]
        if item is None or isinstance(item, str) or len(points) != 1:
            return [item]
        array = as_native("baselines", item)
        return list(array) if array.ndim == next(iter(points.values())).ndim else [item]


def of_any_example(baseline: Baseline, inputs: Mapping[str, Array]) -> bool:
    """Whether a baseline is the same for all examples: a number, or arrays without their axis."""
    if isinstance(baseline, Mapping):
        return all(
            n in inputs and not isinstance(b, str) and np.ndim(b) < inputs[n].ndim
            for n, b in baseline.items()
        )
    if isinstance(baseline, str):
        return False
    return baseline is None or all(np.ndim(baseline) < x.ndim for x in inputs.values())


def described(baselines: Any) -> str | list[str]:
    """What the baselines were, in words: arrays are not repeated in the provenance."""
    if isinstance(baselines, Background):
        baselines = baselines.baselines
    parts = [_in_words(b) for b in as_list(baselines)]
    return parts[0] if len(parts) == 1 else parts


def _in_words(baseline: Baseline) -> str:
    if isinstance(baseline, Mapping):
        return ", ".join(f"{n}: {_in_words(b)}" for n, b in baseline.items())
    if baseline is None:
        return "zeros"
    return str(baseline) if isinstance(baseline, (str, int, float)) else "array"


def _is_number_list(value: Sequence[Any]) -> bool:
    """Whether a nested list is an array written out, rather than several baselines."""
    if not all(isinstance(v, (list, tuple)) for v in value):
        return False
    first = value[0]
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    return isinstance(first, (int, float))


def _one(baseline: Any, name: str, x: Array, *, batched: bool) -> Array:
    if baseline is None:
        return np.zeros_like(x)
    if isinstance(baseline, str):
        return _named(baseline, name, x, batched=batched)
    array = as_native(f"baseline of {name}", baseline)
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise InputError(
            f"the baseline of `{name}` is not numeric: {array.dtype}", hint="give numbers"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(
            f"the baseline of `{name}` is not finite",
            hint="the model runs at the baseline too: give ordinary numbers",
        )
    fits = array.shape in (x.shape, (), x.shape[1:] if batched else x.shape) or (
        batched and array.shape == (1, *x.shape[1:])
    )
    if not fits:
        raise InputError(
            f"the baseline of `{name}` has the shape {list(array.shape)}, "
            f"the input {list(x.shape)}",
            hint="give one number, one example, or as many examples as the input has; a set to "
            "average over as a list, or to draw from with the method expected_gradients",
        )
    return np.ascontiguousarray(np.broadcast_to(array.astype(x.dtype), x.shape))


def _named(text: str, name: str, x: Array, *, batched: bool) -> Array:
    match = _SPEC.fullmatch(text.strip().lower())
    kind, argument = (match["kind"], match["argument"]) if match else ("", None)
    examples = x if batched else x[np.newaxis]
    match kind, argument:
        case "token", _:
            raise InputError(
                f"baseline {text!r}: `{name}` looks up no tokens",
                hint="it is for the embedding of token numbers; use zeros or constant:V",
            )
        case "zeros", None:
            return np.zeros_like(x)
        case "constant", str():
            return np.full_like(x, _number(argument, text))
        case "mean", None:
            made = _mean(examples, name)
        case "blur", str():
            made = _blur(examples, _number(argument, text), name)
        case "uniform", str():
            made = _uniform(examples, _number(argument, text))
        case _:
            raise InputError(f"unknown baseline {text!r}", hint=f"use {', '.join(NAMES)} or a file")
    return np.ascontiguousarray(made.astype(x.dtype).reshape(x.shape))


def _number(argument: str, text: str) -> float:
    try:
        value = float(argument)
    except ValueError:
        raise InputError(
            f"baseline {text!r}: {argument!r} is not a number", hint=f"use {', '.join(NAMES)}"
        ) from None
    if not np.isfinite(value):
        raise InputError(
            f"baseline {text!r} is not finite",
            hint="the model runs at the baseline too: give an ordinary number",
        )
    return value


def _spatial(x: Array) -> tuple[int, ...]:
    """Axes of a picture or signal that are neither the examples nor the channels.

    Channels are the axis of at most 4 that comes first or last; without one, the first is taken.
    """
    if x.ndim == 4 and x.shape[3] <= 4 < x.shape[1]:
        return 1, 2
    return tuple(range(2, x.ndim))


def _mean(x: Array, name: str) -> Array:
    """Mean over each example's spatial axes; for tables, over the examples."""
    axes = _spatial(x)
    if not axes:
        if len(x) == 1:
            raise InputError(
                f"the mean baseline of the table `{name}` needs several rows",
                hint="give the mean as a file or use constant:V",
            )
        axes = (0,)
    return np.broadcast_to(x.astype(np.float64).mean(axis=axes, keepdims=True), x.shape)


def _blur(x: Array, sigma: float, name: str) -> Array:
    """Gaussian blur along the spatial axes, edges repeated; sigma in pixels."""
    axes = _spatial(x)
    if not axes:
        raise InputError(f"`{name}` has no spatial axes to blur", hint="use zeros or constant:V")
    if not 0 < sigma <= 1000:
        raise InputError(
            f"blur needs a sigma above 0 and at most 1000, not {sigma:g}",
            hint="sigma is in pixels; a tenth of the picture's width hides most of it",
        )
    return gaussian(x, sigma, axes)


def _uniform(x: Array, seed: float) -> Array:
    """Uniform noise between each example's smallest and largest value."""
    if seed < 0 or seed != int(seed):
        raise InputError(f"a seed is a whole number from 0 on, not {seed:g}", hint="use uniform:0")
    wide = x.astype(np.float64)
    axes = tuple(range(1, x.ndim))
    low, high = wide.min(axis=axes, keepdims=True), wide.max(axis=axes, keepdims=True)
    made: Array = low + (high - low) * np.random.default_rng(int(seed)).random(x.shape)
    return made


__all__ = [
    "NAMES",
    "Background",
    "Baseline",
    "as_list",
    "build",
    "described",
    "of_any_example",
]
