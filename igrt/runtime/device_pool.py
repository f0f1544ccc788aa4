"""Gradients of the paths in work on a device, and the sums that are made of them."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from typing import Any, final

import numpy as np

from igrt.quadrature import Figures
from igrt.quadrature.gaps import trapezoid
from igrt.quadrature.scheme import patterson_nodes, patterson_weights
from igrt.runtime.device import Device, Ring
from igrt.runtime.kept import MOST
from igrt.specs import Array

_BLOCKS = 256
"""Blocks that add up over features: two for each multiprocessor of a large device."""
_SPLITS = 8
"""The same for the distance of two neighbours, of which there are as many as nodes."""


@final
class Pool:
    """Gradients of all paths in work, and the sums that are made of them.

    Args:
        device: Where.
        total: Room for so many gradients.
        features: Features of one, over all tensors.
        slots: Paths in work.
    """

    def __init__(self, device: Device, total: int, features: int, slots: int, dtype: Any) -> None:
        self.device, self.kept = device, device.empty((total, features), dtype)
        self.displacement = device.empty((slots, features), np.float64)
        self.free = list(range(total))
        self._means = device.empty((4, features), np.float64)
        self._figures = device.empty((_BLOCKS, 7), np.float64)
        self._steps = device.empty((MOST * _SPLITS,), np.float64)
        columns = {n: (np.int64, MOST) for n in ("order", "first", "second")}
        numbers = {"weights": (np.float64, 4 * MOST), "factors": (np.float64, MOST)}
        self._ring = Ring(device, columns | numbers)

    def weigh(
        self, slot: int, order: Array, weights: Array, factors: Array
    ) -> tuple[Array, list[float]]:
        """Figures of the estimates, and the distances of neighbours."""
        device, count = self.device, len(order)
        with device.lock:
            sent = self._ring.send(
                order=order, weights=weights, factors=factors, first=order[:-1], second=order[1:]
            )
            displacement, means = self.displacement[slot], self._means[: len(weights)]
            steps = self._steps[: (count - 1) * _SPLITS].reshape(count - 1, _SPLITS)
            device.kept.weigh(
                *(self.kept, sent["order"], sent["weights"], sent["factors"]),
                *(displacement, means, self._figures, device.stream),
            )
            device.kept.distances(
                *(self.kept, sent["first"], sent["second"], displacement, steps, device.stream)
            )
            self._ring.used()
            figures, apart = device.get(self._figures), device.get(steps)
        return figures.sum(axis=0), [float(s) for s in apart.sum(axis=1)]

    def size(self, slot: int, place: int) -> float:
        """Σ scale·|g| of one gradient."""
        device = self.device
        with device.lock:
            ends = {"first": np.asarray([place]), "second": np.asarray([-1])}
            sent, out = self._ring.send(**ends), self._steps[:_SPLITS].reshape(1, _SPLITS)
            device.kept.distances(
                *(self.kept, sent["first"], sent["second"], self.displacement[slot]),
                *(out, device.stream),
            )
            self._ring.used()
            return float(device.get(out).sum())

    def mean(self, rule: int) -> Array:
        """∫ g by a rule of the last estimates, [features] float64."""
        with self.device.lock:
            return self.device.get(self._means[rule])


@final
class DeviceGradients:
    """Gradients of one path on a device, see `igrt.quadrature.Gradients`.

    A gradient is told by its place in the pool.

    Args:
        pool: Where they are.
        slot: Place of the path among those in work.
    """

    def __init__(self, pool: Pool, slot: int) -> None:
        self._pool, self._slot = pool, slot
        self._nodes: list[float] = []
        self.alphas: list[float] = []
        """Nodes, ascending."""
        self.steps: Sequence[float] = []
        """Σ scale·|Δ| between neighbouring nodes."""
        self.places: list[int] = []
        """Place of the gradient at each node, in the order in which they came."""
        self._sorted: list[int] = []

    def nested(self, gradients: Sequence[int]) -> tuple[Figures, Figures]:
        """Take those that complete a nested rule."""
        self.places += gradients
        count = len(self.places)
        nodes = patterson_nodes(count)
        order = np.argsort(nodes)
        self.alphas = [nodes[i] for i in order]
        self._sorted = [self.places[i] for i in order]
        rules = np.zeros((4, count))
        rules[0], factors = trapezoid(self.alphas)
        for rule, size in enumerate(((count + 1 >> k) - 1 for k in (2, 1, 0)), start=1):
            rules[rule] = patterson_weights(size, count)[order]
        found, self.steps = self._weigh(rules, factors)
        norm, total, near, far = (float(found[k]) for k in (3, 4, 5, 6))
        return _figures(found), Figures(norm, total, near, far)

    def insert(self, alphas: Sequence[float], gradients: Sequence[int]) -> Figures:
        """Take those at further nodes; the nested rules are over."""
        self.places += gradients
        for alpha, place in zip(alphas, gradients, strict=True):
            at = bisect(self.alphas, alpha)
            self.alphas.insert(at, alpha)
            self._sorted.insert(at, place)
        weights, factors = trapezoid(self.alphas)
        found, self.steps = self._weigh(weights[np.newaxis], factors)
        return _figures(found)

    def size(self, node: int) -> float:
        """Σ scale·|g| of the gradient at a node."""
        return self._pool.size(self._slot, self._sorted[node])

    def mean(self, *, nested: bool) -> Array:
        """∫ g by one of the two rules, [features] float64; of the path looked at last."""
        return self._pool.mean(3 if nested else 0)

    def _weigh(self, weights: Array, factors: Array) -> tuple[Array, list[float]]:
        order = np.asarray(self._sorted, dtype=np.int64)
        return self._pool.weigh(self._slot, order, weights, factors)


def _figures(found: Array) -> Figures:
    return Figures(float(found[0]), float(found[1]), float(found[2]))


__all__ = ["DeviceGradients", "Pool"]
