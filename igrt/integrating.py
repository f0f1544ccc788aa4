"""`Integrator`: gradients along the paths of a call, and what they come to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeAlias, final

import numpy as np

from igrt import methods
from igrt.engine import Engine
from igrt.interactions import Interactions
from igrt.kernels import select
from igrt.methods import Method
from igrt.placed import Ends
from igrt.placing import Placing
from igrt.precision import Rounding, ranging
from igrt.quadrature import InnerScheme, PairScheme, Sampling, Scheme, constant_scheme
from igrt.runtime import inside, sample, stream
from igrt.runtime.lane import Output
from igrt.runtime.paths import Integrals, Paths
from igrt.runtime.plan import Keeping, Plan
from igrt.runtime.points import Points
from igrt.runtime.watch import Watch
from igrt.sessions import Sessions
from igrt.specs import Array, Feeds
from igrt.subject import Subject

AnyScheme: TypeAlias = Scheme | Sampling | InnerScheme | PairScheme
"""Where gradients are evaluated, and what is made of them."""

_AT_ONCE = 1 << 16
"""Numbers of which magnitudes are summed at a time."""


@final
@dataclass(frozen=True, eq=False)
class Work:
    """What a call asks to be integrated.

    Args:
        engine: Gives the gradients.
        paths: Along which paths.
        owner: Example of each baseline, [rows of the baselines] int64.
        pool: Baselines of each row of the result, [rows, sets] int64.
        scheme: Where to evaluate, and when to stop.
        shown: Attributed tensors at the inputs, [examples, …] by name.
    """

    engine: Engine
    paths: Paths
    owner: Array
    pool: Array
    scheme: AnyScheme
    shown: Feeds

    @property
    def outputs(self) -> list[Output]:
        """The gradients, as the model gives them."""
        gradients, shown = self.engine.lean.gradients, self.shown
        return [Output(g, shown[n].shape[1:], shown[n].dtype) for n, g in gradients.items()]

    @property
    def keeping(self) -> Keeping:
        """What is known of the paths in work."""
        sizes = (prod(x.shape[1:]) for x in self.shown.values())
        scheme, features, paths = self.scheme, max(1, sum(sizes)), len(self.paths)
        if isinstance(scheme, Sampling):
            return sample.keeping(scheme, features, paths)
        if isinstance(scheme, InnerScheme):
            return inside.keeping(scheme, features, paths, len(self.pool))
        assert isinstance(scheme, Scheme)
        return stream.keeping(scheme, features, paths, len(self.pool))


@final
@dataclass(frozen=True, eq=False)
class Done:
    """What work came to.

    Args:
        integrals: Of each path.
        facts: How it was done, for the provenance.
        plan: What it may have taken.
    """

    integrals: Integrals
    facts: dict[str, Any]
    plan: Plan

    @property
    def taken(self) -> dict[str, Any]:
        """The plan by name, with the peak by what was kept and run in the end."""
        found = self.integrals
        return self.plan.facts(found.kept, found.rows, found.points)


@final
class Integrator:
    """Integrates gradients along paths, in whatever way the scheme asks for.

    Args:
        subject: What is explained.
        sessions: Opens what is made of the model.
        placing: Gives the model up to the inner tensors.
    """

    def __init__(self, subject: Subject, sessions: Sessions, placing: Placing) -> None:
        self._subject, self._sessions, self._placing = subject, sessions, placing
        self._precision = sessions.resources.precision
        self._interactions = Interactions(sessions)
        self.staging = True
        """Whether graphs may run in parts; tests and benchmarks compare with when they may not."""
        self.sharing = True
        """Whether targets may share points, likewise."""

    def plan(self, work: Work, internal_batch_size: int | None) -> Plan:
        """How many rows a run takes; see `Engine.plan`."""
        scheme = work.scheme
        if isinstance(scheme, PairScheme):
            return self._interactions.plan(
                work.engine, work.paths, scheme, work.shown, internal_batch_size
            )
        return work.engine.plan(work.paths, work.keeping, internal_batch_size)

    def integrate(self, work: Work, planned: Plan, watch: Watch) -> Done:
        """What the paths come to.

        Args:
            work: What is asked for.
            planned: What it may take.
            watch: Counts the evaluations, and ends the work early.

        Raises:
            NonFiniteError: If a gradient is NaN or infinite.
        """
        engine, sums, scheme = work.engine, work.scheme.tolerance is None, work.scheme
        if isinstance(scheme, PairScheme):
            pairs = self._interactions.integrate(
                engine, work.paths, scheme, work.shown, planned, watch
            )
            return Done(*pairs, planned)
        run = {"cotangent": engine.lean.cotangent, "watch": watch}
        with ranging(self._precision), engine.locating():
            found = self._in_parts(work, run, planned)
            note = "" if found is None else engine.staging(work.paths, sums=sums).note
            if found is None:
                found = self._whole(work, run, planned)
            found, rounding = self._with_rounding(work, found, run | {"chunk": planned.chunk})
        on_cuda = self._sessions.on_cuda
        facts = {"staged": note, **rounding, **({"cuda": on_cuda} if on_cuda else {})}
        facts |= {"targets": found.shared} if found.shared else {}
        return Done(found, facts, found.plan or planned)

    def _in_parts(self, work: Work, run: dict[str, Any], planned: Plan) -> Integrals | None:
        """The integrals with the gradient graph in parts, where that serves."""
        scheme = work.scheme
        if not isinstance(scheme, Scheme) or not self.staging or self._precision != "float32":
            return None
        kernels = select("auto")
        return work.engine.integrals(
            work.paths, work.owner, scheme, kernels, run, planned, share=self.sharing
        )

    def _whole(self, work: Work, run: dict[str, Any], planned: Plan) -> Integrals:
        """The integrals with the whole gradient graph, by whatever the method asks for."""
        engine, paths, scheme = work.engine, work.paths, work.scheme
        gradients, kernels = engine.lean.gradients, select("auto")
        names, outputs = list(gradients), work.outputs
        tensors = [replace(o, name=n) for n, o in zip(names, outputs, strict=True)]
        changes = isinstance(scheme, InnerScheme) and scheme.changes
        outputs += tensors if changes else []
        session = engine.gradient_for(planned)
        lanes = self._sessions.lanes(session)
        if isinstance(scheme, Scheme):
            share = self.sharing and self._precision == "float32"
            points, taken, shared = engine.sharing(planned).points(
                kernels, paths, outputs, scheme, planned, share=share, lanes=lanes, **run
            )
            done = stream.integrate(points, names, scheme, keep_bytes=planned.keep_bytes)
            return replace(done, shared=shared, plan=taken)
        run |= {"chunk": planned.chunk}
        options = run | {"at_once": planned.at_once, "lanes": lanes}
        points = Points(session, kernels, paths, outputs, **options)
        if isinstance(scheme, Sampling):
            return sample.sample(
                points, names, scheme, pool=work.pool, keep_bytes=planned.keep_bytes
            )
        assert isinstance(scheme, InnerScheme)
        prologue = self._placing.up_to_inner()
        up_to = Points(prologue, kernels, paths, tensors, **run | {"cotangent": None})
        moving = {n for n in paths.inputs if n not in gradients}
        complete = not moving.intersection(self._subject.fed)
        return inside.integrate_inside(
            points, up_to, names, scheme, complete=complete, keep_bytes=planned.keep_bytes
        )

    def _with_rounding(
        self, work: Work, found: Integrals, run: dict[str, Any]
    ) -> tuple[Integrals, dict[str, Any]]:
        """The integrals with what the precision costs, and what the provenance says of it."""
        if self._precision == "float32":
            return found, {}
        engine, outputs = work.engine, work.outputs
        rounded, exact = (
            Points(session, select("auto"), work.paths, outputs, **run)
            for session in (engine.gradient, engine.exact)
        )
        compared = Rounding(self._precision, rounded, exact, list(engine.lean.gradients))
        found, said = compared.added(found, work.paths)
        return found, {"precision": said}


def scheme_of(
    method: Method, rule: str | None, n_steps: int | None, tolerance: float, seed: int
) -> AnyScheme:
    """Where a method evaluates gradients."""
    if isinstance(method, methods.ExpectedGradients):
        return method.sampling(rule, n_steps, tolerance, seed)
    if isinstance(method, (methods.Conductance, methods.InternalInfluence)):
        return method.inner_scheme(rule, n_steps, tolerance)
    if isinstance(method, methods.IntegratedHessians):
        return method.pair_scheme(rule, n_steps, tolerance)
    return method.scheme(rule, n_steps, tolerance)


def informed(scheme: AnyScheme, engine: Engine, ends: Ends) -> AnyScheme:
    """An adaptive rule with what the gradient graph tells of the integrand; others as they are."""
    if not isinstance(scheme, Scheme) or scheme.tolerance is None:
        return scheme
    lean = engine.lean
    if lean.constant_from_zero if ends.from_zero else lean.constant:
        return constant_scheme()
    return replace(scheme, smooth=lean.smooth)


def over_sets(array: Array) -> Array:
    """Mean over the first axis; `np.mean` takes five times as long on a small array."""
    # of one, which may be as large as all results, there is no copy to make
    return np.asarray(np.add.reduce(array, axis=0) / len(array)) if len(array) > 1 else array[0]


def averaged(found: Integrals, sets: int, rows: int) -> tuple[dict[str, Array], Array, Array]:
    """Mean over the baselines; relative error, where errors of the paths may add up."""
    values = mean_of(found.values, sets)
    absolute = over_sets(found.error.reshape(sets, rows))
    norm = sum((_magnitudes(v.reshape(rows, -1)) for v in values.values()), np.zeros(rows))
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(absolute == 0, 0.0, absolute / norm)
    return values, relative, found.evaluations.reshape(sets, rows).sum(axis=0)


def _magnitudes(values: Array) -> Array:
    """Sum of |values| by row, [rows, features] to [rows]; some at a time, for the memory."""
    rows, step = len(values), max(1, _AT_ONCE // max(1, values.shape[1]))
    parts = [np.abs(values[r : r + step]).sum(axis=1) for r in range(0, rows, step)]
    return np.concatenate(parts)


def mean_of(of_paths: dict[str, Array], sets: int) -> dict[str, Array]:
    """Mean over the baselines, [sets x rows, …] to [rows, …] by name."""
    return {n: over_sets(v.reshape(sets, -1, *v.shape[1:])) for n, v in of_paths.items()}


__all__ = [
    "AnyScheme",
    "Done",
    "Integrator",
    "Work",
    "averaged",
    "informed",
    "mean_of",
    "over_sets",
    "scheme_of",
]
