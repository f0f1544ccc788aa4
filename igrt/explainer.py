"""`Explainer` and `explain`: a model, an input, and what made the output what it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from numbers import Real
from typing import Any, final

import numpy as np

import igrt
from igrt import by_length, methods, targets
from igrt.attribution import Attribution
from igrt.baselines import Background, Baseline, described
from igrt.cache import CacheLike
from igrt.derived import derived
from igrt.errors import InputError, NonFiniteError
from igrt.integrating import (
    AnyScheme,
    Integrator,
    Work,
    averaged,
    informed,
    mean_of,
    over_sets,
    scheme_of,
)
from igrt.methods import Method
from igrt.placed import Placed
from igrt.placing import Placing
from igrt.quadrature import InnerScheme, Sampling
from igrt.runtime.paths import Paths
from igrt.runtime.watch import Progress, Watch
from igrt.sessions import Resources, Sessions
from igrt.source import ModelLike, read
from igrt.specs import STRAIGHT_THROUGH, Array, Display, Feeds, TensorSpec
from igrt.subject import subject
from igrt.targets import Resolved, Target
from igrt.text import Part, Text, fill, holds_text, numbers_as_tokens
from igrt.weights import taken_out


@final
class Explainer:
    """Explains one output of one model; loads it once and may be used from several threads.

    Args:
        model: Path, bytes or onnx.ModelProto.
        of: Name of the tensor to explain; the first float output by default.
        wrt: Names of the tensors attributed, inputs or any intermediate ones. By default all float
            inputs and, for an input of token numbers or texts, the rows that it looks up in an
            embedding. For an intermediate tensor the path runs in its space.
        provider: ``auto`` (CUDA where it works, else CPU), ``cpu``, ``cuda``, or a name of
            onnxruntime's. Anything but ``auto`` is an error where it does not work.
        memory: Bytes that an explanation may take beside the loaded model; half of what is free by
            default.
        threads: Threads that work for a call at the same time; None for one per core.
        quantised: What becomes of a quantised model. ``straight_through`` keeps its rounding, and
            gradients pass it where a value is inside the range; ``dequantise`` takes it out.
        precision: Of the gradients: ``float32``, ``tf32`` (on CUDA: products of matrices with 10
            bits of mantissa) or ``fp16`` (these and what lies between in float16). What is below
            float32 is compared with it on every path, and the difference is part of the error.
        cache: Whether the graphs made of the model are kept on disk for the next process: True
            for the user's cache folder, or a folder. The results are the same.
        softplus: Steepness β of softplus(βx)/β in place of every Relu, for second derivatives
            (`integrated_hessians`); likewise for LeakyRelu and ReduceMax. That is another function,
            and the one that is explained; what the model as it was given scores is in
            ``provenance["softplus"]``.

    Raises:
        ModelLoadError: If the model cannot be read.
        InputError: If `of` or `wrt` name no float tensor, or an option is not usable.
        UnsupportedOperator: If operators on the way have no gradient rule; all are named.
        NoGradientPath: If the gradient would be zero by construction.
    """

    def __init__(
        self,
        model: ModelLike,
        *,
        of: str | None = None,
        wrt: Sequence[str] | None = None,
        provider: str = "auto",
        memory: int | None = None,
        threads: int | None = None,
        quantised: str = STRAIGHT_THROUGH,
        precision: str = "float32",
        cache: CacheLike = False,
        softplus: float | None = None,
    ) -> None:
        resources = Resources(provider, threads, memory, precision)
        given = read(model)
        # products in float16 are made of the weights themselves
        self._given, self._weights = (given, None) if precision == "fp16" else taken_out(given)
        self._loaded = derived(self._given, cache)
        facts = self._loaded.facts
        normal = self._loaded.then("normal", quantised=quantised)
        soft = normal if softplus is None else normal.then("softened", beta=softplus)
        self._subject = subject(soft, of, wrt)
        self.of: TensorSpec = self._subject.of
        """Spec of the explained output."""
        self.wrt: tuple[TensorSpec, ...] = self._subject.wrt
        """Specs of the attributed tensors."""
        self.inputs: tuple[TensorSpec, ...] = self._subject.inputs
        """Specs of the model's inputs."""
        self._quantised = quantised if facts["quantised"] else None
        self._sessions = Sessions(
            resources, self._given.folder, external=bool(facts["external"]), weights=self._weights
        )
        self._placing = Placing(self._subject, self._sessions)
        self._as_given: Placing | None = None
        if softplus is not None:
            self._soft = {"beta": softplus, **soft.facts}
            self._as_given = Placing(subject(normal, of, wrt), self._sessions)
        self._integrator = Integrator(self._subject, self._sessions, self._placing)

    def batching_of(self, inputs: Feeds | Any) -> str:
        """How rows go into the model, in words: found by running the first row of some inputs."""
        with suppress(NonFiniteError):  # from made-up inputs; how rows go in is known by then
            self._placing.place(inputs, None)
        return self._placing.note

    def staging_of(self, inputs: Feeds | Any) -> dict[str, str]:
        """What would run only at the ends of paths of some inputs, or on sums over them, in words.

        Returns:
            For ``adaptive`` rules, which need the gradient at every point, and for ``fixed`` ones,
            which need sums only.
        """
        placed = self._placing.place(inputs, None)
        ends, engine = placed.ends, placed.engine
        paths = Paths(
            inputs=ends.inputs,
            baselines=ends.baselines,
            example=np.arange(1),
            baseline=np.arange(1),
            cotangents=np.zeros_like(placed.outputs[:1]),
            others=ends.others,
            shared=ends.shared,
            batched=engine.batched,
            output_batched=engine.output_batched,
            change=np.zeros(1),
            references=engine.lean.references,
        )
        if engine.lean.constant:
            note = "nothing to stage: the gradient is the same at all points"
            return {"adaptive": note, "fixed": note}
        found = {"adaptive": False, "fixed": True}
        return {n: engine.staging(paths, sums=sums).note for n, sums in found.items()}

    def explain(
        self,
        inputs: Feeds | Text | Any,
        *,
        baselines: Baseline | Sequence[Baseline] = None,
        target: Target = None,
        method: str | Method = "integrated_gradients",
        n_steps: int | None = None,
        rule: str | None = None,
        tolerance: float = 1e-2,
        internal_batch_size: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
        deadline: float | None = None,
        cancel: threading.Event | None = None,
        display: Display | None = None,
    ) -> Attribution:
        """Attribute the target's score to the inputs.

        Args:
            inputs: Arrays by input name; a bare array will do for a one-input model. With or
                without a batch axis. A `Text` stands for the arrays of token numbers, masks, types
                and positions that are made of it, alone or under the name of an input.
            baselines: Where the path begins: None (zeros), a number, an array, a text such as
                ``"blur:4"`` or ``"token:0"``, a mapping from names to these, or a list of these to
                average over. For ``expected_gradients`` an array has one baseline in each row.
            target: What is explained: None (the only or highest element), a class index, a label,
                ``"topK"``, a tuple or text with one item per output axis such as ``"[:, top1]"``,
                the sum of such elements, ``"sum[:, 5]"``, a `Mask` of weights or its file,
                ``"mask:FILE.npy"``, or a list with one of these per example.
            method: A name, or a method object with its own options: ``integrated_gradients``,
                ``expected_gradients``, or of inner tensors ``conductance internal_influence``.
            n_steps: Exactly so many gradient evaluations, or draws; None stops at the tolerance.
            rule: Quadrature rule for a fixed number of steps, ``gauss_legendre`` by default; also
                ``gauss_kronrod midpoint trapezoid simpson left right`` and Captum's names.
            tolerance: Relative L1 error of the attribution to stop at.
            internal_batch_size: Rows per run, at most; by default the fastest number that `memory`
                allows.
            seed: Seed of methods that draw at random; recorded in the result.
            progress: Called with the evaluations done and planned, after every run.
            deadline: Seconds after which to give up, within one operator of the model.
            cancel: Set it from another thread to give up likewise.
            display: Labels, names and pictures to show beside the numbers.

        Raises:
            InputError: If an argument or an array is not usable.
            NonFiniteError: If an output or a gradient is NaN or infinite.
            DeadlineExceeded: If the deadline passed.
            Cancelled: If `cancel` was set.
        """
        if deadline is not None and not (isinstance(deadline, Real) and deadline > 0):
            raise InputError(
                f"deadline must be a positive number of seconds, not {deadline!r}",
                hint="leave it out to take as long as it takes",
            )
        if cancel is not None and not isinstance(cancel, threading.Event):
            raise InputError(
                f"cancel must be a threading.Event, not {cancel!r}", hint="set() it to give up"
            )
        end = None if deadline is None else time.monotonic() + deadline
        how = (methods.named(method), n_steps, rule, tolerance, internal_batch_size, seed)
        shown = display or Display()
        with Watch(progress=progress, deadline=end, cancel=cancel) as watch:
            if not holds_text(inputs):
                return self._explain(inputs, baselines, target, *how, shown, watch)

            filled = fill(inputs, self.inputs, self._subject.lookups)
            each = targets.listed(target, len(filled.sources[0]))

            def explained(part: Part, begin: Any) -> Attribution:
                chosen = target if each is None else [each[row] for row in part.rows]
                tokens = replace(shown, tokens=part.tokens)
                return self._explain(part.feeds, begin, chosen, *how, tokens, watch, part.fixed)

            return by_length.explain(filled, baselines, explained, self._placing.runs)

    def _explain(
        self,
        inputs: Feeds | Any,
        baselines: Baseline | Sequence[Baseline],
        target: Target,
        chosen: Method,
        n_steps: int | None,
        rule: str | None,
        tolerance: float,
        internal_batch_size: int | None,
        seed: int,
        display: Display,
        watch: Watch,
        fixed: Feeds | None = None,
    ) -> Attribution:
        start = time.monotonic()
        scheme = scheme_of(chosen, rule, n_steps, tolerance, seed)
        if isinstance(scheme, Sampling):
            baselines = Background(baselines)
        placed = _placed(self._placing, scheme, inputs, baselines, fixed)
        layout, ends, outputs = placed.layout, placed.ends, placed.outputs
        engine = placed.engine.under(chosen.sweep)
        scheme = informed(scheme, engine, ends)
        picked = targets.resolve(target, outputs, display.labels)
        example, rows = picked.example, len(picked.example)
        sets, pool = ends.sets, ends.pool
        output, of_row = _scores(placed, picked)
        baseline_output = over_sets(np.stack(of_row))
        starts, begin = ends.baselines, pool[example]
        if chosen.factor != "difference":  # the same for every baseline; x - 0 is the factor x
            starts, begin = {n: np.zeros_like(x) for n, x in ends.inputs.items()}, example[:, None]
            sets = 1

        if isinstance(scheme, Sampling):  # each row is one path, from any of its baselines
            sets = 1
        paths = Paths(
            inputs=ends.inputs,
            baselines=starts,
            example=np.tile(example, sets),
            baseline=begin[:, :sets].T.reshape(-1),
            cotangents=np.tile(
                picked.cotangents(outputs.shape[1:], engine.lean.dtype),
                (sets, *(1,) * (outputs.ndim - 1)),
            ),
            others=ends.others,
            shared=ends.shared,
            batched=engine.batched,
            output_batched=engine.output_batched,
            change=np.concatenate([output - b for b in of_row[:sets]]).astype(np.float64),
            references=engine.lean.references,
            times_difference=chosen.factor != "one",
        )
        work = Work(engine, paths, ends.owner, begin, scheme, placed.shown)
        planned = self._integrator.plan(work, internal_batch_size)
        soft = {}
        if self._as_given is not None:
            given = _placed(self._as_given, scheme, inputs, baselines, fixed)
            soft = {"softplus": self._soft | _beside(*_scores(given, picked))}
        done = self._integrator.integrate(work, planned, watch)
        values, error, evaluations = averaged(done.integrals, sets, rows)
        interactions = mean_of(done.integrals.interactions, sets)
        total = sum(v.reshape(rows, -1).sum(axis=1) for v in values.values())
        if (
            isinstance(scheme, InnerScheme) and not scheme.changes
        ):  # slopes, which sum to nothing in particular
            total = np.full(rows, np.nan)
        keep = rows > 1 or (layout.batched and not placed.bare)
        return Attribution(
            values=values if keep else {n: v[0] for n, v in values.items()},
            target=picked.index,
            output=output,
            baseline_output=baseline_output,
            delta=total - (output - baseline_output),
            error=error,
            evaluations=evaluations,
            rule=scheme.name,
            method=chosen.name,
            provider=engine.provider,
            seconds=time.monotonic() - start,
            provenance=self._provenance(
                seed=seed,
                n_steps=n_steps,
                tolerance=tolerance,
                baselines=described(baselines),
                chunk=done.integrals.chunk,
                plan=done.taken,
                batching=engine.note,
                **done.facts,
                **soft,
            ),
            example=example,
            inputs={n: x[example] if keep else x[0] for n, x in placed.shown.items()},
            scores=outputs[example],
            tolerance=scheme.tolerance,
            batched=keep,
            display=replace(
                display,
                layouts={**self._subject.layouts, **display.layouts},
                tokens=numbers_as_tokens(self._subject.lookups, ends.others, display),
            ),
            interactions=interactions if keep else {n: v[0] for n, v in interactions.items()},
        )

    def _provenance(self, **options: Any) -> dict[str, Any]:
        return {**self._origin, **options}

    @cached_property
    def _origin(self) -> dict[str, Any]:
        return {
            "model": self._given.name,
            "sha256": self._given.sha256,
            "of": self.of.name,
            "wrt": [s.name for s in self.wrt],
            "opset": self._loaded.facts["opset"],
            "igrt": igrt.__version__,
            "onnx": self._loaded.facts["onnx"],
            "onnxruntime": _runtime_version(),
            **({"quantised": self._quantised} if self._quantised else {}),
            **({"locally_constant": self._subject.cut} if self._subject.cut else {}),
        }


