"""`Sharing`: paths that differ in the target alone share the forward pass of their points."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Protocol, final

import numpy as np

from igrt.apart import agree
from igrt.derived import Derived
from igrt.errors import GaveUp, IgrtError
from igrt.kernels import KernelSet
from igrt.parts import OF_POINT
from igrt.quadrature import Scheme
from igrt.runtime.lane import LaneMaker, Output
from igrt.runtime.paths import Paths
from igrt.runtime.points import Points
from igrt.runtime.session import Arena, Session
from igrt.specs import Feeds

_WORTHWHILE = 0.1
"""Part of the cost of an evaluation that must be saved (benchmarks/targets.py)."""

_TOGETHER = 8
"""Rows that a run takes at least, for so many targets, where memory allows: larger chunks leave the
processor's caches sooner than a forward pass is worth."""

_ENOUGH = 32
"""Evaluations of all paths from which on another session is worth its making."""


class SessionMaker(Protocol):
    """Loads a model."""

    def __call__(
        self, model: Derived, *, arena: Arena = Arena.RELEASED, recorded: bool = False
    ) -> Session:
        """The session; see `OrtSession` for the options."""
        ...


@final
class Sharing:
    """A gradient graph, or the step of one, that takes several cotangents per point.

    Args:
        graph: The graph with a row of everything per cotangent.
        whole: A session of it.
        session: Loads a model.
    """

    def __init__(self, graph: Derived, whole: Session, session: SessionMaker) -> None:
        self._graph, self._whole, self._session = graph, whole, session
        self._lock = threading.Lock()
        self._models: dict[str, Derived] = {}
        self._sessions: dict[str, Session | None] = {}
        self._failed: dict[str, str] = {}

    def points(
        self,
        kernels: KernelSet,
        paths: Paths,
        outputs: Sequence[Output],
        scheme: Scheme,
        *,
        share: int,
        chunk: int,
        lanes: LaneMaker | None = None,
        **run: Any,
    ) -> tuple[Points, str]:
        """Points of some paths, and how these share them in words.

        Args:
            kernels: Path kernels.
            paths: Where the points lie.
            outputs: What to evaluate.
            scheme: Where, and when to stop.
            share: Most points per run where they are shared; 0 where they may not be.
            chunk: Points per run where they are not.
            lanes: See `Points`; no points are shared on a device.
            run: Further arguments of `Points`.
        """
        session, note = None, ""
        targets = len(paths) / max(1, _lines(paths))
        if targets < 2:
            share = 0
        if share == 1:
            share, note = 0, _alone("a run takes one row")
        if share and lanes is None and self._whole.provider == "CPUExecutionProvider":
            first = len(scheme.stages[0].alphas)
            session, note = self._find(paths, outputs, run["cotangent"], targets, first)
        if session is None:
            run |= {"lanes": lanes, "chunk": chunk}
            return Points(self._whole, kernels, paths, outputs, **run), note
        together = round(targets)
        chunk = max(chunk, min(together, share, _TOGETHER))
        # whole points, so that few run twice
        run["chunk"] = chunk - chunk % together if chunk > together else chunk
        return Points(session, kernels, paths, outputs, of_point=OF_POINT, **run), note

    def _find(
        self,
        paths: Paths,
        outputs: Sequence[Output],
        cotangent: str | None,
        targets: float,
        evaluations: int,
    ) -> tuple[Session | None, str]:
        """The session for some paths, and how they share points in words.

        No session where that does not serve or pay.

        Args:
            paths: The paths.
            outputs: What the graph gives.
            cotangent: Its cotangent input.
            targets: Paths per line.
            evaluations: At least so many evaluations of each path are to come.
        """
        if cotangent is None or paths.references or not paths.batched or not paths.output_batched:
            return None, _alone("rows run one by one")
        if len(paths) * evaluations < _ENOUGH:
            return None, _alone("there are few evaluations")
        shapes = {n: [1, *x.shape[1:]] for n, (x, _) in paths.ends.items()}
        shapes |= {n: [1, *a.shape[1:]] for n, a in paths.others.items()}
        shapes |= {n: list(a.shape) for n, a in paths.shared.items()}
        shapes[cotangent] = [1, *paths.cotangents.shape[1:]]
        shapes |= {o.name: [1, *o.shape] for o in outputs}
        options: dict[str, Any] = {"shapes": shapes, "shared": sorted(paths.shared)}
        options |= {"cotangent": cotangent, "outputs": [o.name for o in outputs]}
        key = repr(options)
        if key in self._failed:
            return None, self._failed[key]
        try:
            with self._lock:
                if key not in self._models:
                    self._models[key] = self._graph.then("several", **options)
                model = self._models[key]
                facts = model.facts
                if facts["refused"]:
                    return None, _alone(facts["refused"])
                saved = facts["once"] * (1 - 1 / targets) - facts["gathered"]
                if saved < _WORTHWHILE:
                    return None, _alone(f"sharing points would save {max(saved, 0):.0%}")
                if key not in self._sessions:
                    opened = self._session(model.then("lowered"), arena=Arena.HELD)
                    same = self._same(opened, paths, outputs, cotangent)
                    self._sessions[key] = opened if same else None
                if self._sessions[key] is None:
                    return None, _alone("rows are not independent")
                note = f"{facts['nodes']} nodes run once for all targets of a point"
                return self._sessions[key], note
        except GaveUp:
            raise
        except IgrtError as error:
            self._failed[key] = _alone(error.message)
            return None, self._failed[key]

    def _same(
        self, shared: Session, paths: Paths, outputs: Sequence[Output], cotangent: str
    ) -> bool:
        """Whether both graphs give the same for three cotangents at two points of a path."""
        names, row = [o.name for o in outputs], np.array([1, 0, 1])
        example, baseline = paths.example[0], paths.baseline[0]
        points: dict[str, Any] = {}
        for name, (x, b) in paths.ends.items():
            alphas = np.array([0.4, 0.9]).reshape(2, *(1,) * (x.ndim - 1))
            points[name] = (b[baseline] + alphas * (x[example] - b[baseline])).astype(x.dtype)
        points |= {n: np.stack([a[example]] * 2) for n, a in paths.others.items()}
        cotangents = {cotangent: paths.cotangents[np.array([1, 0, 0])]}
        separate: Feeds = {n: a[row] for n, a in points.items()}
        alone = self._whole.run(names, {**paths.shared, **separate, **cotangents})
        together = shared.run(names, {**paths.shared, **points, **cotangents, OF_POINT: row})
        return all(agree(t, a) for t, a in zip(together, alone, strict=True))


def _lines(paths: Paths) -> int:
    """On how many lines the paths run."""
    return len(set(zip(paths.example.tolist(), paths.baseline.tolist(), strict=True)))


def _alone(reason: str) -> str:
    return f"each target by itself: {reason}"


__all__ = ["Sharing"]
