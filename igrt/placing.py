"""`Placing`: from what the user gives to rows of a batch, in the way that a model takes them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import cached_property
from typing import Any, final

import numpy as np

from igrt import baselines as baseline_values
from igrt import token_baselines
from igrt.apart import agree, rows_apart
from igrt.baselines import Background, of_any_example
from igrt.engine import Engine
from igrt.errors import GaveUp, IgrtError, InputError
from igrt.feeds import example_feeds
from igrt.footprint import NowAndThen
from igrt.opening import open_engine
from igrt.placed import Ends, Placed, probes
from igrt.rows import Batching, NotRows, batching
from igrt.runtime.plan import BESIDE
from igrt.runtime.session import Session
from igrt.sessions import Sessions
from igrt.specs import Array, Feeds
from igrt.subject import Subject, spec_of


@final
class Placing:
    """Places inputs and baselines; what a first call finds out of the model serves later ones.

    Args:
        subject: What is explained.
        sessions: Opens what is made of the model.
    """

    def __init__(self, subject: Subject, sessions: Sessions) -> None:
        self._subject, self._sessions = subject, sessions
        self._lock = threading.Lock()
        self._layout: Batching | None = None
        self._sequence: bool | None = None
        self._engine: Engine | None = None
        self._inside: Engine | None = None
        self._prologue: tuple[Session, NowAndThen] | None = None

    @property
    def note(self) -> str:
        """How rows go into the model, in words; empty where nobody knows yet."""
        return "" if self._engine is None else self._engine.note

    def place(self, inputs: Any, baselines: Any, fixed: Feeds | None = None) -> Placed:
        """The inputs as rows of a batch, or all as one example, whichever the model runs with.

        Args:
            inputs: Arrays by name.
            baselines: Where paths begin.
            fixed: Where they do not move all the same, bool [examples, positions] by the names of
                attributed tensors.

        An open axis in front may count something else than examples, such as the nodes of a graph.
        Then a row does not run alone, or the inputs differ in the number of rows, and they do run
        all together. What has run once decides for later calls.
        """
        layout, first = self._layout or self._layout_of(inputs), self._engine is None
        fixed = fixed or {}
        try:
            return self._place_as(inputs, baselines, fixed, layout)
        except NotRows as error:
            refusal = error.__cause__ or InputError(error.message, hint=error.hint)
        whole = Batching(frozenset(), fixed=False)
        if not first or layout.fixed:
            raise refusal from None
        try:
            placed = self._place_as(inputs, baselines, fixed, whole)
        except IgrtError as error:
            self._engine = None
            raise error if isinstance(error, GaveUp) else refusal from None
        self._layout = whole
        return placed

    def runs(self, inputs: Any) -> bool:
        """Whether the model runs with some inputs."""
        try:
            self.place(inputs, None)
        except GaveUp:
            raise
        except IgrtError:
            return False
        return True

    def _place_as(self, inputs: Any, baselines: Any, fixed: Feeds, layout: Batching) -> Placed:
        feeds, bare = example_feeds(self._subject.inputs, inputs, layout)
        ends = self._ends(feeds, baselines, fixed, layout)
        engine = self._engine_for(ends, layout)
        rows = np.arange(ends.count)
        outputs = engine.forward(ends.inputs, ends.others, ends.shared, rows)
        return Placed(layout, bare, ends, engine, outputs, ends.inputs)

    def place_inside(self, inputs: Any, baselines: Any) -> Placed:
        """The same for paths of the inputs, while inner tensors are attributed."""
        asked, inner = self._subject, self._subject.inner
        if not inner or len(inner) < len(asked.wrt):
            names = ", ".join(f"`{n}`" for n in asked.names if n not in inner)
            raise InputError(
                f"conductance and internal influence are of inner tensors; {names} is an input",
                hint='name an inner tensor, wrt=["…"] or --wrt …',
            )
        layout = self._layout or self._layout_of(inputs)
        feeds, bare = example_feeds(asked.inputs, inputs, layout)
        ends = self._outer_ends(feeds, baselines, layout)
        prologue, probe = self.up_to_inner(), probes(ends)
        with self._lock:
            if self._inside is None:
                part = asked.normal.then("pruned", outputs=[asked.of.name])
                wrt, shared = tuple(inner), ends.shared
                opened = open_engine(
                    part, asked.of.name, wrt, self._sessions, layout, probe, shared, also=wrt
                )
                if opened.most_rows is None and (
                    layout.fixed or not rows_apart(prologue, wrt, probe, shared)
                ):
                    opened.most_rows = 1
                self._inside = opened
        engine = self._inside
        z = self._inner_tensors(feeds, layout, apart=engine.most_rows == 1)
        outputs = engine.forward(ends.inputs, ends.others, ends.shared, np.arange(ends.count))
        return Placed(layout, bare, ends, engine, outputs, z)

    def _engine_for(self, ends: Ends, layout: Batching) -> Engine:
        of, wrt = self._subject.of.name, self._subject.names
        with self._lock:
            if self._engine is None:
                part, probe = self._subject.part, probes(ends)
                self._engine = open_engine(
                    part, of, wrt, self._sessions, layout, probe, ends.shared
                )
            return self._engine

    @cached_property
    def _batching(self) -> Batching:
        """Which inputs have a batch axis: those attributed must, else no row can be told apart."""
        inputs = self._subject.inputs
        fed = {s.name for s in inputs}
        attributed = fed.intersection(self._subject.names)
        if any(layout.startswith("TC") for layout in self._subject.layouts.values()):
            # time in front, as PyTorch's recurrences have it: what is fed is one example
            return Batching(frozenset(), fixed=False)
        floats = {s.name for s in inputs if s.is_float}
        return batching(inputs, frozenset(attributed or floats or fed))

    def _layout_of(self, inputs: Feeds | Any) -> Batching:
        """The batching for some inputs: an only axis may be a batch of numbers, or a sequence."""
        layout = self._batching
        if {s.rank for s in self._subject.inputs if s.name in layout.inputs} != {1}:
            return layout
        if self._sequence is None:
            self._sequence = not self._apart(inputs, layout)
        return Batching(frozenset(), fixed=False) if self._sequence else layout

    def _apart(self, inputs: Feeds | Any, layout: Batching) -> bool:
        """Whether two elements along the only axis of the inputs give what each gives alone."""
        asked, of = self._subject, self._subject.of.name
        try:
            feeds, _ = example_feeds(asked.inputs, inputs, layout)
        except InputError:  # one axis more, for instance: examples of sequences
            return False
        part = asked.normal.then("pruned", outputs=[of], keep_inputs=False)
        pair = {}
        for spec in map(spec_of, part.facts["fed"]):
            a = feeds[spec.name]
            last = (0.5 * a[-1:]).astype(a.dtype) if spec.is_float else a[-1:]
            pair[spec.name] = np.concatenate([a[:1], last]) if spec.name in layout.inputs else a[0]
        session = self._sessions.open(part)
        try:
            alone = [
                session.run(
                    [of],
                    {n: a[k : k + 1] if n in layout.inputs else a for n, a in pair.items()},
                )[0]
                for k in range(2)
            ]
            together = session.run([of], pair)[0]
        except GaveUp:
            raise
        except IgrtError:  # too short for one of its operators
            return False
        return all(a.ndim for a in alone) and agree(together, np.concatenate(alone))

    def _outer_ends(self, feeds: dict[str, Array], baselines: Any, layout: Batching) -> Ends:
        """Ends of paths of the inputs; whatever is float moves, unless it has no batch axis."""
        count = len(next(iter(feeds.values())))
        shared = {n: a[0] for n, a in feeds.items() if layout.batched and n not in layout.inputs}
        points = {n: a for n, a in feeds.items() if n not in shared and a.dtype.kind == "f"}
        others = {n: a for n, a in feeds.items() if n not in shared and n not in points}
        if not points:
            raise InputError(
                "conductance and internal influence follow a path of float inputs with a batch "
                "axis, and the model has none",
                hint="integrated_gradients takes a path in the space of the inner tensor",
            )
        listed = baseline_values.as_list(baselines)
        built = [baseline_values.build(b, points, batched=True) for b in listed]
        b_points = {n: np.concatenate([b[n] for b in built]) for n in points}
        return Ends(points, b_points, others, shared, count)

    def _ends(
        self, feeds: dict[str, Array], baselines: Any, fixed: Feeds, layout: Batching
    ) -> Ends:
        """Where the paths end and begin, and what else the model is fed with."""
        asked, names = self._subject, self._subject.names
        count = len(next(iter(feeds.values())))
        z = self._inner_tensors(feeds, layout) if asked.inner else {}
        points = {n: z[n] if n in z else feeds[n] for n in names}
        rest = {n: a for n, a in feeds.items() if n in asked.fed and n not in points}
        shared = {n: a[0] for n, a in rest.items() if layout.batched and n not in layout.inputs}
        others = {n: a for n, a in rest.items() if n not in shared}
        built = []
        common = False
        if isinstance(baselines, Background):
            listed = baselines.members(points, feeds)
            common = not asked.inner and not others
            common = common and all(of_any_example(b, points) for b in listed)
        else:
            listed = baseline_values.as_list(baselines)
        for named in listed:
            baseline = self._looked_up(named, feeds, layout)
            if asked.inner and self._through_model(baseline):
                of_inputs = baseline_values.build(
                    baseline, {n: a for n, a in feeds.items() if a.dtype.kind == "f"}, batched=True
                )
                at = feeds | of_inputs
                z_baseline = self._inner_tensors(at, layout)
                built.append({n: z_baseline[n] if n in z_baseline else at[n] for n in names})
            else:
                of = {n: x[:1] for n, x in points.items()} if common else points
                built.append(baseline_values.build(baseline, of, batched=True))
        for b in built:
            b.update({n: token_baselines.held(b[n], points[n], fixed[n]) for n in fixed})
        b_points = {n: np.concatenate([b[n] for b in built]) for n in names}
        return Ends(points, b_points, others, shared, count, common)

    def _looked_up(self, baseline: Any, feeds: dict[str, Array], layout: Batching) -> Any:
        """A baseline with what a token looks up in place of its number, ``"token:ID"``."""
        ids = token_baselines.numbers(baseline, self._subject.lookups, feeds)
        if not ids:
            return baseline
        made = self._inner_tensors(feeds | {x.input: a for x, a in ids.items()}, layout)
        given = dict(baseline) if isinstance(baseline, Mapping) else {}
        taken = {n for x in ids for n in (x.input, x.tensor)}
        rest = {n: b for n, b in given.items() if n not in taken}
        return rest | {x.tensor: made[x.tensor] for x in ids}

    def _through_model(self, baseline: Any) -> bool:
        """Whether a baseline is one of the model's inputs, to be carried on to the inner tensor.

        That is so for a mapping that names inputs, and for the default zeros of a model whose
        inputs are all float; zeros of token numbers would be a token.
        """
        if isinstance(baseline, Mapping):
            return not set(baseline) <= set(self._subject.names)
        floats = all(i.is_float for i in self._subject.inputs)
        return baseline is None and floats and not self._subject.lookups

    def _inner_tensors(
        self, feeds: Feeds, layout: Batching, *, apart: bool = False
    ) -> dict[str, Array]:
        """The inner tensors of each example; `apart` where their first axis may be another one."""
        prologue, names = self.up_to_inner(), self._subject.inner
        rows = len(next(iter(feeds.values())))
        single = layout.fixed or not layout.batched or apart
        step = 1 if single or rows == 1 else self._rows_at_once(feeds, layout)
        found: list[list[Array]] = []
        for part in [slice(r, r + step) for r in range(0, rows, step)]:
            at = {n: a[part] if n in layout.inputs else a[0] for n, a in feeds.items()}
            made = prologue.run(names, at)
            whole = [not layout.batched or (apart and m.shape[:1] != (1,)) for m in made]
            found.append([m[np.newaxis] if w else m for m, w in zip(made, whole, strict=True)])
        return {n: np.concatenate([f[i] for f in found]) for i, n in enumerate(names)}

    def _rows_at_once(self, feeds: Feeds, layout: Batching) -> int:
        """Rows of a run up to the inner tensors: all of them, but for a budget."""
        memory = self._sessions.resources.memory
        rows = len(next(iter(feeds.values())))
        if memory is None:
            return rows
        shapes = {
            n: (1, *a.shape[1:]) if n in layout.inputs else a.shape[1:] for n, a in feeds.items()
        }
        taken = sum(a.nbytes for a in feeds.values())
        return min(rows, self._up_to_inner[1].rows(shapes, memory - BESIDE - taken)[0])

    def up_to_inner(self) -> Session:
        """A session of the model from its inputs to the inner tensors."""
        return self._up_to_inner[0]

    @property
    def _up_to_inner(self) -> tuple[Session, NowAndThen]:
        """The same, and how many rows go into a run of it."""
        asked = self._subject
        with self._lock:
            if self._prologue is None:
                part = asked.normal.then("pruned", outputs=asked.inner)
                self._prologue = self._sessions.open(part), NowAndThen(part)
            return self._prologue


__all__ = ["Placing"]
