"""`Features`: what is put in and taken out as one, an element or all channels of a pixel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from igrt.errors import InputError
from igrt.specs import Array, Feeds


@final
@dataclass(frozen=True, eq=False)
class Features:
    """The features of one example, numbered through all its tensors.

    Args:
        index: Feature of every element, [*shape] int64 by tensor.
        count: Number of features.
    """

    index: Mapping[str, Array]
    count: int

    @classmethod
    def of(cls, x: Feeds, together: Mapping[str, int] | None = None) -> Features:
        """Every element is a feature of its own, but for those along an axis named.

        Args:
            x: One example, [*shape] by tensor.
            together: Axis whose elements are one feature, by tensor: the channels of a picture,
                the numbers of a token.

        Raises:
            InputError: If a tensor does not have that axis, or there is no element.
        """
        index, start = {}, 0
        for name, array in x.items():
            shape = list(np.shape(array))
            axis = (together or {}).get(name)
            if axis is not None:
                if not -len(shape) <= axis < len(shape):
                    raise InputError(f"`{name}` has the shape {shape}, and no axis {axis}")
                shape[axis] = 1
            size = int(np.prod(shape, dtype=np.int64))
            numbers = np.arange(start, start + size).reshape(shape)
            index[name] = np.broadcast_to(numbers, np.shape(array))
            start += size
        if not start:
            raise InputError("there are no features", hint="give an input with elements")
        return cls(index, start)

    def sums(self, values: Feeds) -> Array:
        """Sum over each feature's elements, [features] float64."""
        found = np.zeros(self.count)
        for name, index in self.index.items():
            weights = np.asarray(values[name], dtype=np.float64).reshape(-1)
            found += np.bincount(index.reshape(-1), weights, self.count)
        return found

    def mixed(self, chosen: Array, x: Feeds, baseline: Feeds) -> dict[str, Array]:
        """Rows with the chosen features of `x` and all others of the baseline.

        Args:
            chosen: [rows, features] bool.
            x: [*shape] by tensor.
            baseline: [*shape] by tensor.
        """
        return {n: np.where(chosen[:, i], x[n], baseline[n]) for n, i in self.index.items()}


def channels(layouts: Mapping[str, str]) -> dict[str, int]:
    """Axis of the channels in one picture, by tensor, for layouts ``NCHW`` and ``NHWC``."""
    return {n: 0 if layout == "NCHW" else -1 for n, layout in layouts.items()}


__all__ = ["Features", "channels"]
