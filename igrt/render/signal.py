"""Attribution of a signal: what the model was given over time, and which parts of it count."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from igrt.render.colour import limit, strength
from igrt.render.facts import number, printable
from igrt.specs import Array

COLUMNS = 1280
"""Most columns of a drawing, about the device pixels of its width; more samples share one."""

_MOST_CHANNELS = 12
"""Lines that can be told apart, one below another; more are drawn as a map."""

_FEW_CHANNELS = 8
_LEAST_STEPS = 8
"""What makes a signal of a table of numbers, where the model does not say which axis is time."""


@final
@dataclass(frozen=True, eq=False)
class Channel:
    """One line of a signal; where a column stands for several samples, what they span and sum to.

    Args:
        name: Name of the channel; empty if there is one only.
        low: Least sample of each column, [columns].
        high: Largest sample of each column, [columns]; the same where a column is one sample.
        strength: Attribution of each column relative to the signal's `top`, -1 ... 1, [columns].
        total: Sum of the attribution.
    """

    name: str
    low: Array
    high: Array
    strength: Array
    total: float


@final
@dataclass(frozen=True, eq=False)
class Signal:
    """A signal and its attribution.

    Args:
        channels: Its lines.
        top: Attribution of a column drawn in full colour.
        total: Sum of the attribution.
        length: Steps of time.
        rate: Samples per second; 0 where it is not known.
    """

    channels: tuple[Channel, ...]
    top: float
    total: float
    length: int
    rate: float

    @property
    def columns(self) -> int:
        """Columns drawn."""
        return len(self.channels[0].strength)


def time_axis(shape: tuple[int, ...], layout: str) -> int | None:
    """Which axis of a row is time; None where it is no signal, or one of too many channels.

    Args:
        shape: Shape of the row, with or without the axis of the examples.
        layout: A letter for each axis of the tensor with N for the examples, T for time, and C for
            channels, such as ``NTC``; anything else if unknown.
    """
    axis: int | None = None
    letters = layout[len(layout) - len(shape) :] if len(layout) - len(shape) in (0, 1) else ""
    if set(letters) <= set("NCT") and "T" in letters and shape[letters.index("T")] > 1:
        axis = letters.index("T")
    elif len(shape) == 2:
        long = int(np.argmax(shape))
        few = shape[1 - long] <= min(_FEW_CHANNELS, shape[long] // 2)
        axis = long if few and shape[long] >= _LEAST_STEPS else None
    if axis is None:
        return None
    return axis if math.prod(shape) <= _MOST_CHANNELS * shape[axis] else None


def signal(
    values: Array, given: Array, axis: int, names: tuple[str, ...] = (), rate: float = 0.0
) -> Signal:
    """A row as a signal.

    Args:
        values: Attribution.
        given: What the model was given, of the same shape.
        axis: Which axis is time.
        names: Names along the last axis; empty if unknown.
        rate: Samples per second; 0 where it is not known.
    """
    length = values.shape[axis]
    lines = np.moveaxis(values, axis, -1).reshape(-1, length)
    inputs = np.moveaxis(given, axis, -1).reshape(-1, length).astype(np.float64)
    starts = np.linspace(0, length, min(length, COLUMNS) + 1).astype(np.int64)[:-1]
    sums = np.add.reduceat(lines, starts, axis=1)
    low, high = (f.reduceat(inputs, starts, axis=1) for f in (np.minimum, np.maximum))
    if len(starts) < length:  # up to the last sample before, so that no gap opens
        before = inputs[:, np.maximum(starts - 1, 0)]
        low, high = np.minimum(low, before), np.maximum(high, before)
    top = limit(sums)
    if len(names) != len(lines) or axis == values.ndim - 1:
        names = tuple(f"channel {i}" for i in range(len(lines))) if len(lines) > 1 else ("",)
    return Signal(
        channels=tuple(
            Channel(printable(name), low[i], high[i], strength(sums[i], top), float(lines[i].sum()))
            for i, name in enumerate(names)
        ),
        top=top,
        total=float(values.sum()),
        length=length,
        rate=rate,
    )


def describe(drawn: Signal) -> str:
    """How long the signal is, and what is drawn of it."""
    text = f"{drawn.length:,} steps"
    if drawn.rate:
        seconds = number(drawn.length / drawn.rate)
        text = f"{drawn.length:,} samples, {seconds} s at {drawn.rate:,.0f} a second"
    if len(drawn.channels) > 1:
        text += f", {len(drawn.channels)} channels"
    if drawn.columns < drawn.length:
        text += f"; a column sums {number(drawn.length / drawn.columns)} of them"
    return text


__all__ = ["COLUMNS", "Channel", "Signal", "describe", "signal", "time_axis"]
