"""`Staged`: a gradient graph in parts, and the sessions that run them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any, Protocol, final

import numpy as np

from igrt.apart import rows_apart
from igrt.derived import Derived
from igrt.kernels import KernelSet
from igrt.parts import Parts, Staging, sizes_name
from igrt.quadrature import Scheme
from igrt.runtime.lane import Output
from igrt.runtime.paths import Integrals, Paths
from igrt.runtime.plan import Plan
from igrt.runtime.points import Points
from igrt.runtime.session import Arena, Session
from igrt.runtime.stream import integrate
from igrt.specs import Array, Feeds


class SessionMaker(Protocol):
    """Loads a model."""

    def __call__(
        self, model: Derived, *, arena: Arena = Arena.RELEASED, recorded: bool = False
    ) -> Session:
        """The session; see `OrtSession` for the options."""
        ...


ROWS = 32
"""Rows per run of the prologue and of the epilogue."""

_ENDS_BYTES = 256 << 20
"""Memory for what is cut at the ends of the paths in work; there are blocks where it is more."""


@final
class Staged:
    """Runs a gradient graph in parts: at the ends of each path, at every step, on the sum.

    Args:
        graph: The gradient graph.
        parts: How it is split.
        session: Loads a model.
        several: Whether a run takes more than one row.
    """

    def __init__(
        self,
        graph: Derived,
        parts: Parts,
        session: SessionMaker,
        *,
        several: bool,
    ) -> None:
        self._parts = parts

        def made(name: str, arena: Arena = Arena.RELEASED) -> _Part:
            model = graph.then("staged", parts=asdict(parts), name=name)
            opened = session(model.then("lowered"), arena=arena)
            return _Part(opened, model.facts["fed"], model.facts["gives"])

        step = made("step", Arena.HELD)
        self.step, self._reads = step.session, step.reads
        self._prologue = made("prologue") if parts.made else None
        self._epilogue = made("epilogue") if parts.pulled else None
        self._several = several
        self._apart: bool | None = None if several else True

    def integrals(
        self,
        staging: Staging,
        paths: Paths,
        owner: Array,
        scheme: Scheme,
        kernels: KernelSet,
        run: dict[str, Any],
        planned: Plan,
    ) -> Integrals | None:
        """What the paths come to; None where the parts do not serve.

        That is so where rows are not independent at the cut, and where what is cut is infinite.

        Args:
            staging: The split, with the sizes that it has on these paths.
            paths: Paths of the whole graph.
            owner: Example of each baseline, [rows of the baselines] int64.
            scheme: Where to evaluate, and when to stop.
            kernels: Path and accumulation kernels.
            run: Further arguments of `Points`.
            planned: What may be taken: with the whole graph, and in all.

        Raises:
            NonFiniteError: If what steps give is NaN or infinite.
        """
        cotangent = run["cotangent"]
        of_step = cotangent if cotangent in self._reads else None
        summed = []
        for name, shape in staging.rows.items():
            if shape is None:
                return None
            summed.append(Output(name, tuple(shape), np.dtype(self._parts.types[name][0])))
        most = self._most_paths(staging, scheme, summed, planned)
        if most < 1:
            return None
        found: list[Integrals] = []
        for block, of_block in _blocks(paths, owner, most):
            fed = self._along(block, of_block)
            if fed is None:
                return None
            points = Points(self.step, kernels, fed, summed, **run | {"cotangent": of_step})
            pullback = None
            if self._epilogue is not None:
                pullback = _Pullback(
                    self._epilogue, block, summed, self._parts.gradients, cotangent, self._several
                )
            names, keep_bytes = list(block.inputs), planned.keep_bytes
            found.append(integrate(points, names, scheme, keep_bytes=keep_bytes, pullback=pullback))
            run = run | {"chunk": points.chunk}
        return Integrals.joined(found)

    def _most_paths(
        self, staging: Staging, scheme: Scheme, summed: Sequence[Output], planned: Plan
    ) -> int:
        """Paths whose ends at the cut fit into what the plan for the whole graph leaves."""
        room = planned.budget - planned.limit - planned.chunk * 3 * staging.cut_bytes
        sums = 8 * scheme.rules * sum(o.size for o in summed)
        if self._epilogue is not None and sums > planned.keep_bytes:
            room -= sums
        return int(min(room, _ENDS_BYTES) // max(2 * staging.cut_bytes, 1))

    def _along(self, paths: Paths, owner: Array) -> Paths | None:
        """The same paths as the steps see them."""
        parts, reads = self._parts, self._reads
        of_owner = {n: a[owner] for n, a in paths.others.items()}
        ends = {**paths.inputs, **paths.others}, {**paths.baselines, **of_owner}
        at_x, at_b = (dict(e) for e in ends)
        common: Feeds = {}
        if self._prologue is not None:
            if self._apart is None:
                names = [n for n in (*parts.moving, *parts.fixed) if n not in paths.inputs]
                probe = {n: np.concatenate([at_x[n][:1], at_b[n][:1]]) for n in at_x}
                self._apart = self._prologue.apart(names, probe, paths.shared)
            if not self._apart:
                return None
            whole = [*parts.common, *map(sizes_name, parts.sized)]
            for at in (at_x, at_b):
                made, common = self._prologue.rows(at, paths, whole, several=self._several)
                at |= made
            if not all(_same_infinities(at_x[n], at_b[n], owner) for n in parts.moving):
                return None
        return replace(
            paths,
            moving={n: at_x[n] for n in parts.moving},
            moving_baselines={n: at_b[n] for n in parts.moving},
            others={n: at_x[n] for n in (*paths.others, *parts.fixed) if n in reads},
            shared={n: a for n, a in {**paths.shared, **common}.items() if n in reads},
        )


def _blocks(paths: Paths, owner: Array, most: int) -> Iterator[tuple[Paths, Array]]:
    """The paths with the owners of their baselines, so many at a time."""
    if len(paths) <= most:
        yield paths, owner
        return
    for start in range(0, len(paths), most):
        part = slice(start, start + most)
        examples, example = np.unique(paths.example[part], return_inverse=True)
        baselines, baseline = np.unique(paths.baseline[part], return_inverse=True)
        # baselines that all examples have in common belong to none of them in particular
        owned = np.minimum(np.searchsorted(examples, owner[baselines]), len(examples) - 1)
        block = replace(
            paths,
            inputs={n: a[examples] for n, a in paths.inputs.items()},
            baselines={n: a[baselines] for n, a in paths.baselines.items()},
            others={n: a[examples] for n, a in paths.others.items()},
            example=example,
            baseline=baseline,
            cotangents=paths.cotangents[part],
            change=paths.change[part],
        )
        yield block, owned


class _Part:
    """A prologue or an epilogue, run on rows."""

    def __init__(self, session: Session, reads: Sequence[str], outputs: Sequence[str]) -> None:
        self.session, self.reads, self._outputs = session, frozenset(reads), list(outputs)

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """All outputs; what is not read is not fed."""
        made = self.session.run(self._outputs, self._read(feeds))
        return dict(zip(self._outputs, made, strict=True))

    def rows(
        self, feeds: Feeds, paths: Paths, whole: Sequence[str], *, several: bool
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Outputs with a row for each row of what is fed, and those that all rows share."""
        count, step = len(next(iter(feeds.values()))), ROWS if several else 1
        parts = []
        for start in range(0, count, step):
            at: slice | int = slice(start, start + step) if paths.batched else start
            parts.append(self.run({**paths.shared, **{n: a[at] for n, a in feeds.items()}}))
        names = [n for n in self._outputs if n not in whole]
        join = np.concatenate if paths.batched else np.stack
        made = {n: join([p[n] for p in parts]) for n in names}
        return made, {n: parts[0][n] for n in whole}

    def apart(self, names: Sequence[str], probe: Feeds, shared: Feeds) -> bool:
        """Whether each of two rows has what it has alone."""
        return rows_apart(self.session, names, self._read(probe), self._read(shared))

    def _read(self, feeds: Feeds) -> dict[str, Array]:
        return {n: a for n, a in feeds.items() if n in self.reads}


