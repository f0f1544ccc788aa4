"""Where the maxima of windows lie, and cotangents brought back there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from igrt.graph import Emitter, Node, Value
from igrt.vjp.geometry import Window, fit, window
from igrt.vjp.movement import parts


def spread_maxima(emit: Emitter, node: Node, ct: Value) -> Value:
    """x‾[q] = Σ ȳ[p] over the windows p of a MaxPool whose first maximum is x[q].

    First in row-major order: the maximum is taken axis by axis, the last one first, which keeps the
    order and needs k + l comparisons instead of k·l. Channels go last, so that what moves along an
    axis are rows of all channels: onnxruntime gathers those on all threads, but pads, slices and
    joins short rows on one, and several times slower.
    """
    x, counts = node["X"], emit.dims(node.output, 2)
    sizes = emit.dims(x, 2)
    win = window(emit, node, sizes)
    to_last = [0, *win.axes, 1]
    largest, backward = emit.Transpose(x, perm=to_last), list[Callable[[Value], Value]]()
    for i in reversed(range(win.rank)):
        largest, pull = _max_along(emit, largest, _line(emit, win, i, sizes, counts))
        backward.append(pull)
    ct = emit.Transpose(ct, perm=to_last)
    for pull in reversed(backward):
        ct = pull(ct)
    return emit.Transpose(ct, perm=[0, win.rank + 1, *range(1, win.rank + 1)])


@final
@dataclass(frozen=True)
class _Candidate:
    """x_o[p] = x[s·p + d·o - b], which may be the maximum of window p along an axis.

    Args:
        index: s·p + d·o - b for each window, an int64 vector; in the padding, that of the nearest
            candidate outside.
        leads: For each window, whether the candidates before it are all in the padding and it is
            not; None for nowhere.
        phase: f = (d·o - b) mod s: it is one of x[f], x[s + f], …
        shift: (d·o - b) div s: it is number p + shift of these.
        idle: A window where it is in the padding and another one is not, which is therefore the
            maximum: its share of the cotangent is 0. None where no such window is known.
    """

    index: Value
    leads: Value | None
    phase: int
    shift: int
    idle: int | None


@final
@dataclass(frozen=True)
class _Line:
    """The windows along one axis.

    Args:
        axis: Which axis, channels last.
        stride: s.
        size: Elements of x, an int64 vector of one element.
        begin: What candidates are shifted by in front of their `shift`, the same: the padding b
            where it is known at run time only.
        margin: Elements that a shifted phase is at most short of, where sizes are not known.
        candidates: Those of each window, in order.
    """

    axis: int
    stride: int
    size: Value
    begin: Value
    margin: int
    candidates: list[_Candidate]


def _line(emit: Emitter, win: Window, i: int, sizes: Value, counts: Value) -> _Line:
    kernel, pads = win.kernel.constant, win.pads
    assert kernel is not None  # an attribute
    k, s, d = int(kernel[i]), win.strides[i], win.dilations[i]
    before, behind = (pads[i], pads[win.rank + i]) if pads else (0, 0)
    begin, size = emit.Gather(win.begin, [i]), emit.Gather(sizes, [i])
    place = _range(emit, emit.Gather(counts, [i])) * s - begin
    candidates = []
    for o in range(k):
        at = place + d * o
        low, high = _ends(emit, at, size - 1, d)
        index = emit.Max(emit.Min(at, high), low)
        leads = emit.Equal(at, low) if o and (before or pads is None) else None
        if leads is not None and leads.constant is not None and not leads.constant.any():
            leads = None
        if d > 1:  # all of a window may be padding
            index = emit.Min(index, size - 1)
        shift, phase = divmod(d * o - before, s)
        candidates.append(_Candidate(index, leads, phase, shift, _idle(at, place, size, d)))
    offset = begin if pads is None else emit.constant([0])
    return _Line(i + 1, s, size, offset, behind // s + d * (k - 1) // s + 2, candidates)


def _range(emit: Emitter, count: Value) -> Value:
    known = count.constant
    if known is not None:
        return emit.constant(np.arange(known.item()))
    return emit.Range(emit.lift(0, count), emit.Squeeze(count, [0]), emit.lift(1, count))


def _ends(emit: Emitter, at: Value, last: Value, d: int) -> tuple[Value, Value]:
    """The first and the last index of x that lie a number of whole steps d from another."""
    if d == 1:
        return emit.constant([0]), last
    step = emit.constant([d])
    return emit.Mod(at, step), last - emit.Mod(last - at, step)


def _idle(at: Value, place: Value, size: Value, d: int) -> int | None:
    index, first, end = at.constant, place.constant, size.constant
    if index is None or first is None or end is None:
        return None
    outside = (index < 0) | (index >= end)
    held = np.where(first < 0, first % d, first) < end
    idle = np.flatnonzero(outside & held)
    return int(idle[0]) if idle.size else None


def _max_along(emit: Emitter, x: Value, line: _Line) -> tuple[Value, Callable[[Value], Value]]:
    """Maximum of the windows along one axis, and its pullback."""
    axis = line.axis
    values = [_gathered(emit, x, c.index, axis) for c in line.candidates]
    largest, later = values[0], []
    # a later one wins only if it is larger: the first wins ties
    for value, candidate in zip(values[1:], line.candidates[1:], strict=True):
        wins = emit.Less(largest, value)
        if candidate.leads is not None:
            wins = emit.Or(wins, _over_rows(emit, candidate.leads, x, axis))
        later.append(wins)
        largest = emit.Max(largest, value)

    def pull(ct: Value) -> Value:
        shares = []
        for wins in reversed(later):
            # Where would keep an infinite cotangent from making NaN of 0 here, at 14 times the time
            shares.append(ct * emit.cast(wins, ct.dtype))
            ct = ct - shares[-1]
        shares.append(ct)
        sums: list[Value | None] = [None] * line.stride
        rows = (line.size + line.begin + (line.stride - 1)) / emit.constant([line.stride])
        for candidate, share in zip(line.candidates, reversed(shares), strict=True):
            moved, sofar = _moved(emit, share, candidate, rows, line), sums[candidate.phase]
            sums[candidate.phase] = moved if sofar is None else sofar + moved
        return _interleaved(emit, sums, rows, line)

    return largest, pull


def _gathered(emit: Emitter, value: Value, index: Value, axis: int) -> Value:
    known, size = index.constant, emit.dims(value, axis, axis + 1).constant
    if known is not None and size is not None and np.array_equal(known, np.arange(size.item())):
        return value
    return emit.Gather(value, index, axis=axis)


def _over_rows(emit: Emitter, mask: Value, like: Value, axis: int) -> Value:
    """A mask along an axis in rows of all channels: comparing short ones takes longer."""
    column = emit.Unsqueeze(mask, list(range(1, like.rank - axis)))
    if axis < like.rank - 2:
        return column
    return emit.Expand(column, emit.vector(1, emit.dims(like, axis + 1)))


def _moved(emit: Emitter, share: Value, candidate: _Candidate, rows: Value, line: _Line) -> Value:
    """What a candidate brings to its phase of x: y[j] = share[j - shift], else 0."""
    count, wanted = emit.dims(share, line.axis, line.axis + 1).constant, rows.constant
    if count is not None and wanted is not None:
        index = np.arange(wanted.item()) - candidate.shift
        outside = (index < 0) | (index >= count)
        if candidate.idle is not None:
            index[outside] = candidate.idle
        if candidate.idle is not None or not outside.any():
            return _gathered(emit, share, emit.constant(index), line.axis)
    return fit(emit, share, line.axis, candidate.shift, rows, 0.0, line.margin)


def _interleaved(emit: Emitter, phases: list[Value | None], rows: Value, line: _Line) -> Value:
    """x of its phases x[f], x[s + f], …; None stands for zeros."""
    axis, s = line.axis, line.stride
    some = next(p for p in phases if p is not None)
    if s == 1:
        return some
    full = [emit.zeros_like(some) if p is None else p for p in phases]
    known, wanted = (rows * s).constant, line.size.constant
    if known is not None and wanted is not None and known == wanted:
        joined = emit.Concat(*(emit.Unsqueeze(p, [axis + 1]) for p in full), axis=axis + 1)
        sizes = parts(emit, some)
        sizes[axis] = line.size
        return emit.reshape(joined, sizes)
    at, step = _range(emit, line.size) + line.begin, emit.constant([s])
    index = at / step + emit.Mod(at, step) * rows
    return emit.Gather(emit.Concat(*full, axis=axis), index, axis=axis)


__all__ = ["spread_maxima"]
