"""`Engine`: the sessions of one model, in the fastest way of running rows that is right for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from igrt.apart import agree
from igrt.derived import Derived
from igrt.errors import GaveUp, IgrtError, InputError, InternalError, NonFiniteError
from igrt.kernels import KernelSet
from igrt.parts import Staging
from igrt.quadrature import Scheme
from igrt.rows import Batching, NotRows
from igrt.runtime.device import room_on
from igrt.runtime.lane import buffer_bytes
from igrt.runtime.paths import Integrals, Paths
from igrt.runtime.plan import ONE_CHUNK, Keeping, Need, Plan, plan, require_room
from igrt.runtime.session import Arena, Session
from igrt.runtime.unbounded import UNBOUNDED
from igrt.runtime.usage import Usage
from igrt.specs import GRADIENT, Array, Feeds, Sweep
from igrt.staged import SessionMaker, Staged

_FORWARD_ROWS, _FORWARD_BYTES = 32, 4 << 20
"""Rows of a run of the model alone: as many as the first, unless they take more than the second."""

_UNSEEN = 2.0
"""What a run takes in place of its estimate, where nobody counted: 1.1 to 2.0 times as much in six
networks (benchmarks/memory.py)."""

_SMALL = 16 << 10
"""Estimated bytes of a row up to which nobody counts: the largest chunk takes some 8 MiB."""

_ENOUGH = 4
"""Evaluations of a path from which on it may be staged: its two ends are evaluated first."""

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


@final
@dataclass(frozen=True, eq=False)
class GradientGraph:
    """A gradient graph, and how it is fed and read.

    Args:
        model: The graph; its outputs are gradients.
        lowered: The same as onnxruntime runs it fastest.
        dtype: Element type of the explained output.
        cotangent: Name of the cotangent input, in the shape of that output.
        gradients: Name of the gradient output per attributed tensor.
        references: Name of the input for the baseline per attributed tensor, where the rules
            compare with one; else empty.
        fed: Inputs of the graph.
        constant: Whether the gradient is the same everywhere on a straight path.
        constant_from_zero: The same where the path begins at zero.
        smooth: Whether the model is made of analytic operators.
    """

    model: Derived
    lowered: Derived
    dtype: str
    cotangent: str
    gradients: Mapping[str, str]
    references: Mapping[str, str]
    fed: Sequence[str]
    constant: bool
    constant_from_zero: bool
    smooth: bool


@final
@dataclass(eq=False)
class Engine:
    """Forward and gradient session of a model; each is made when it is first used.

    Args:
        part: The model from the attributed tensors to the explained output.
        of: Explained output.
        wrt: Attributed tensors, all of them inputs of the part.
        session: Loads a model.
        note: How rows go into the model, in words.
        batched: Whether the inputs have a batch axis.
        output_batched: Whether the explained output has one.
        most_rows: Rows per run that the model allows; None for any number.
        sweep: Rules of the gradient graph.
        also: Further tensors that the gradient session gives.
        rounded: Loads the gradient graph for its device and in its precision; None for as it is.
    """

    part: Derived
    of: str
    wrt: tuple[str, ...]
    session: SessionMaker
    note: str
    batched: bool = True
    output_batched: bool = True
    most_rows: int | None = 1
    sweep: Sweep = GRADIENT
    also: tuple[str, ...] = ()
    rounded: Callable[[GradientGraph, Arena, bool], Session] | None = None

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._forward: Session | None = None
        self._gradient: Session | None = None
        self._exact: Session | None = None
        self._lean: GradientGraph | None = None
        self._forwards: dict[Shapes, int] = {}
        self._measuring = threading.Lock()
        self._usages: dict[Shapes, tuple[int, Usage]] = {}
        self._others: dict[Sweep, Engine] = {}
        self._stagings: dict[tuple[Shapes, bool], Staging] = {}
        self._staged: dict[str, Staged] = {}

    def under(self, sweep: Sweep) -> Engine:
        """The engine whose gradient graph has other rules; each is made when it is first used."""
        if sweep == self.sweep:
            return self
        with self._lock:
            if sweep not in self._others:
                self._others[sweep] = replace(self, sweep=sweep)
            return self._others[sweep]

    @property
    def lean(self) -> GradientGraph:
        """The gradient graph."""
        with self._lock:
            if self._lean is None:
                model = self.part.then(
                    "gradients",
                    of=self.of,
                    wrt=self.wrt,
                    rules=self.sweep.rules,
                    epsilon=self.sweep.epsilon,
                    also=self.also,
                )
                self._lean = GradientGraph(model, model.then("lowered"), **model.facts)
            return self._lean

    @property
    def gradient(self) -> Session:
        """A session that gives the gradients and nothing else."""
        return self._open_gradient(Arena.HELD, recorded=False)

    def _open_gradient(self, arena: Arena, *, recorded: bool) -> Session:
        lean = self.lean
        with self._lock:
            if self.rounded is None:
                if self._exact is None:
                    self._exact = self.session(lean.lowered, arena=arena, recorded=recorded)
                return self._exact
            if self._gradient is None:
                self._gradient = self.rounded(lean, arena, recorded)
            return self._gradient

    @property
    def exact(self) -> Session:
        """The same in the precision of the model."""
        lean = self.lean
        with self._lock:
            if self._exact is None:
                self._exact = self.session(lean.lowered, arena=Arena.HELD)
            return self._exact

    def run_forward(self, feeds: Feeds) -> Array:
        """The explained output as the model gives it."""
        with self._lock:
            if self._forward is None:
                self._forward = self.session(self.part)
        return self._forward.run([self.of], feeds)[0]

    def forward(
        self, points: Feeds, others: Feeds, shared: Feeds, example: Array, ends: str = "inputs"
    ) -> Array:
        """The explained output for each row, [rows, …].

        Args:
            points: Attributed inputs, [rows, …] by name.
            others: The model's other inputs, [examples, …] by name.
            shared: Those of its inputs that have no batch axis, by name.
            example: Example of each row, [rows] int64.
            ends: What the points are, for messages.

        Raises:
            InputError: If the output does not have one row per row of input.
            NonFiniteError: If the output is NaN or infinite.
        """
        rows = len(example)
        step = 1 if rows == 1 else self.most_rows or self._forward_rows(points, others, shared)
        found = []
        for start in range(0, rows, step):
            part = slice(start, start + step)
            feeds = {n: a[part] for n, a in points.items()}
            feeds |= {n: a[example[part]] for n, a in others.items()}
            if not self.batched:
                feeds = {n: a[0] for n, a in feeds.items()}
            made = self.run_forward({**shared, **feeds})
            found.append(made if self.output_batched else made[np.newaxis])
        outputs = np.concatenate(found)
        if len(outputs) != rows:
            raise InputError(
                f"the output `{self.of}` has {len(outputs)} rows for {rows} rows of input",
                hint="explain an output with one row per example",
            )
        if not np.isfinite(outputs).all():
            row = int(np.argmax(~np.isfinite(outputs).reshape(rows, -1).all(axis=1)))
            one: slice | int = slice(row, row + 1) if self.batched else row
            feeds = {n: a[one] for n, a in points.items()}
            feeds |= {n: a[example[one]] for n, a in others.items()}
            error = NonFiniteError(
                f"the output `{self.of}` is NaN or infinite in row {row} of the {ends}",
                hint="check the input and the baseline; the model itself may overflow",
                feeds={**shared, **feeds},
            )
            raise self._located(error, self.part)
        return outputs

    @contextmanager
    def locating(self) -> Iterator[None]:
        """Lets an error for a gradient that is not finite say where in the model that begins."""
        try:
            yield
        except NonFiniteError as error:
            raise self._located(error, self.lean.model) from None

    def _located(self, error: NonFiniteError, model: Derived) -> NonFiniteError:
        """The error with the first tensor that is not finite; runs its one row once more."""
        if error.feeds is None:
            return error
        from igrt.graph.emit import PREFIX
        from igrt.graph.nonfinite import watch

        try:
            seen = watch(model.proto, apart=PREFIX, bound=UNBOUNDED)
            names = [n for pair in seen.outputs for n in pair]
            counts = self.session(Derived.of(seen.model)).run(names, error.feeds)
        except GaveUp:
            raise
        except IgrtError:  # the message must not fail with another one
            return error
        found = seen.first(counts)
        if found is None:
            return error
        where = f"{error.message}\n  first tensor where it appears: {found}"
        return NonFiniteError(where, hint=error.hint, feeds=error.feeds)

    def _forward_rows(self, points: Feeds, others: Feeds, shared: Feeds) -> int:
        """Rows of a run of the model alone."""
        shapes = {n: (1, *a.shape[1:]) for n, a in {**points, **others}.items()}
        shapes |= {n: a.shape for n, a in shared.items()}
        key = tuple(sorted(shapes.items()))
        if key not in self._forwards:
            self._forwards[key] = _estimate(self.part, shapes)
        return max(1, min(_FORWARD_ROWS, _FORWARD_BYTES // max(1, self._forwards[key])))

    def plan(
        self,
        paths: Paths,
        keeping: Keeping,
        memory: int | None = None,
        internal_batch_size: int | None = None,
    ) -> Plan:
        """How many rows a run of the gradient session takes, and what that takes.

        Args:
            paths: What to integrate over.
            keeping: What is known of the paths in work.
            memory: Byte budget; a share of the available memory by default.
            internal_batch_size: Rows per run as the user wants it.

        Raises:
            InputError: If the budget does not suffice for one row per run.
            OutOfMemory: If memory does not suffice for one row.
        """
        key = self._shapes(paths)

        def need(usage: Usage) -> Need:
            return Need(
                row=usage.row + buffer_bytes(paths),
                fixed=usage.fixed + keeping.result_bytes + paths.end_bytes,
                keep=keeping,
                most_rows=self.most_rows if self.batched and self.output_batched else 1,
            )

        with self._measuring:
            if key not in self._usages:
                estimate = _estimate(self.lean.model, dict(key))
                # what is known to be too much is not tried
                require_room(need(Usage(estimate, 0)), memory)
                self._usages[key] = estimate, self._usage(paths, estimate, key)
            usage = self._usages[key][1]
        room = room_on(self.gradient.provider)
        return plan(need(usage), memory=memory, internal_batch_size=internal_batch_size, **room)

    def _repeated(self, paths: Paths, rows: int) -> Feeds:
        """What the gradient session is fed with at the input of the first path, some times."""
        example, baseline = paths.example[0], paths.baseline[0]
        feeds = {n: x[example] for n, (x, _) in paths.ends.items()}
        feeds |= {n: a[example] for n, a in paths.others.items()}
        feeds |= {r: paths.baselines[n][baseline] for n, r in self.lean.references.items()}
        if self.batched:
            feeds = {n: np.stack([a] * rows) for n, a in feeds.items()}
        cotangent = paths.cotangents[0]
        if self.output_batched:
            cotangent = np.stack([cotangent] * rows)
        return {**paths.shared, **feeds, self.lean.cotangent: cotangent}

    def _usage(self, paths: Paths, estimate: int, key: Shapes) -> Usage:
        """What a run takes: counted in a run of one row, and of two where chunks have more."""
        if estimate <= _SMALL:
            self._open_gradient(Arena.PATTERN, recorded=False)
            return Usage(int(_UNSEEN * estimate), 0)
        session = self._open_gradient(Arena.HELD, recorded=True)

        def count() -> tuple[int, int] | None:
            for rows in (1, 2):
                if rows == 1 or (self.most_rows is None and 2 * estimate <= ONE_CHUNK):
                    session.run(list(self.lean.gradients.values()), self._repeated(paths, rows))
            peaks = session.peaks()
            if not peaks:
                return None
            usage = Usage.between(*peaks) if len(peaks) > 1 else Usage(peaks[0], 0)
            return usage.row, usage.fixed

        if self._usages:  # counting is over: another size takes more or less in proportion
            before, usage = next(iter(self._usages.values()))
            scale = estimate / before
            return Usage(int(scale * usage.row), int(scale * usage.fixed))
        found = self.lean.model.fact("usage", count, shapes=key, provider=session.provider)
        session.peaks()
        return Usage(int(_UNSEEN * estimate), 0) if found is None else Usage(*found)

    def _shapes(self, paths: Paths) -> Shapes:
        """Shape of each input of the gradient graph, with a batch of one row."""
        lead = (1,) if self.batched else ()
        arrays = {**{n: x for n, (x, _) in paths.ends.items()}, **paths.others}
        shapes = {n: (*lead, *a.shape[1:]) for n, a in arrays.items()}
        shapes |= {r: shapes[n] for n, r in self.lean.references.items()}
        lead = (1,) if self.output_batched else ()
        shapes[self.lean.cotangent] = (*lead, *paths.cotangents.shape[1:])
        shapes |= {n: a.shape for n, a in paths.shared.items()}
        return tuple(sorted(shapes.items()))

    def staging(self, paths: Paths, *, sums: bool) -> Staging:
        """What of the gradient graph would run at the ends of paths only, or on sums over them.

        Args:
            paths: The paths; their sizes decide.
            sums: Whether sums over the paths are all that is asked for.
        """
        key, lean = (self._shapes(paths), sums), self.lean
        with self._lock:
            if key not in self._stagings:
                options = {
                    "shapes": dict(key[0]),
                    "moving": list(self.wrt),
                    "shared": sorted(paths.shared),
                    "late": [lean.cotangent, *lean.references.values()],
                    "gradients": dict(lean.gradients),
                    "batched": self.batched,
                    "any_rows": self.most_rows is None,
                    "sums": sums,
                }
                found = lean.model.fact("staging", lambda: _staging(lean.model, options), **options)
                self._stagings[key] = Staging.of(found)
            return self._stagings[key]

    def integrals(
        self,
        paths: Paths,
        owner: Array,
        scheme: Scheme,
        kernels: KernelSet,
        run: dict[str, Any],
        planned: Plan,
    ) -> Integrals | None:
        """What paths come to with the gradient graph in parts; None where that does not serve.

        Args:
            paths: The paths.
            owner: Example of each baseline, [rows of the baselines] int64.
            scheme: Where to evaluate, and when to stop.
            kernels: Path and accumulation kernels.
            run: Further arguments of `igrt.runtime.points.Points`.
            planned: What may be taken: with the whole graph, and in all.
        """
        few = len(scheme.stages[0].alphas) < _ENOUGH
        if few or paths.references:
            return None
        if self.gradient.provider != "CPUExecutionProvider":  # sums stay on the device there
            return None
        staging = self.staging(paths, sums=scheme.tolerance is None)
        if not staging.pays:
            return None
        split, model = repr(staging.parts), self.lean.model
        with self._lock:
            if split not in self._staged:
                several = self.batched and self.most_rows is None
                self._staged[split] = Staged(model, staging.parts, self.session, several=several)
            staged = self._staged[split]
        try:
            return staged.integrals(staging, paths, owner, scheme, kernels, run, planned)
        except NonFiniteError:  # the whole graph says where it begins, or that it does not matter
            return None


def open_engine(
    part: Derived,
    of: str,
    wrt: tuple[str, ...],
    session: SessionMaker,
    layout: Batching,
    probe: Feeds,
    shared: Feeds,
) -> Engine:
    """An engine that gives each row what it gets alone, found out by trying.

    Args:
        part: The model from the attributed tensors to the explained output.
        of: Explained output.
        wrt: Attributed tensors.
        session: Loads a model.
        layout: Which inputs have a batch axis.
        probe: Two different rows of every input that has a batch axis, [2, …] by name.
        shared: The inputs that have none, by name.

    Raises:
        NotRows: If a row alone does not run.
    """
    first = {**shared, **{n: a[:1] if layout.batched else a[0] for n, a in probe.items()}}
    part = _ranked(part, session, first)
    if not layout.batched:
        note = "there is no batch axis, so examples run one by one"
        return Engine(part, of, wrt, session, note, batched=False, output_batched=False)
    alone = Engine(part, of, wrt, session, "the batch is fixed at 1, so rows run one by one")
    try:
        rows = [
            alone.run_forward({**shared, **{n: a[r : r + 1] for n, a in probe.items()}})
            for r in range(2)
        ]
    except (InputError, InternalError) as error:
        raise NotRows(error.message, hint=error.hint) from error
    if rows[0].ndim == 0 or len(rows[0]) != 1:
        alone.note = "the output has no batch axis, so rows run one by one"
        alone.output_batched = False
        return alone
    together, note = alone, "independent"
    if layout.fixed:
        freed = part.then("freed", names=sorted(probe))
        note += ", after making the fixed batch free"
        together = Engine(freed, of, wrt, session, note)
    else:
        alone.note = "dependent on each other, so run one by one"
    if not _agree(together, {**shared, **probe}, np.concatenate(rows)):
        return alone
    together.note, together.most_rows = note, None
    return together


def _staging(model: Derived, options: dict[str, Any]) -> dict[str, Any]:
    from igrt.stage.sized import sized_graph
    from igrt.stage.split import choose

    given = dict(options)
    sums, gradients = given.pop("sums"), given.pop("gradients")
    shapes = given.pop("shapes")
    shapes |= {g: shapes[n] for n, g in gradients.items()}
    graph = sized_graph(model.proto, shapes, **given)
    return choose(graph, tuple(gradients.values()), sums=sums).staging.listed()


def _estimate(model: Derived, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Estimated bytes that a row takes."""

    def find() -> int:
        from igrt.stage import row_bytes

        return row_bytes(model.proto, shapes)

    # shape inference of the whole model, so only once for inputs of the same shapes
    return int(model.fact("row_bytes", find, shapes=sorted(shapes.items())))


