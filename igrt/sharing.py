"""`Sharing`: paths that differ in the target alone share the forward pass of their points."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, final

import numpy as np

from igrt.apart import agree
from igrt.derived import Derived
from igrt.errors import GaveUp, IgrtError
from igrt.footprint import counted, is_small
from igrt.kernels import KernelSet
from igrt.parts import OF_POINT
from igrt.quadrature import Scheme
from igrt.runtime.lane import LaneMaker, Output
from igrt.runtime.paths import Paths
from igrt.runtime.plan import Plan
from igrt.runtime.points import Points
from igrt.runtime.session import Arena, Session
from igrt.runtime.usage import SharedUsage

_WORTHWHILE = 0.1
"""Part of the cost of an evaluation that must be saved (benchmarks/targets.py)."""

_TOGETHER = 8
"""Rows that a run takes at least, for so many targets, where memory allows: larger chunks leave the
processor's caches sooner than a forward pass is worth."""

_ENOUGH = 32
"""Evaluations of all paths from which on another session is worth its making."""

_FEWEST = 3
"""Rows that a run must be able to take: two cotangents of one point, and one of another."""


class SessionMaker(Protocol):
    """Loads a model."""

    def __call__(
        self,
        model: Derived,
        *,
        arena: Arena = Arena.RELEASED,
        recorded: bool = False,
        threads: int | None = None,
    ) -> Session:
        """The session; see `OrtSession` for the options.

        Without a number of threads it has as many as sessions of the model are to have.
        """
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
        self._opened: dict[str, tuple[Session, SharedUsage] | None] = {}
        self._failed: dict[str, str] = {}

    def points(
        self,
        kernels: KernelSet,
        paths: Paths,
        outputs: Sequence[Output],
        scheme: Scheme,
        planned: Plan,
        *,
        share: bool,
        lanes: LaneMaker | None = None,
        **run: Any,
    ) -> tuple[Points, Plan, str]:
        """Points of some paths, what they take, and how paths share them in words.

        Args:
            kernels: Path kernels.
            paths: Where the points lie.
            outputs: What to evaluate.
            scheme: Where, and when to stop.
            planned: What may be taken where no points are shared.
            share: Whether they may be.
            lanes: See `Points`; no points are shared on a device.
            run: Further arguments of `Points`.
        """
        found, note = None, ""
        lines = _lines(paths)
        targets = len(paths) / max(1, len(lines))
        on_host = lanes is None and self._whole.provider == "CPUExecutionProvider"
        if share and targets >= 2 and on_host:
            first = len(scheme.stages[0].alphas)
            found, note = self._find(paths, outputs, run["cotangent"], lines, first, planned)
        if found is None:
            run |= {"lanes": lanes, "chunk": planned.chunk, "at_once": planned.at_once}
            return Points(self._whole, kernels, paths, outputs, **run), planned, note
        session, usage = found
        together = round(targets)
        planned = planned.instead(usage=usage.of(max(map(len, lines))))
        chunk = max(planned.chunk, min(together, planned.most, _TOGETHER))
        # whole points, so that few run twice
        planned = replace(planned, chunk=chunk - chunk % together if chunk > together else chunk)
        run |= {"chunk": planned.chunk, "at_once": planned.at_once}
        return Points(session, kernels, paths, outputs, of_point=OF_POINT, **run), planned, note

    def _find(
        self,
        paths: Paths,
        outputs: Sequence[Output],
        cotangent: str | None,
        lines: Sequence[Sequence[int]],
        evaluations: int,
        planned: Plan,
    ) -> tuple[tuple[Session, SharedUsage] | None, str]:
        """The session for some paths with what runs take, and how paths share points in words.

        No session where that does not serve or pay.

        Args:
            paths: The paths.
            outputs: What the graph gives.
            cotangent: Its cotangent input.
            lines: Paths on each line.
            evaluations: At least so many evaluations of each path are to come.
            planned: What may be taken where no points are shared.
        """
        if cotangent is None or paths.references or not paths.batched or not paths.output_batched:
            return None, _alone("rows run one by one")
        if planned.most < _FEWEST:
            return None, _few(planned)
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
                saved = facts["once"] * (1 - len(lines) / len(paths)) - facts["gathered"]
                if saved < _WORTHWHILE:
                    return None, _alone(f"sharing points would save {max(saved, 0):.0%}")
                usage = planned.need.usage
                copies = replace(usage, row=usage.row + facts["copied"])
                bound = planned.instead(usage=copies)
                if bound.most < _FEWEST:
                    return None, _few(bound)
                if key not in self._opened:
                    self._opened[key] = self._open(model, paths, options, lines, bound)
                if self._opened[key] is None:
                    return None, _alone("rows are not independent")
                note = f"{facts['nodes']} nodes run once for all targets of a point"
                return self._opened[key], note
        except GaveUp:
            raise
        except IgrtError as error:
            self._failed[key] = _alone(error.message)
            return None, self._failed[key]

    def _open(
        self,
        model: Derived,
        paths: Paths,
        options: dict[str, Any],
        lines: Sequence[Sequence[int]],
        bound: Plan,
    ) -> tuple[Session, SharedUsage] | None:
        """The session and what its runs take; None where it gives something else than the whole."""
        lowered, row = model.then("lowered"), bound.need.usage.row
        names, cotangent = options["outputs"], options["cotangent"]
        counts = not is_small(row)
        session = self._session(lowered, arena=Arena.HELD, recorded=counts)
        line = max(lines, key=len)
        together = min(len(line), max(2, bound.fits))

        def run(rows: int) -> None:
            path = np.asarray(line[:rows])
            feeds = paths.at_inputs(path[:1])
            feeds |= {cotangent: paths.cotangents[path], OF_POINT: np.zeros(rows, np.int64)}
            session.run(names, feeds)

        found = None
        if counts:
            runs = [partial(run, rows) for rows in (1, together)]
            found = counted(lowered, session, runs, rows=together, shapes=options["shapes"])
        (alone, several), left = found or ([row, together * row], 0)
        same = self._same(session, paths, names, cotangent)
        return (session, SharedUsage(alone, several, together, left)) if same else None

    def _same(self, shared: Session, paths: Paths, names: Sequence[str], cotangent: str) -> bool:
        """Whether both graphs give the same for three cotangents at two points of a path."""
        points, row = np.zeros(2, np.int64), np.array([1, 0, 1])
        fed = paths.at_inputs(points)
        example, baseline = paths.example[points], paths.baseline[points]
        for name, (x, b) in paths.ends.items():
            alphas = np.array([0.4, 0.9]).reshape(2, *(1,) * (x.ndim - 1))
            moved = b[baseline] + alphas * (x[example] - b[baseline])
            fed[name] = moved.astype(x.dtype)
        cotangents = paths.cotangents[np.array([1, 0, 0])]
        feeds = {**fed, cotangent: cotangents, OF_POINT: row}
        together = shared.run(names, feeds)
        alone = []
        for k, at in enumerate(row.tolist()):
            feeds = {n: a if n in paths.shared else a[at : at + 1] for n, a in fed.items()}
            feeds[cotangent] = cotangents[k : k + 1]
            alone.append(self._whole.run(names, feeds, release=True))
        rows = map(np.concatenate, zip(*alone, strict=True))
        return all(agree(t, a) for t, a in zip(together, rows, strict=True))


def _lines(paths: Paths) -> list[list[int]]:
    """The paths on each line that any run on."""
    found: dict[tuple[int, int], list[int]] = {}
    for path, line in enumerate(zip(paths.example.tolist(), paths.baseline.tolist(), strict=True)):
        found.setdefault(line, []).append(path)
    return list(found.values())


def _few(planned: Plan) -> str:
    return _alone(f"a run takes {planned.most} row{'s' * (planned.most > 1)}")


def _alone(reason: str) -> str:
    return f"each target by itself: {reason}"


__all__ = ["Sharing"]
