"""Gaussian blur, for baselines and for pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from igrt.specs import Array


def gaussian(x: Array, sigma: float, axes: Sequence[int]) -> Array:
    """Convolve along some axes with a normal density, edges repeated, float64 in the shape of x.

    Args:
        x: Float array of any shape.
        sigma: Standard deviation in elements; the kernel is cut off at four of them.
        axes: Axes to blur along.
    """
    radius = int(np.ceil(4 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    blurred = x.astype(np.float64)
    for axis in axes:
        widths = [(radius, radius) if a == axis else (0, 0) for a in range(x.ndim)]
        padded = np.pad(blurred, widths, mode="edge")
        blurred = np.apply_along_axis(np.convolve, axis, padded, kernel, "valid")
    return blurred


__all__ = ["gaussian"]