def _ranked(part: Derived, session: SessionMaker, feeds: Feeds) -> Derived:
    """The part with the numbers of axes that its gradient needs and inference does not find."""
    open_ends = part.fact("unranked", lambda: _unranked(part))
    if not open_ends:
        return part

    def ranks() -> dict[str, list[Any]]:
        try:
            made = session(part.then("exposing", names=open_ends)).run(open_ends, feeds)
        except GaveUp:
            raise
        except IgrtError:  # a tensor that is no array, such as a sequence: do with what is known
            return {}
        return {
            n: [a.dtype.name, a.ndim]
            for n, a in zip(open_ends, made, strict=True)
            if a.dtype.kind not in "OUS"
        }

    shapes = sorted((n, a.dtype.name, a.shape) for n, a in feeds.items())
    found = part.fact("ranks", ranks, shapes=shapes)
    return part.then("ranked", ranks=found) if found else part


def _unranked(part: Derived) -> list[str]:
    from igrt.graph import Graph
    from igrt.graph.learn import unranked

    return unranked(Graph(part.proto))


def _agree(together: Engine, feeds: Feeds, alone: Array) -> bool:
    try:
        return agree(together.run_forward(feeds), alone)
    except GaveUp:
        raise
    except IgrtError:  # does not load or run with two rows: not that way
        return False


__all__ = ["Engine", "GradientGraph", "open_engine"]
