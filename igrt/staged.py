"""`Staged`: a gradient graph in parts, and the sessions that run them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, final

import numpy as np

from igrt.apart import rows_apart
from igrt.derived import Derived
from igrt.footprint import NowAndThen, is_small, rows_usage
from igrt.kernels import KernelSet
from igrt.parts import Parts, Staging, sizes_name
from igrt.quadrature import Scheme
from igrt.runtime.available import give_back
from igrt.runtime.lane import Output, buffer_bytes
from igrt.runtime.paths import Integrals, Paths
from igrt.runtime.plan import Plan
from igrt.runtime.session import Arena, Session
from igrt.runtime.stream import integrate
from igrt.runtime.usage import Usage
from igrt.sharing import SessionMaker, Sharing
from igrt.specs import Array, Feeds

ROWS = 32
"""Most rows per run of the prologue and of the epilogue."""

_PULLED = 8 + 8 + 4
"""Bytes of what is pulled back of a path, per feature and rule: the sums, their differences, and
what is fed."""

_WORTH_GIVING_BACK = 1 << 20
"""Bytes at the cut from which on what the prologue has left is given back, before steps begin."""

_ENDS_BYTES = 256 << 20
"""Memory for what is cut at the ends of the paths in work; there are blocks where it is more."""


@final
class Staged:
    """Runs a gradient graph in parts: at the ends of each path, at every step, on the sum.

    Args:
        graph: The gradient graph.
        parts: How it is split.
        session: Loads the model of a prologue or an epilogue.
        step_session: Loads that of a step.
        several: Whether a run takes more than one row.
    """

    def __init__(
        self,
        graph: Derived,
        parts: Parts,
        session: SessionMaker,
        step_session: SessionMaker,
        *,
        several: bool,
    ) -> None:
        self._parts = parts

        def model(name: str) -> Derived:
            return graph.then("staged", parts=asdict(parts), name=name)

        def made(name: str, opened: Callable[[Derived], Session]) -> _Part:
            part = model(name)
            session = opened(part.then("lowered"))
            return _Part(part, session, part.facts["fed"], part.facts["gives"])

        self._step = made("step", partial(step_session, arena=Arena.HELD, recorded=True))
        self._sharing = Sharing(model("step"), self._step.session, step_session)
        self._prologue = made("prologue", session) if parts.made else None
        self._epilogue = made("epilogue", session) if parts.pulled else None
        self._several = several
        self._apart: bool | None = None if several else True
        self._lock = threading.Lock()
        self._usage: tuple[int, Usage] | None = None

    def integrals(
        self,
        staging: Staging,
        paths: Paths,
        owner: Array,
        scheme: Scheme,
        kernels: KernelSet,
        run: dict[str, Any],
        planned: Plan,
        *,
        share: bool,
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
            share: Whether paths may share points.

        Raises:
            NonFiniteError: If what steps give is NaN or infinite.
        """
        cotangent = run["cotangent"]
        of_step = cotangent if cotangent in self._step.reads else None
        summed = []
        for name, shape in staging.rows.items():
            if shape is None:
                return None
            summed.append(Output(name, tuple(shape), np.dtype(self._parts.types[name][0])))
        bound, rows = self._bound(staging, paths, scheme, summed, cotangent, planned)
        # rows that fill the caches are worth more than what is staged
        same = (bound.chunk, bound.at_once) == (planned.chunk, planned.at_once)
        most = self._most_paths(staging, bound) if same else 0
        if most < 1:
            return None
        found: list[Integrals] = []
        ends = int(2 * staging.cut_bytes * min(most, len(paths)))
        chunk = planned.chunk
        for block, of_block in _blocks(paths, owner, most):
            fed = self._along(block, of_block, rows)
            if fed is None:
                return None
            of_run = bound.instead(
                usage=self._usage_of(fed, summed, of_step, bound),
                buffers=buffer_bytes(fed) + sum(o.size * o.dtype.itemsize for o in summed),
                beside=bound.need.beside + ends,
                before=bound.need.before + ends,
            ).with_rows(chunk)
            points, taken, shared = self._sharing.points(
                kernels, fed, summed, scheme, of_run, share=share, **run | {"cotangent": of_step}
            )
            pullback = None
            if self._epilogue is not None:
                pullback = _Pullback(
                    self._epilogue,
                    block,
                    summed,
                    self._parts.gradients,
                    cotangent,
                    rows["epilogue"],
                )
            names, keep_bytes = list(block.inputs), planned.keep_bytes
            done = integrate(points, names, scheme, keep_bytes=keep_bytes, pullback=pullback)
            found.append(replace(done, shared=shared, plan=taken))
            chunk = min(chunk, points.chunk)
        return Integrals.joined(found)

    def _bound(
        self,
        staging: Staging,
        paths: Paths,
        scheme: Scheme,
        summed: Sequence[Output],
        cotangent: str,
        planned: Plan,
    ) -> tuple[Plan, dict[str, int]]:
        """What is taken at most, beside the ends of paths at the cut; rows per run of the parts."""
        lead = (1,) if paths.batched else ()
        shapes = {n: (*lead, *a.shape[1:]) for n, a in {**paths.inputs, **paths.others}.items()}
        shapes |= {n: a.shape for n, a in paths.shared.items()}
        pulled = {o.name: (*lead, *o.shape) for o in summed}
        pulled[cotangent] = ((1,) if paths.output_batched else ()) + paths.cotangents.shape[1:]
        features, room = sum(o.size for o in summed), planned.budget - planned.limit
        # at the ends of a path, and on the sums of one rule or of the difference of two
        ends = max(len(a) for at in (paths.inputs, paths.baselines) for a in at.values())
        counts = {"prologue": ends, "epilogue": len(paths) * min(2, scheme.rules)}
        rows, taken = {}, {"prologue": 0, "epilogue": 0}
        for name, part in (("prologue", self._prologue), ("epilogue", self._epilogue)):
            if part is not None:
                most, each = part.rows_at_once(shapes | pulled, room)
                rows[name] = most if self._several else 1
                taken[name] = min(rows[name], counts[name]) * each
        if self._epilogue is not None:
            taken["epilogue"] += min(2, scheme.rules) * _PULLED * features
        sums = 8 * scheme.rules * features
        bound = replace(planned, keep_bytes=max(planned.keep_bytes, sums)).instead(
            buffers=planned.need.buffers + int(3 * staging.cut_bytes),
            beside=planned.need.beside + taken["epilogue"],
            before=max(planned.need.before, paths.end_bytes + taken["prologue"]),
        )
        return bound, rows

    def _most_paths(self, staging: Staging, bound: Plan) -> int:
        """Paths whose ends at the cut fit into what the plan leaves."""
        room = bound.budget - bound.limit
        return int(min(room, _ENDS_BYTES) // max(2 * staging.cut_bytes, 1))

    def _usage_of(
        self, fed: Paths, summed: Sequence[Output], cotangent: str | None, bound: Plan
    ) -> Usage:
        """What a run of the step takes; as much as the whole graph where nobody counts."""
        session, whole = self._step.session, bound.need.usage
        lead = (1,) if fed.batched else ()
        shapes = {n: [*lead, *x.shape[1:]] for n, (x, _) in fed.ends.items()}
        shapes |= {n: [*lead, *a.shape[1:]] for n, a in fed.others.items()}
        shapes |= {n: list(a.shape) for n, a in fed.shared.items()}

        def run(rows: int) -> None:
            path = np.zeros(rows, np.int64)
            feeds = fed.at_inputs(path)
            if cotangent is not None:
                feeds[cotangent] = fed.cotangents_of(path)
            session.run([o.name for o in summed], feeds)

        with self._lock:
            if is_small(whole.row):
                session.peaks()
            elif self._usage is None:
                rows = (1, 2) if bound.chunk > 1 else (1,)
                usage = rows_usage(self._step.model, session, run, rows, whole, shapes=shapes)
                self._usage = whole.row, usage
            if self._usage is None:
                return whole
            # counting is over: another size takes more or less in proportion
            before, usage = self._usage
            scale = whole.row / before
            return Usage(int(scale * usage.row), int(scale * usage.fixed))

    def _along(self, paths: Paths, owner: Array, rows: Mapping[str, int]) -> Paths | None:
        """The same paths as the steps see them; `rows` go into a run of each part."""
        parts, reads = self._parts, self._step.reads
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
                made, common = self._prologue.rows(at, paths, whole, rows["prologue"])
                at |= made
            if sum(at_x[n].nbytes for n in parts.moving) > _WORTH_GIVING_BACK:
                give_back()
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

    def __init__(
        self, model: Derived, session: Session, reads: Sequence[str], outputs: Sequence[str]
    ) -> None:
        self.model, self.session, self._sizes = model, session, NowAndThen(model)
        self.reads, self._outputs = frozenset(reads), list(outputs)

    def rows_at_once(self, shapes: Mapping[str, tuple[int, ...]], room: int) -> tuple[int, int]:
        """Rows per run, and what each takes; see `NowAndThen`."""
        return self._sizes.rows({n: s for n, s in shapes.items() if n in self.reads}, room)

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """All outputs; what is not read is not fed."""
        made = self.session.run(self._outputs, self._read(feeds))
        return dict(zip(self._outputs, made, strict=True))

    def rows(
        self, feeds: Feeds, paths: Paths, whole: Sequence[str], step: int
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Outputs with a row for each row of what is fed, and those that all rows share.

        So many rows go into a run as `step` says.
        """
        count = len(next(iter(feeds.values())))
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
        rows: int,
    ) -> None:
        self._epilogue, self._paths, self._summed = epilogue, paths, summed
        self._gradients, self._cotangent, self._rows = gradients, cotangent, rows

    def __call__(self, path: Array, sums: Sequence[Array]) -> list[Array]:
        shape, step = sums[0].shape[:2], self._rows
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


__all__ = ["ROWS", "Staged"]
