"""Where a picture goes in a tensor: which axes are channels, rows and columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from igrt.errors import InputError
from igrt.specs import Array, Dim, TensorSpec

PIXEL_LIMIT = 50_000_000
"""Most pixels of a picture, before and after resizing; ten times a large photograph on the web."""

_COUNTS = (1, 3)


@final
@dataclass(frozen=True)
class Frame:
    """Axes of a picture in a tensor.

    Args:
        layout: ``NCHW`` or ``NHWC``.
        channels: Number of channels, where the model fixes it.
        height: Number of rows, where the model fixes it.
        width: Number of columns, where the model fixes it.
        lacks: Axis of `layout` that the tensor does not have: ``N``, ``C`` or none.
    """

    layout: str
    channels: Dim
    height: Dim
    width: Dim
    lacks: str = ""

    @classmethod
    def of(cls, spec: TensorSpec, layout: str | None) -> Frame:
        """The frame in `spec`; `layout` settles what the shape leaves open.

        Tensors of four axes are [N, C, H, W] or [N, H, W, C], of three [C, H, W], [H, W, C] or, if
        no end of the shape is a number of channels, gray [N, H, W].

        Raises:
            InputError: If the tensor takes no pictures.
        """
        shape = spec.shape if spec.shape is not None else (None,) * 4
        if len(shape) == 4:
            layout = layout or _guess(shape[1], shape[3])
            if layout == "NCHW":
                frame = cls(layout, shape[1], shape[2], shape[3])
            else:
                frame = cls("NHWC", shape[3], shape[1], shape[2])
        elif len(shape) == 3 and shape[0] in _COUNTS and layout != "NHWC":
            frame = cls("NCHW", shape[0], shape[1], shape[2], "N")
        elif len(shape) == 3 and shape[2] in _COUNTS and layout != "NCHW":
            frame = cls("NHWC", shape[2], shape[0], shape[1], "N")
        elif len(shape) == 3:
            frame = cls(layout or "NCHW", 1, shape[1], shape[2], "C")
        else:
            raise InputError(
                f"`{spec}` takes no pictures: they need an axis for rows and one for columns",
                hint="give its numbers as .npy, .json or .csv",
            )
        if isinstance(frame.channels, int) and frame.channels not in _COUNTS:
            raise InputError(
                f"`{spec}` takes {frame.channels} channels in {frame.layout};"
                " pictures have 3, or 1 in gray",
                hint="set `layout` in a preprocessing file, or give the numbers as .npy",
            )
        return frame

    def place(self, pixels: Array) -> Array:
        """`pixels` [H, W, C] with the axes of the tensor."""
        array = pixels[np.newaxis]
        if self.lacks == "N":
            array = array[0]
        if self.lacks == "C":
            return array[..., 0]
        return np.moveaxis(array, -1, -3) if self.layout == "NCHW" else array


def _guess(first: Dim, last: Dim) -> str:
    """Layout of a tensor with these sizes after the batch axis and at the end."""
    if first in _COUNTS:
        return "NCHW"
    if last in _COUNTS:
        return "NHWC"
    # the channels are then on the axis that is open, and most exporters put them first
    return "NHWC" if isinstance(first, int) and not isinstance(last, int) else "NCHW"


__all__ = ["PIXEL_LIMIT", "Frame"]