@final
class _Pullback:
    """Turns sums over a path into sums of gradients, as `igrt.runtime.ledger.Pullback`."""

    def __init__(
        self,
        epilogue: _Part,
        paths: Paths,
        summed: Sequence[Output],
        gradients: Sequence[str],
        cotangent: str,
        several: bool,
    ) -> None:
        self._epilogue, self._paths, self._summed = epilogue, paths, summed
        self._gradients, self._cotangent, self._several = gradients, cotangent, several

    def __call__(self, path: Array, sums: Sequence[Array]) -> list[Array]:
        shape, step = sums[0].shape[:2], ROWS if self._several else 1
        path = np.repeat(path, shape[1])
        rows = [s.reshape(len(path), -1) for s in sums]
        parts = [slice(k, k + step) for k in range(0, len(path), step)]
        found = [self._of(path[part], [r[part] for r in rows]) for part in parts]
        return [np.concatenate(f).reshape(*shape, -1) for f in zip(*found, strict=True)]

    def _of(self, path: Array, sums: Sequence[Array]) -> list[Array]:
        """The same in one run, for sums over one path each."""
        paths, count = self._paths, len(path)
        example = paths.example[path]
        at: Array | int = example if paths.batched else example[0]
        feeds = dict(paths.shared)
        feeds |= {n: a[at] for n, a in {**paths.inputs, **paths.others}.items()}
        feeds[self._cotangent] = paths.cotangents[path if paths.output_batched else path[0]]
        given = {}
        for output, flat in zip(self._summed, sums, strict=True):
            shape = (count, *output.shape) if paths.batched else output.shape
            given[output.name] = flat.astype(output.dtype).reshape(shape)
        made = self._epilogue.run(feeds | given)
        made |= {n: a for n, a in given.items() if n not in made}
        return [made[g].reshape(count, -1) for g in self._gradients]


def _same_infinities(x: Array, b: Array, owner: Array) -> bool:
    """Whether what is not finite at the ends of paths stays as it is on the way, as in a mask."""
    if np.isfinite(x).all() and np.isfinite(b).all():
        return True
    if not np.array_equal(np.unique(owner), np.arange(len(x))):  # the ends belong to many paths
        return False
    at = x[owner]
    return bool(((np.isfinite(at) & np.isfinite(b)) | (at == b)).all())


__all__ = ["ROWS", "SessionMaker", "Staged"]
