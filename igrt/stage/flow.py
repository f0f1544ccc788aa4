"""The cheapest cut of a small network, by the largest flow through it."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable, Iterable
from math import inf

from igrt.errors import InternalError

Node = Hashable

SOURCE, SINK = "source", "sink"
"""Ends of the network; no node of it may be either text."""


def cheapest_cut(edges: Iterable[tuple[Node, Node, float]]) -> set[Node]:
    """Nodes on the side of `SOURCE` of the cut with the least capacity.

    Of several such cuts it is the one with the fewest nodes there. The capacity from `SOURCE` to
    `SINK` must be finite.

    Args:
        edges: From, to, capacity; infinite where they may not be cut.

    Raises:
        InternalError: If it is not.

    Reference: Edmonds and Karp, 1972, "Theoretical improvements in algorithmic efficiency for
    network flow problems".
    """
    room: dict[Node, dict[Node, float]] = defaultdict(lambda: defaultdict(float))
    for start, end, capacity in edges:
        room[start][end] += capacity
        room[end][start] += 0.0
    while SINK in (before := _reached(room)):
        path: list[tuple[Node, Node]] = []
        at: Node = SINK
        while at != SOURCE:
            path.append((before[at], at))
            at = before[at]
        flow = min(room[a][b] for a, b in path)
        if flow == inf:
            raise InternalError("the ends of a network are tied together")
        for a, b in path:
            if room[a][b] != inf:
                room[a][b] -= flow
            room[b][a] += flow
    return set(before)


def _reached(room: dict[Node, dict[Node, float]]) -> dict[Node, Node]:
    """Nodes to which more can flow, and the one before each on a shortest way."""
    before: dict[Node, Node] = {SOURCE: SOURCE}
    queue = deque([SOURCE])
    while queue:
        node = queue.popleft()
        for after, left in room[node].items():
            if left > 0 and after not in before:
                before[after] = node
                if after == SINK:
                    return before
                queue.append(after)  # type: ignore[arg-type]
    return before


__all__ = ["SINK", "SOURCE", "cheapest_cut"]
