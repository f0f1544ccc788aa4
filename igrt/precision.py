"""`Precision`: how the gradients of a path are rounded, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, final

import numpy as np

from igrt.errors import InputError, NonFiniteError, ProviderError, did_you_mean
from igrt.runtime.paths import Integrals, Paths
from igrt.runtime.points import Points
from igrt.runtime.session import full_name
from igrt.specs import Array

NAMES = ("float32", "tf32", "fp16")
"""``float32``: as the model is. ``tf32``: products of matrices round their operands to 10 bits of
mantissa, on CUDA alone. ``fp16``: products and what lies between them are in float16."""

_ALPHAS = (0.25, 0.75)
"""Where gradients are compared: rounding errors are of one size all along a path, so few points
tell it, and each costs an evaluation in either precision."""


def check(precision: str, provider: str) -> None:
    """Refuse what does not exist, or not on this provider.

    Raises:
        InputError: If there is no such precision.
        ProviderError: If the provider is another than the precision needs.
    """
    if precision not in NAMES:
        raise InputError(
            f"unknown precision {precision!r}", hint=did_you_mean(str(precision), list(NAMES))
        )
    name = full_name(provider)
    if precision == "tf32" and name not in ("auto", "CUDAExecutionProvider"):
        raise ProviderError(
            f"tf32 is a mode of NVIDIA's matrix units, and the provider is {name}",
            hint="use provider cuda, or leave the precision at float32",
        )


@contextmanager
def ranging(precision: str) -> Iterator[None]:
    """Says where a gradient that is not finite may come from the range of float16 alone."""
    try:
        yield
    except NonFiniteError as error:
        if precision != "fp16":
            raise
        hint = "float16 ends at 65,504: use the precision float32"
        raise NonFiniteError(error.message, hint=hint, feeds=error.feeds) from None


@final
class Rounding:
    """What a precision below float32 changes, measured on the paths themselves.

    Args:
        precision: Its name.
        rounded: The model in this precision.
        exact: The model in float32.
        names: Attributed tensors, in the order of the first outputs.
    """

    def __init__(
        self, precision: str, rounded: Points, exact: Points, names: Sequence[str]
    ) -> None:
        self._precision, self._names = precision, names
        self._rounded, self._exact = rounded, exact

    def added(self, found: Integrals, paths: Paths) -> tuple[Integrals, dict[str, Any]]:
        """The integrals with the rounding in their error, and what the provenance says of it.

        With g and ĝ the gradients in float32 and in this precision, and d = x - x',

        rounding = max(mean ‖d·(ĝ - g)‖₁, ‖values‖₁ · Σ ‖d·(ĝ - g)‖₁ / Σ ‖d·g‖₁)

        over some points of each path. The first bounds the error of an integral whose rounding is
        the same everywhere; the second is for gradients that differ in size along the path.
        """
        apart, size = self._compared(paths)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(apart == 0, 0.0, apart / size)
        norms = sum(np.abs(v).reshape(len(v), -1).sum(axis=1) for v in found.values.values())
        rounding = np.maximum(apart / len(_ALPHAS), relative * norms)
        said = {
            "name": self._precision,
            "difference": float(relative.max(initial=0.0)),
            "points": len(_ALPHAS),
        }
        return replace(found, error=found.error + rounding), said

    def _compared(self, paths: Paths) -> tuple[Array, Array]:
        """Σ over the points of ‖d·(ĝ - g)‖₁ and of ‖d·g‖₁, per path."""
        path = np.repeat(np.arange(len(paths)), len(_ALPHAS))
        alphas = np.tile(_ALPHAS, len(paths))
        apart, size = np.zeros(len(paths)), np.zeros(len(paths))
        for start in range(0, len(path), self._exact.chunk):
            part = slice(start, start + self._exact.chunk)
            low, true = (
                self._at(p, path[part], alphas[part]) for p in (self._rounded, self._exact)
            )
            for name, rounded, exact in zip(self._names, low, true, strict=True):
                scale = self._scale(paths, name, path[part])
                for total, what in ((apart, rounded - exact), (size, exact)):
                    np.add.at(total, path[part], (scale * np.abs(what)).sum(axis=1))
        return apart, size

    def _at(self, points: Points, path: Array, alphas: Array) -> list[Array]:
        """Gradients at some points, [points, features] float64 each."""
        found: list[list[Array]] = []
        for _, lane in points.run(path, points.paths.baseline[path], alphas):
            made = lane.read()[: len(self._names)]
            found.append([m.astype(np.float64) for m in made])
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]

    @staticmethod
    def _scale(paths: Paths, name: str, path: Array) -> Array | float:
        """|x - x'| where gradients are multiplied by that, else 1."""
        if name not in paths.inputs or not paths.times_difference:
            return 1.0
        x = paths.inputs[name][paths.example[path]].reshape(len(path), -1).astype(np.float64)
        return np.abs(x - paths.baselines[name][paths.baseline[path]].reshape(len(path), -1))


__all__ = ["NAMES", "Rounding", "check", "ranging"]