def explain(
    model: ModelLike,
    inputs: Feeds | Any,
    *,
    of: str | None = None,
    wrt: Sequence[str] | None = None,
    provider: str = "auto",
    memory: int | None = None,
    threads: int | None = None,
    quantised: str = STRAIGHT_THROUGH,
    precision: str = "float32",
    cache: CacheLike = False,
    softplus: float | None = None,
    **options: Any,
) -> Attribution:
    """Explain one model once: `Explainer(model, …).explain(inputs, …)` with the same keywords."""
    explainer = Explainer(
        model,
        of=of,
        wrt=wrt,
        provider=provider,
        memory=memory,
        threads=threads,
        quantised=quantised,
        precision=precision,
        cache=cache,
        softplus=softplus,
    )
    return explainer.explain(inputs, **options)


def _placed(placing: Placing, scheme: AnyScheme, inputs: Any, baselines: Any, fixed: Any) -> Placed:
    if isinstance(scheme, InnerScheme):
        return placing.place_inside(inputs, baselines)
    return placing.place(inputs, baselines, fixed)


def _scores(placed: Placed, picked: Resolved) -> tuple[Array, list[Array]]:
    """F at the inputs, and at each of their baselines, [rows] float64 each."""
    ends, example = placed.ends, picked.example
    outputs = placed.engine.forward(
        ends.baselines, ends.others, ends.shared, ends.owner, "baselines"
    )
    output = picked.pick(placed.outputs[example])
    return output, [picked.pick(outputs[ends.pool[example, k]]) for k in range(ends.sets)]


def _beside(output: Array, of_row: list[Array]) -> dict[str, list[float]]:
    """Scores of the model as it was given, in JSON values."""
    return {"output": output.tolist(), "baseline_output": over_sets(np.stack(of_row)).tolist()}


def _runtime_version() -> str:
    from igrt.runtime.ort import onnxruntime

    return str(onnxruntime().__version__)


__all__ = ["Explainer", "explain"]
