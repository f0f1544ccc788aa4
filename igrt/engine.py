"""`Engine`: the sessions of one model, in the fastest way of running rows that is right for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

import numpy as np

from igrt.derived import Derived
from igrt.errors import InputError, NonFiniteError, OutOfMemory
from igrt.footprint import Footprint, NowAndThen
from igrt.gradient import GradientGraph, Shapes, gradient_graph
from igrt.kernels import KernelSet
from igrt.locating import located
from igrt.parts import Staging
from igrt.quadrature import Scheme
from igrt.runtime.device import room_on
from igrt.runtime.paths import Integrals, Paths
from igrt.runtime.plan import BESIDE, Keeping, Plan, plan
from igrt.runtime.session import Arena, Session
from igrt.sharing import SessionMaker, Sharing
from igrt.specs import GRADIENT, Array, Feeds, Sweep
from igrt.staged import ROWS, Staged

_BOTH_ENDS = 2
"""The baselines are as large as the inputs, at the least."""

_PATHS = 2
"""Paths for each of several runs at the same time: while one path waits for its last evaluations,
others keep the cores busy (benchmarks/at_once.py)."""

_ENOUGH = 4
"""Evaluations of a path from which on it may be staged: its two ends are evaluated first."""

_RUN = 1.5e6
"""What a run takes beside its nodes, as bytes of memory traffic: 0.1 ms. In less than that a tiny
network is evaluated a few times."""

_AT_ENDS = 3
"""Runs of prologue and epilogue for each 32 paths: at the input, the baseline, and on the sum."""


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
        gradient_session: Opens the gradient graph for its device and in its precision; None for as
            it is.
        memory: Bytes that an explanation may take beside the loaded model; a share of what is free
            by default.
        cores: Runs of the gradient session that may be under way at the same time.
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
    gradient_session: Callable[[GradientGraph, Arena, bool, int | None], Session] | None = None
    memory: int | None = None
    cores: int = 1

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._forward: Session | None = None
        self._gradients: dict[int | None, Session] = {}
        self._exact: Session | None = None
        self._lean: GradientGraph | None = None
        self._alone = NowAndThen(self.part)
        self._footprint: Footprint | None = None
        self._others: dict[Sweep, Engine] = {}
        self._stagings: dict[tuple[Shapes, bool], Staging] = {}
        self._staged: dict[tuple[str, bool], Staged] = {}
        self._sharing: dict[Session, Sharing] = {}

    def under(self, sweep: Sweep) -> Engine:
        """The engine whose gradient graph has other rules; each is made when it is first used."""
        if sweep == self.sweep:
            return self
        with self._lock:
            if sweep not in self._others:
                self._others[sweep] = replace(self, sweep=sweep)
                self._others[sweep]._alone = self._alone
            return self._others[sweep]

    @property
    def lean(self) -> GradientGraph:
        """The gradient graph."""
        with self._lock:
            if self._lean is None:
                self._lean = gradient_graph(self.part, self.of, self.wrt, self.sweep, self.also)
            return self._lean

    @property
    def gradient(self) -> Session:
        """A session that gives the gradients and nothing else."""
        return self._open_gradient(Arena.HELD, False, False)

    @property
    def provider(self) -> str:
        """The execution provider of that session."""
        opened = list(self._gradients.values())
        return (opened or [self.gradient])[0].provider

    def gradient_for(self, planned: Plan) -> Session:
        """The same for the runs of a plan: with one thread where several are under way at once."""
        return self._open_gradient(Arena.HELD, False, planned.at_once > 1)

    def _open_gradient(self, arena: Arena, recorded: bool, alone: bool) -> Session:
        lean, threads = self.lean, 1 if alone else None
        with self._lock:
            if threads not in self._gradients:
                made = self.gradient_session
                self._gradients[threads] = (
                    self.session(lean.lowered, arena=arena, recorded=recorded, threads=threads)
                    if made is None
                    else made(lean, arena, recorded, threads)
                )
            return self._gradients[threads]

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
        step = 1 if rows == 1 else self.most_rows or self._rows_at_once(points, others, shared)[0]
        found: list[Array] = []
        done = 0
        while done < rows:
            part = slice(done, done + step)
            feeds = {n: a[part] for n, a in points.items()}
            feeds |= {n: a[example[part]] for n, a in others.items()}
            if not self.batched:
                feeds = {n: a[0] for n, a in feeds.items()}
            try:
                made = self.run_forward({**shared, **feeds})
            except OutOfMemory:
                if step == 1:
                    raise
                step //= 2
                continue
            found.append(made if self.output_batched else made[np.newaxis])
            done = part.stop
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
            raise located(error, self.part, self.session)
        return outputs

    @contextmanager
    def locating(self) -> Iterator[None]:
        """Lets an error for a gradient that is not finite say where in the model that begins."""
        try:
            yield
        except NonFiniteError as error:
            raise located(error, self.lean.model, self.session) from None

    def _rows_at_once(self, points: Feeds, others: Feeds, shared: Feeds) -> tuple[int, int]:
        """Rows of a run of the model alone, and the bytes of each."""
        shapes = {n: (1, *a.shape[1:]) for n, a in {**points, **others}.items()}
        shapes |= {n: a.shape for n, a in shared.items()}
        room = None
        if self.memory is not None:
            room = self.memory - BESIDE - _BOTH_ENDS * sum(a.nbytes for a in points.values())
        return self._alone.rows(shapes, room)

    def _forward_bytes(self, paths: Paths) -> int:
        """What the model alone took on both ends of some paths, with these.

        Nothing for single rows, of which the gradient graph takes more.
        """
        ends = paths.inputs, paths.baselines
        count = max(len(a) for end in ends for a in end.values())
        if count == 1 or self.most_rows is not None:
            return 0
        rows, each = self._rows_at_once(paths.inputs, paths.others, paths.shared)
        return min(rows, count) * each + paths.end_bytes

    def plan(
        self,
        paths: Paths,
        keeping: Keeping,
        internal_batch_size: int | None = None,
    ) -> Plan:
        """How many rows a run of the gradient session takes, and what that takes.

        Args:
            paths: What to integrate over.
            keeping: What is known of the paths in work.
            internal_batch_size: Rows per run as the user wants it.

        Raises:
            InputError: If the budget does not suffice for one row per run.
            OutOfMemory: If memory does not suffice for one row.
        """
        lean = self.lean
        with self._lock:
            if self._footprint is None:
                self._footprint = Footprint(lean, self._open_gradient, self.most_rows)
        before = self._forward_bytes(paths)
        cores = self.cores if len(paths) >= _PATHS * self.cores else 1
        need = self._footprint.need(paths, keeping, self.memory, before, cores)
        room: dict[str, int] = {} if cores > 1 else room_on(self.gradient.provider)
        room |= {"cores": cores}
        return plan(need, memory=self.memory, internal_batch_size=internal_batch_size, **room)

    def sharing(self, planned: Plan) -> Sharing:
        """The gradient graph for paths that share points, for the runs of a plan."""
        lean, gradient = self.lean, self.gradient_for(planned)
        with self._lock:
            if gradient not in self._sharing:
                made = self._made_for(planned)
                self._sharing[gradient] = Sharing(lean.model, gradient, made)
            return self._sharing[gradient]

    def _made_for(self, planned: Plan) -> SessionMaker:
        """Loads a model for the runs of a plan."""
        return partial(self.session, threads=1) if planned.at_once > 1 else self.session

    def staging(self, paths: Paths, *, sums: bool) -> Staging:
        """What of the gradient graph would run at the ends of paths only, or on sums over them.

        Args:
            paths: The paths; their sizes decide.
            sums: Whether sums over the paths are all that is asked for.
        """
        lean = self.lean
        key = lean.shapes(paths), sums
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
        *,
        share: bool,
    ) -> Integrals | None:
        """What paths come to with the gradient graph in parts; None where that does not serve.

        Args:
            paths: The paths.
            owner: Example of each baseline, [rows of the baselines] int64.
            scheme: Where to evaluate, and when to stop.
            kernels: Path and accumulation kernels.
            run: Further arguments of `igrt.runtime.points.Points`.
            planned: What may be taken: with the whole graph, and in all.
            share: Whether paths may share points.
        """
        few = len(scheme.stages[0].alphas) < _ENOUGH
        if few or paths.references:
            return None
        # sums stay on the device there
        if self.gradient_for(planned).provider != "CPUExecutionProvider":
            return None
        staging = self.staging(paths, sums=scheme.tolerance is None)
        evaluations, runs = len(paths) * len(scheme.stages[0].alphas), -(-len(paths) // ROWS)
        if not staging.pays or evaluations * staging.saves < _AT_ENDS * runs * _RUN:
            return None
        split, model = (repr(staging.parts), planned.at_once > 1), self.lean.model
        with self._lock:
            if split not in self._staged:
                several = self.batched and self.most_rows is None
                self._staged[split] = Staged(
                    model,
                    staging.parts,
                    self.session,
                    self._made_for(planned),
                    several=several,
                )
            staged = self._staged[split]
        try:
            return staged.integrals(
                staging, paths, owner, scheme, kernels, run, planned, share=share
            )
        except NonFiniteError:  # the whole graph says where it begins, or that it does not matter
            return None


def _staging(model: Derived, options: dict[str, Any]) -> dict[str, Any]:
    from igrt.stage.sized import sized_graph
    from igrt.stage.split import choose

    given = dict(options)
    sums, gradients = given.pop("sums"), given.pop("gradients")
    shapes = given.pop("shapes")
    shapes |= {g: shapes[n] for n, g in gradients.items()}
    graph = sized_graph(model.proto, shapes, **given)
    return choose(graph, tuple(gradients.values()), sums=sums).staging.listed()


__all__ = ["Engine"]
