"""`Interactions`: second derivatives along the paths of a call, and what they come to."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any, final

from igrt.engine import Engine
from igrt.errors import InputError, NoGradientPath, UnsupportedOperator
from igrt.kernels import select
from igrt.quadrature import PairScheme
from igrt.runtime import pairs
from igrt.runtime.directions import Blocks, Directions
from igrt.runtime.lane import Output
from igrt.runtime.paths import Integrals, Paths
from igrt.runtime.plan import Plan
from igrt.runtime.points import Points
from igrt.runtime.watch import Watch
from igrt.sessions import Sessions
from igrt.specs import Feeds

MOST = 512
"""Most features: their matrix has a quarter of a million entries, which nobody looks at, and each
node of the path costs as many products of the Hessian."""

_NAMED = 5
"""Most nodes that a message names."""


@final
@dataclass(frozen=True, eq=False)
class Curvature:
    """The graph that gives products of the Hessian with directions.

    Args:
        engine: Runs it; its explained output is the slope along the directions.
        inputs: Input for the direction per attributed tensor.
        cotangent: Input for the cotangent of the output that is explained.
    """

    engine: Engine
    inputs: dict[str, str]
    cotangent: str


@final
class Interactions:
    """Integrates second derivatives along paths; each graph is made when it is first used.

    Args:
        sessions: Opens what is made of the model.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._lock = threading.Lock()
        self._curvatures: dict[Engine, Curvature] = {}

    def plan(
        self,
        engine: Engine,
        paths: Paths,
        scheme: PairScheme,
        shown: Feeds,
        internal_batch_size: int | None,
    ) -> Plan:
        """How many products a run takes; see `Engine.plan`.

        Args:
            engine: The engine of the explained output.
            paths: The paths.
            scheme: Where to evaluate.
            shown: Attributed tensors at the inputs, [examples, …] by name.
            internal_batch_size: Products per run as the user wants it.

        Raises:
            InputError: If there are too many features, or the precision is another than float32.
            UnsupportedOperator: If an operator on the way has a kink; all are named.
        """
        precision = self._sessions.resources.precision
        if precision != "float32":
            raise InputError(
                f"integrated_hessians needs float32, and the precision is {precision}",
                hint="leave the precision out",
            )
        curvature, directions = self._begun(engine, shown, scheme)
        keep = pairs.keeping(scheme, directions, paths)
        one = directions.sample(paths)
        return curvature.engine.plan(one, keep, internal_batch_size)

    def integrate(
        self,
        engine: Engine,
        paths: Paths,
        scheme: PairScheme,
        shown: Feeds,
        planned: Plan,
        watch: Watch,
    ) -> tuple[Integrals, dict[str, Any]]:
        """What the paths come to, and how many features each attributed tensor has.

        Args:
            engine: The engine of the explained output.
            paths: The paths.
            scheme: Where to evaluate, and when to stop.
            shown: Attributed tensors at the inputs, [examples, …] by name.
            planned: What it may take.
            watch: Counts the products, and ends the work early.

        Raises:
            NonFiniteError: If a product or a gradient is NaN or infinite.
        """
        curvature, directions = self._begun(engine, shown, scheme)
        second, graph = curvature.engine, curvature.engine.lean
        tensors = [(graph.gradients[n], x) for n, x in shown.items()]
        tensors += [(engine.lean.gradients[n], x) for n, x in shown.items()]
        outputs = [Output(name, x.shape[1:], x.dtype) for name, x in tensors]
        session = second.gradient_for(planned)

        def opened(along: Paths) -> Points:
            return Points(
                session,
                select("auto"),
                along,
                outputs,
                cotangent=graph.cotangent,
                chunk=planned.chunk,
                at_once=planned.at_once,
                watch=watch,
                lanes=self._sessions.lanes(session),
            )

        with second.locating():
            found = pairs.integrate_pairs(
                paths, directions, scheme, opened, keep_bytes=planned.keep_bytes
            )
        return found, {"features": dict(directions.blocks.counts)}

    def _begun(
        self, engine: Engine, shown: Feeds, scheme: PairScheme
    ) -> tuple[Curvature, Directions]:
        shapes = {n: x.shape[1:] for n, x in shown.items()}
        blocks = Blocks.of(shapes, scheme.axes)
        _require_few(blocks, shapes)
        curvature = self._curvature(engine)
        return curvature, Directions(blocks, curvature.inputs, curvature.cotangent)

    def _curvature(self, engine: Engine) -> Curvature:
        with self._lock:
            if engine not in self._curvatures:
                self._curvatures[engine] = _curvature(engine)
            return self._curvatures[engine]


