"""The one loop: fill chunks, run them, add them up; memory does not grow with the steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from igrt.quadrature import Scheme
from igrt.runtime.device_lane import DeviceLane
from igrt.runtime.device_ledger import device_ledger
from igrt.runtime.kept import Kept, keeps, most_bytes
from igrt.runtime.ledger import Ledger, Piece, Pullback, Sums, of_pieces
from igrt.runtime.paths import Integrals, result_bytes
from igrt.runtime.plan import Keeping
from igrt.runtime.points import Points
from igrt.specs import Array


def keeping(scheme: Scheme, features: int, paths: int, results: int) -> Keeping:
    """What `integrate` keeps of some paths: at the least the sums of a single one."""
    sums = 8 * scheme.rules * features
    most = sums * paths if scheme.tolerance is None else most_bytes(features, paths)
    rows = paths * len(scheme.stages[0].alphas)
    return Keeping(sums, max(sums, most), result_bytes(features, paths, results), rows)


def integrate(
    points: Points,
    names: Sequence[str],
    scheme: Scheme,
    *,
    keep_bytes: int,
    pullback: Pullback | None = None,
) -> Integrals:
    """Integrate the gradient along every path.

    Rows of different paths share chunks: while one path waits for its last evaluations, the chunk
    is filled with those of others. Paths on the same line are in work together, at the same places
    as far as they want the same ones.

    Args:
        points: The model, whose outputs are the gradients of the attributed tensors.
        names: Attributed tensors, in the order of the outputs.
        scheme: Where to evaluate, and when to stop.
        keep_bytes: Memory for what is known of the paths in work: sums, or gradients.
        pullback: What makes sums of gradients of the sums of what the model gives, where that is
            something else; on the host.

    Raises:
        NonFiniteError: If a gradient is NaN or infinite.
        OutOfMemory: If not even one row fits.
        Cancelled, DeadlineExceeded: If the watch of the points says so.
    """
    paths, watch = points.paths, points.watch
    found = Integrals.empty(len(paths), {n: paths.inputs[n].shape[1:] for n in names}, points.chunk)
    ledger: Ledger
    lane = points.lane
    if pullback is not None:
        ledger = Sums(points, names, scheme, found, keep_bytes, pullback)
    elif isinstance(lane, DeviceLane):
        ledger = device_ledger(points, names, scheme, found, lane.device, keep_bytes)
    elif keeps(points, scheme, keep_bytes):
        ledger = Kept(points, names, scheme, found, keep_bytes)
    else:
        ledger = Sums(points, names, scheme, found, keep_bytes)
    watch.planned += len(paths) * ledger.first
    queue = _Queue(ledger, len(paths), points.siblings)
    begun: deque[list[Piece]] = deque()
    try:
        while begun or not queue.done:
            while points.free and (pieces := queue.chunk(points.chunk, points.free)):
                path, alphas = of_pieces(pieces)
                count = points.begin(path, paths.baseline[path], alphas)
                pieces = queue.give_back(pieces, len(alphas) - count)
                begun += [pieces] if count else []
            pieces = begun.popleft()
            count = points.end()
            if not count:
                for lost in (*reversed(begun), pieces):
                    queue.give_back(lost, sum(map(len, lost)))
                begun.clear()
                continue
            ledger.add(pieces)
            watch.planned += queue.deliver(pieces)
            watch.did(count)
    finally:
        points.settle()
    return replace(
        found, chunk=points.chunk, kept=ledger.held, rows=points.rows, points=points.distinct
    )


class _Queue:
    """Which points come next.

    Paths begin as long as a chunk is not full and there is a slot, and memory, for another one.
    Those in work come first.

    Args:
        ledger: What is known of the paths.
        paths: How many there are.
        siblings: Number of the line that each runs on, where points of the same line are best run
            together; else None.
    """

    def __init__(self, ledger: Ledger, paths: int, siblings: Array | None = None) -> None:
        self._ledger, self._siblings = ledger, siblings
        self._waiting = deque(range(paths))
        self._free = list(range(ledger.slots))
        self._pending: dict[int, int] = {}
        """Points of each slot that are not evaluated yet; in the order in which paths began."""
        self._held: dict[int, Piece] = {}
        """Points of slots that wait for memory."""
        self._queue: deque[Piece] = deque()
        self._queued = 0

    @property
    def done(self) -> bool:
        """Whether nothing is left."""
        return not self._waiting and not self._pending

    def chunk(self, rows: int, runs: int) -> list[Piece]:
        """The next points: as many as there are up to a number, shared out over so many runs."""
        for slot in [s for s in self._pending if s in self._held]:
            self._ask(self._held.pop(slot))
        while self._waiting and self._free and self._queued < rows * runs and not self._held:
            path = self._begin()
            while self._waiting and self._free and self._alike(path, self._waiting[0]):
                self._begin()
        chosen: list[Piece] = []
        room = min(rows, -(-self._queued // runs))
        self._queued -= room
        while room:
            taken = self._take(room)
            chosen += taken
            room -= sum(map(len, taken))
        return chosen

    def _begin(self) -> int:
        slot, path = self._free.pop(), self._waiting.popleft()
        self._ask(self._ledger.begin(slot, path))
        return path

    def _alike(self, path: int, other: int) -> bool:
        """Whether two paths run on the same line."""
        return self._siblings is not None and bool(self._siblings[path] == self._siblings[other])

    def _take(self, room: int) -> list[Piece]:
        """Points of the path that is first, and those of its siblings at the same places."""
        first = self._queue.popleft()
        alike, others = [first], deque[Piece]()
        if self._siblings is not None:
            for piece in self._queue:
                (alike if self._alike(first.path, piece.path) else others).append(piece)
            self._queue = others
        taken = []
        for piece, count in reversed(list(zip(alike, _shares(alike, room), strict=True))):
            if count < len(piece):
                piece, rest = piece.split(count)
                self._queue.appendleft(rest)
            taken.append(piece)
        return [piece for piece in reversed(taken) if len(piece)]

    def give_back(self, pieces: list[Piece], rows: int) -> list[Piece]:
        """Put the last points of a chunk in front of the queue again; the others."""
        kept = list(pieces)
        self._queued += rows
        while rows:
            piece = kept.pop()
            if len(piece) > rows:
                first, piece = piece.split(len(piece) - rows)
                kept.append(first)
            self._queue.appendleft(piece)
            rows -= len(piece)
        return kept

    def deliver(self, pieces: Sequence[Piece]) -> int:
        """Paths of which all was evaluated end or go on; how many points more they want."""
        more = 0
        for piece in pieces:
            self._pending[piece.slot] -= len(piece)
        due = [s for s in dict.fromkeys(p.slot for p in pieces) if not self._pending[s]]
        for slot, following in zip(due, self._ledger.next(due), strict=True):
            if following is None:
                del self._pending[slot]
                self._free.append(slot)
                continue
            more += len(following)
            self._ask(following)
        return more

    def _ask(self, piece: Piece) -> None:
        """Queue points of a path where memory allows."""
        self._pending[piece.slot] = len(piece)
        if self._ledger.grants(piece):
            self._queue.append(piece)
            self._queued += len(piece)
        else:
            self._held[piece.slot] = piece


def _shares(pieces: Sequence[Piece], room: int) -> list[int]:
    """How many points of each piece come first, so that the same places come together."""
    if len(pieces) == 1:
        return [min(room, len(pieces[0]))]
    # points are taken in the order of a piece, which need not be that along the path
    along = np.concatenate([np.maximum.accumulate(p.alphas) for p in pieces])
    place = np.concatenate([np.arange(len(p)) for p in pieces])
    piece = np.repeat(np.arange(len(pieces)), [len(p) for p in pieces])
    order = np.lexsort((piece, place, along))[:room]
    return [int(count) for count in np.bincount(piece[order], minlength=len(pieces))]


__all__ = ["integrate", "keeping"]
