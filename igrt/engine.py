"""`Engine`: the sessions of one model, in the fastest way of running rows that is right for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import onnx

from igrt.errors import IgrtError, InputError, InternalError, NonFiniteError
from igrt.graph import Graph
from igrt.graph.emit import PREFIX
from igrt.graph.learn import exposing, unranked, with_ranks
from igrt.graph.nonfinite import watch
from igrt.graph.prune import prune
from igrt.kernels import KernelSet
from igrt.quadrature import Scheme
from igrt.rows import agree
from igrt.runtime.paths import Integrals, Paths
from igrt.runtime.plan import Plan, plan
from igrt.runtime.session import Session
from igrt.runtime.unbounded import UNBOUNDED
from igrt.specs import GRADIENT, Array, Feeds, Sweep
from igrt.stage import Batching, NotRows, constant_gradient, free_batch, row_bytes
from igrt.stage.gradient import GradientGraph, gradient_graph
from igrt.stage.split import Choice, choose
from igrt.staged import SessionMaker, Staged
from igrt.vjp.augment import Augmented, differentiate

_FORWARD_ROWS = 32

_ENOUGH = 4
"""Evaluations of a path from which on it may be staged: its two ends are evaluated first."""

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


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
    """

    part: onnx.ModelProto
    of: str
    wrt: tuple[str, ...]
    session: SessionMaker
    note: str
    batched: bool = True
    output_batched: bool = True
    most_rows: int | None = 1
    sweep: Sweep = GRADIENT
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._forward: Session | None = None
        self._gradient: Session | None = None
        self._augmented: Augmented | None = None
        self._lean: onnx.ModelProto | None = None
        self._row_bytes: dict[Shapes, int] = {}
        self._constant: dict[bool, bool] = {}
        self._others: dict[Sweep, Engine] = {}
        self._sized: tuple[Shapes, GradientGraph] | None = None
        self._choices: dict[bool, Choice] = {}
        self._staged: dict[bool, Staged | None] = {}

    def under(self, sweep: Sweep) -> Engine:
        """The engine whose gradient graph has other rules; each is made when it is first used."""
        if sweep == self.sweep:
            return self
        with self._lock:
            if sweep not in self._others:
                self._others[sweep] = replace(self, sweep=sweep)
            return self._others[sweep]

    @property
    def augmented(self) -> Augmented:
        """The model with its gradient graph."""
        with self._lock:
            if self._augmented is None:
                self._augmented = differentiate(
                    self.part, wrt=self.wrt, of=self.of, sweep=self.sweep
                )
            return self._augmented

    @property
    def lean(self) -> onnx.ModelProto:
        """The augmented model without what the gradients do not need.

        onnxruntime runs every node, so the explained output itself goes, too.
        """
        augmented = self.augmented
        with self._lock:
            if self._lean is None:
                wanted = [*augmented.gradients.values(), *self.also]
                self._lean = prune(augmented.model, wanted)
            return self._lean

    @property
    def gradient(self) -> Session:
        """A session that gives the gradients and nothing else."""
        lean = self.lean
        with self._lock:
            if self._gradient is None:
                self._gradient = self.session(lean)
            return self._gradient

    @property
    def provider(self) -> str:
        """The execution provider that really runs the gradient graph, or its step."""
        with self._lock:
            loaded = [s.step for s in self._staged.values() if s is not None]
        return (loaded[0] if loaded and self._gradient is None else self.gradient).provider

    def constant(self, *, from_zero: bool) -> bool:
        """Whether the gradient is the same everywhere on a path (`constant_gradient`)."""
        lean = self.lean
        with self._lock:
            if from_zero not in self._constant:
                self._constant[from_zero] = constant_gradient(lean, self.wrt, from_zero=from_zero)
            return self._constant[from_zero]

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
        step = self.most_rows or _FORWARD_ROWS
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
            raise self._located(error, self.lean) from None

    def _located(self, error: NonFiniteError, model: onnx.ModelProto) -> NonFiniteError:
        """The error with the first tensor that is not finite; runs its one row once more."""
        if error.feeds is None:
            return error
        try:
            seen = watch(model, apart=PREFIX, bound=UNBOUNDED)
            names = [n for pair in seen.outputs for n in pair]
            counts = self.session(seen.model).run(names, error.feeds)
        except IgrtError:  # the message must not fail with another one
            return error
        found = seen.first(counts)
        if found is None:
            return error
        where = f"{error.message}\n  first tensor where it appears: {found}"
        return NonFiniteError(where, hint=error.hint, feeds=error.feeds)

    def plan(self, paths: Paths, memory: int | None, internal_batch_size: int | None) -> Plan:
        """How many rows a run of the gradient session takes."""
        # shape inference of the whole model, so only once for inputs of the same shapes
        key = self._shapes(paths)
        if key not in self._row_bytes:
            self._row_bytes[key] = row_bytes(self.lean, dict(key))
        return plan(
            row_bytes=self._row_bytes[key],
            memory=memory,
            internal_batch_size=internal_batch_size,
            most_rows=self.most_rows,
        )

    def _shapes(self, paths: Paths) -> Shapes:
        """Shape of each input of the gradient graph, with a batch of one row."""
        lead = (1,) if self.batched else ()
        arrays = {**{n: x for n, (x, _) in paths.ends.items()}, **paths.others}
        shapes = {n: (*lead, *a.shape[1:]) for n, a in arrays.items()}
        shapes |= {r: shapes[n] for n, r in self.augmented.references.items()}
        lead = (1,) if self.output_batched else ()
        shapes[self.augmented.cotangent] = (*lead, *paths.cotangents.shape[1:])
        shapes |= {n: a.shape for n, a in paths.shared.items()}
        return tuple(sorted(shapes.items()))

    def _graph(self, paths: Paths) -> GradientGraph:
        """The gradient graph with the sizes that it has on some paths."""
        lean, key, augmented = self.lean, self._shapes(paths), self.augmented
        shapes = dict(key)
        shapes |= {g: shapes[n] for n, g in augmented.gradients.items()}
        with self._lock:
            if self._sized is None or self._sized[0] != key:
                graph = gradient_graph(
                    lean,
                    shapes,
                    moving=self.wrt,
                    shared=paths.shared,
                    late=[augmented.cotangent, *paths.references.values()],
                    batched=self.batched,
                    any_rows=self.most_rows is None,
                )
                self._sized = key, graph
            return self._sized[1]

    def staging(self, paths: Paths, *, sums: bool) -> Choice:
        """What of the gradient graph would run at the ends of paths only, or on sums over them.

        Args:
            paths: Paths; the choice is made for the sizes of the first.
            sums: Whether sums over the paths are all that is asked for.
        """
        graph, gradients = self._graph(paths), tuple(self.augmented.gradients.values())
        with self._lock:
            if sums not in self._choices:
                self._choices[sums] = choose(graph, gradients, sums=sums)
            return self._choices[sums]

    def integrals(
        self, paths: Paths, owner: Array, scheme: Scheme, kernels: KernelSet, run: dict[str, Any]
    ) -> Integrals | None:
        """What paths come to with the gradient graph in parts; None where that does not serve.

        Args:
            paths: The paths.
            owner: Example of each baseline, [rows of the baselines] int64.
            scheme: Where to evaluate, and when to stop.
            kernels: Path and accumulation kernels.
            run: Further arguments of `igrt.runtime.points.Points`.
        """
        if len(scheme.stages[0].alphas) < _ENOUGH or paths.references:
            return None
        sums = scheme.tolerance is None
        choice = self.staging(paths, sums=sums)
        graph = self._graph(paths)
        with self._lock:
            if sums not in self._staged:
                several = self.batched and self.most_rows is None
                self._staged[sums] = (
                    Staged(choice, self.session, several=several) if choice.pays else None
                )
            staged = self._staged[sums]
        if staged is None:
            return None
        try:
            return staged.integrals(graph, paths, owner, scheme, kernels, run)
        except NonFiniteError:  # the whole graph says where it begins, or that it does not matter
            return None


def open_engine(
    part: onnx.ModelProto,
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
        freed = free_batch(part, frozenset(probe))
        note += ", after making the fixed batch free"
        together = Engine(freed, of, wrt, session, note)
    else:
        alone.note = "dependent on each other, so run one by one"
    if not _agree(together, {**shared, **probe}, np.concatenate(rows)):
        return alone
    together.note, together.most_rows = note, None
    return together


def _ranked(part: onnx.ModelProto, session: SessionMaker, feeds: Feeds) -> onnx.ModelProto:
    """The part with the numbers of axes that its gradient needs and inference does not find."""
    open_ends = unranked(Graph(part))
    if not open_ends:
        return part
    try:
        made = session(exposing(part, open_ends)).run(open_ends, feeds)
    except IgrtError:  # a tensor that is no array, such as a sequence: do with what is known
        return part
    return with_ranks(part, dict(zip(open_ends, made, strict=True)))


def _agree(together: Engine, feeds: Feeds, alone: Array) -> bool:
    try:
        return agree(together.run_forward(feeds), alone)
    except IgrtError:  # does not load or run with two rows: not that way
        return False


__all__ = ["Engine", "open_engine"]
