"""`verify`: every check on one model, one method and some inputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import onnx

from igrt import methods
from igrt.attribution import Attribution
from igrt.baselines import Baseline
from igrt.errors import IgrtError, InputError, did_you_mean
from igrt.explainer import Explainer
from igrt.graph.load import load
from igrt.methods import Method
from igrt.source import ModelLike
from igrt.specs import STRAIGHT_THROUGH, Feeds
from igrt.targets import Target
from igrt.verify.axioms import completeness, sensitivity_a, sensitivity_b
from igrt.verify.case import Case, Explain
from igrt.verify.check import Check, Verification
from igrt.verify.draw import drawn
from igrt.verify.gradients import gradients
from igrt.verify.invariance import implementation_invariance, linearity, symmetry
from igrt.verify.place import embedded, make_case

CHECKS: dict[str, Callable[[Case], Check]] = {
    "gradients": gradients,
    "completeness": completeness,
    "sensitivity (a)": sensitivity_a,
    "sensitivity (b)": sensitivity_b,
    "implementation invariance": implementation_invariance,
    "linearity": linearity,
    "symmetry": symmetry,
}
"""Checks of a single figure by name. A check is a function of a `Case`."""

Found = tuple[tuple[Check, ...], dict[str, Any]]
"""Several checks, and what the page draws of them."""


_FEWEST = 8
"""Features from which on ranks mean something: three are in any order by chance, one in six."""


def _too_few(case: Case) -> str:
    """Why ranks say nothing here; empty where they do."""
    live = int((case.x != case.b).sum(axis=1).min())
    return f"{live} features differ from the baseline, too few to rank" if live < _FEWEST else ""


def _weights(case: Case) -> Found:
    from igrt.verify.measures import weights_matter

    why = _too_few(case)
    if why:
        return (Check.skipped("weight randomisation", why),), {}
    found = weights_matter(case)
    return found.checks, {"randomisation": found}


def _faithful(case: Case) -> Found:
    from igrt.verify.measures import faithful, jointly

    found = faithful(case, layouts=case.layouts, times_displacement=case.times_displacement)
    checks, why = jointly(found), _too_few(case)
    if why:  # a ball needs no ranks
        checks = tuple(
            c if c.name == "sensitivity-max" else Check.skipped(c.name, why) for c in checks
        )
    return checks, {"faithfulness": found}


MEASURES: dict[str, Callable[[Case], Found]] = {
    "weight randomisation": _weights,
    "faithfulness": _faithful,
}
"""Checks of several figures by name; they come behind the others."""

_MOST_ROWS = 8


def verify(
    model: ModelLike,
    inputs: Feeds | Any = None,
    *,
    target: Target = None,
    baselines: Baseline = None,
    method: str | Method = "integrated_gradients",
    tolerance: float = 1e-2,
    checks: Sequence[str] | None = None,
    explain: Explain | None = None,
    equals: Sequence[ModelLike] = (),
    of: str | None = None,
    wrt: Sequence[str] | None = None,
    provider: str = "auto",
    memory: int | None = None,
    threads: int | None = None,
    quantised: str = STRAIGHT_THROUGH,
    seed: int = 0,
    layouts: Mapping[str, str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Verification:
    """Check igrt's gradients on a model, and an attribution method against its axioms.

    Every check has a figure, a limit and a verdict. One that cannot be made on this model says why.

    Args:
        model: Path, bytes or onnx.ModelProto.
        inputs: Arrays by input name; a bare array will do for a one-input model. None draws some
            from the declared shapes. The first eight rows are used.
        target: What is explained, as in `explain`.
        baselines: Where the path begins, as in `explain`; one only.
        method: What is checked: a name, or a method object with its own options.
        tolerance: Relative error of the attributions, and the limit of most checks.
        checks: Names of the checks to make; all by default.
        explain: What is checked in place of a method of igrt's: a function from a model, its inputs
            and the keywords ``of wrt target baselines`` to an `Attribution`.
        equals: Further models that compute the same with the same names of inputs and output, for
            implementation invariance.
        of: Name of the tensor to explain, as in `Explainer`.
        wrt: Names of the tensors attributed, as in `Explainer`.
        provider: Execution provider, as in `Explainer`.
        memory: Byte budget of a run.
        threads: Threads that work at the same time.
        quantised: What becomes of a quantised model, as in `Explainer`.
        seed: Seed of directions, probes and inputs that are drawn.
        layouts: ``NCHW`` or ``NHWC`` by name of the inputs that are pictures.
        progress: Called with the name of each check before it is made.

    Raises:
        ModelError: If the model cannot be read or differentiated.
        InputError: If an argument or an array is not usable.
        NonFiniteError: If the model's output at the inputs or at the baseline is not finite.
    """
    start = time.monotonic()
    wanted = _chosen(checks)
    options: dict[str, Any] = {"provider": provider, "memory": memory, "threads": threads}
    explainer = Explainer(model, of=of, wrt=wrt, quantised=quantised, **options)
    chosen = methods.named(method)
    given = "the given inputs" if inputs is not None else f"inputs drawn with the seed {seed}"
    feeds = drawn(explainer, seed) if inputs is None else inputs
    case = make_case(
        explainer,
        feeds,
        target=target,
        baseline=baselines,
        explain=explain or Explaining(chosen, tolerance, seed, {**options, "quantised": quantised}),
        tolerance=tolerance,
        seed=seed,
        layouts=layouts,
        equals={f"equal {k}": _one_piece(m) for k, m in enumerate(equals, 1)},
        times_displacement=getattr(chosen, "factor", "difference") != "one",
    ).first(_MOST_ROWS)
    # what cannot be explained at all is an error, and no reason to skip every check
    _ = case.attributed
    made: list[Check] = []
    extras: dict[str, Any] = {}
    for name in wanted:
        if progress is not None:
            progress(name)
        found, drawn_of = _made(name, case)
        made += found
        extras |= drawn_of
    return Verification(
        checks=tuple(made),
        model=str(explainer._origin["model"]),
        method=chosen.name if explain is None else getattr(explain, "__name__", "given"),
        target=case.target,
        inputs=f"{len(case)} row{'s' * (len(case) != 1)} of {given}",
        seconds=time.monotonic() - start,
        provenance={
            **explainer._origin,
            "seed": seed,
            "tolerance": tolerance,
            **({"notes": list(case.notes)} if case.notes else {}),
        },
        extras=extras,
    )


def _one_piece(model: ModelLike) -> onnx.ModelProto:
    source = load(model)
    return embedded(source, source.model)


def _chosen(checks: Sequence[str] | None) -> list[str]:
    known = [*CHECKS, *MEASURES]
    for name in checks or ():
        if name not in known:
            raise InputError(f"there is no check `{name}`", hint=did_you_mean(name, known))
    return [n for n in known if checks is None or n in checks]


def _made(name: str, case: Case) -> Found:
    """The checks; an error in one, such as an output infinite at a probe, is its reason."""
    try:
        return MEASURES[name](case) if name in MEASURES else ((CHECKS[name](case),), {})
    except IgrtError as error:
        return (Check.skipped(name, error.message.splitlines()[0]),), {}


@final
class Explaining:
    """A method with its options, on any model; keeps the explainer of the model used most.

    Args:
        method: The method.
        tolerance: Relative error to stop at.
        seed: Its seed.
        options: Keywords of `Explainer`.
    """

    def __init__(
        self, method: Method, tolerance: float, seed: int, options: dict[str, Any]
    ) -> None:
        self._method, self._tolerance, self._seed = method, tolerance, seed
        self._options = options
        # the model goes along, so that its id stays its own
        self._made: dict[tuple[Any, ...], tuple[onnx.ModelProto, Explainer]] = {}

    def __call__(
        self,
        model: onnx.ModelProto,
        inputs: Feeds,
        *,
        of: str,
        wrt: Sequence[str],
        target: Target,
        baselines: Feeds,
    ) -> Attribution:
        """Attribute the target's score to the inputs."""
        key = (id(model), of, tuple(wrt))
        if key not in self._made:
            self._made[key] = (model, Explainer(model, of=of, wrt=wrt, **self._options))
        return self._made[key][1].explain(
            inputs,
            baselines=dict(baselines),
            target=target,
            method=self._method,
            tolerance=self._tolerance,
            seed=self._seed,
        )


__all__ = ["CHECKS", "Explaining", "verify"]