def _curvature(engine: Engine) -> Curvature:
    _require_smooth(engine)
    lean = engine.lean
    gradients = dict(lean.gradients)
    part = lean.model.then("slope", gradients=gradients, batched=engine.batched)
    second = replace(
        engine,
        part=part,
        of=part.facts["of"],
        output_batched=engine.batched,
        also=tuple(gradients.values()),
    )
    try:
        _ = second.lean
    except (NoGradientPath, UnsupportedOperator) as error:
        raise UnsupportedOperator(
            "integrated_hessians differentiates the gradient graph once more, and there "
            f"{error.message}",
            hint="explain an earlier output (of), or attribute to a later tensor (wrt)",
        ) from None
    return Curvature(second, part.facts["directions"], lean.cotangent)


def _require_few(blocks: Blocks, shapes: dict[str, tuple[int, ...]]) -> None:
    """Refuse more features than a matrix is worth having of.

    Raises:
        InputError: If there are more.
    """
    if blocks.features <= MOST:
        return
    counts = ", ".join(f"`{n}` has {c:,}" for n, c in blocks.counts.items())
    deepest = max(len(s) for s in shapes.values())
    fitting = [a for a in range(1, deepest) if Blocks.of(shapes, a).features <= MOST]
    hint = "name a tensor with fewer (wrt, --wrt), such as an inner one"
    if fitting:
        count = Blocks.of(shapes, fitting[-1]).features
        hint += (
            f"; or sum over the last axes: igrt.methods.IntegratedHessians(axes={fitting[-1]}) "
            f"has {count:,} features"
        )
    raise InputError(
        f"integrated_hessians takes at most {MOST} features, for it has a number for every pair: "
        f"{counts}",
        hint=hint,
    )


def _require_smooth(engine: Engine) -> None:
    """Refuse a model with kinks on the way.

    Raises:
        UnsupportedOperator: If there are any; they are named.
    """
    found = engine.part.fact("kinks", lambda: _kinks(engine), wrt=list(engine.wrt))
    if not found:
        return
    from igrt.graph.soften import SOFTENED

    operators = {op for _, op in found}
    named = ", ".join(f"`{name}` ({op})" for name, op in found[:_NAMED])
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    one = len(found) == 1
    if operators <= set(SOFTENED):
        hint = (
            "softplus=10 (--softplus 10) puts a smooth bend in the place of each: that is another "
            "function, and the result says by how much"
        )
    elif "QuantizeLinear" in operators:
        hint = "quantised='dequantise' (--quantised dequantise) takes the rounding out"
    else:
        hint = (
            "explain an earlier output (of) or attribute to a later tensor (wrt), so that they are "
            f"not on the way; softplus smooths {', '.join(SOFTENED)} alone"
        )
    raise UnsupportedOperator(
        "integrated_hessians needs second derivatives, which are zero beside a kink and undefined "
        f"at it: {len(found)} node{'' if one else 's'} on the way "
        f"{'has' if one else 'have'} one: {named}{more}",
        hint=hint,
    )


def _kinks(engine: Engine) -> list[list[str]]:
    from igrt.stage.kinks import kinks

    return kinks(engine.part.proto, engine.wrt)


__all__ = ["MOST", "Curvature", "Interactions"]
