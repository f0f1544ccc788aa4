"""Inputs made up from what a model declares."""

from __future__ import annotations

import math

import numpy as np

from igrt.errors import IgrtError, InputError
from igrt.explainer import Explainer
from igrt.specs import Array, TensorSpec

_LARGEST = 50_000_000
"""Elements up to which an input is made up."""

_UNKNOWN_SIZES = (8, 64, 512)
"""Sizes tried for axes whose size the model leaves open, one after the other."""


def drawn(explainer: Explainer, seed: int) -> dict[str, Array]:
    """Normal numbers for float inputs and zeros for others, with which the model runs.

    Raises:
        InputError: If no such inputs can be made.
    """
    reason = ""
    for size in _UNKNOWN_SIZES:
        draw = np.random.default_rng(seed)
        made = {s.name: _one(s, draw, size) for s in explainer.inputs}
        try:
            explainer._placing.place(made, None)
        except IgrtError as error:
            reason = reason or error.message.splitlines()[0]
        else:
            return made
    raise InputError(
        f"the model does not run with inputs drawn at random: {reason}", hint="give it some inputs"
    )


def _one(spec: TensorSpec, draw: np.random.Generator, size: int) -> Array:
    if spec.dtype in ("unknown", "sequence", "map", "optional"):
        raise InputError(f"input {spec} is no tensor of a known type", hint="give it some inputs")
    sizes = [d if isinstance(d, int) else size for d in spec.shape or ()]
    if spec.shape and not isinstance(spec.shape[0], int):
        sizes[0] = 1
    if math.prod(sizes) > _LARGEST:
        raise InputError(f"input {spec} is too large to be drawn", hint="give it some inputs")
    if spec.is_float:
        dtype = "float32" if spec.dtype == "bfloat16" else spec.dtype
        return draw.standard_normal(sizes).astype(dtype)
    return np.zeros(sizes, dtype="U1" if spec.dtype == "string" else spec.dtype)


__all__ = ["drawn"]
