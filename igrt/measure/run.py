"""`measure`: every figure of one model, timed in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from igrt.attribution import Attribution
from igrt.baselines import Baseline
from igrt.derived import Derived
from igrt.errors import InputError
from igrt.explainer import Explainer
from igrt.kernels.patient import settle
from igrt.measure.measurement import Measurement
from igrt.measure.memory import peaks
from igrt.measure.products import product_flops, product_rate
from igrt.placed import Placed
from igrt.runtime.clock import Clock
from igrt.specs import Array, Feeds
from igrt.targets import Target
from igrt.verify.draw import drawn

ROUNDS = 7
_SECONDS = 20.0
"""After which no further round begins."""

_CHUNKS = 3
"""Per timed run of evaluations; the first of them also begins the work and is not counted."""


def measure(
    model: str | Path | bytes,
    inputs: Feeds | Any = None,
    *,
    baselines: Baseline | Sequence[Baseline] = None,
    target: Target = "top1",
    tolerance: float = 1e-2,
    peer: bool = False,
    of: str | None = None,
    wrt: Sequence[str] | None = None,
    provider: str = "auto",
    memory: int | None = None,
    threads: int | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Measurement:
    """Time an explanation of a model, and measure what it takes.

    The forward pass, gradient evaluations and whole explanations are timed in turns (A B A B …),
    and each figure is the median of the rounds.

    Args:
        model: Path or bytes.
        inputs: Arrays by input name; a bare array will do for a one-input model. None draws some
            from the declared shapes.
        baselines: Where the path begins, as in `explain`.
        target: What is explained, as in `explain`.
        tolerance: Relative error of the explanation that is timed.
        peer: Whether to time torch and Captum as well, on the model as a converter gives it.
        of: Name of the tensor to explain, as in `Explainer`.
        wrt: Names of the tensors attributed, as in `Explainer`.
        provider: Execution provider, as in `Explainer`.
        memory: Byte budget of a run.
        threads: Threads that work at the same time, of torch as well.
        seed: Seed of inputs that are drawn.
        progress: Called with the name of each step before it is made.

    Raises:
        ModelError: If the model cannot be read or differentiated.
        InputError: If an argument or an array is not usable, or the peer cannot take the model.
        NonFiniteError: If the model's output or gradient is not finite.
    """
    say = progress or (lambda _: None)
    say("loading the model")
    options: dict[str, Any] = {"of": of, "wrt": wrt, "provider": provider}
    options |= {"memory": memory, "threads": threads}
    explainer = Explainer(model, **options)
    feeds = drawn(explainer, seed) if inputs is None else inputs
    explained: dict[str, Any] = {"inputs": feeds, "baselines": baselines}
    explained |= {"target": target, "tolerance": tolerance}
    torch = None
    if peer:
        from igrt.measure.peer import Torch

        say("converting the model to torch")
        torch = Torch(explainer, model, feeds, baselines, threads)

    say("explaining once")
    settle()
    first = explainer.explain(**explained)
    if torch is not None and any(isinstance(t, str) for t in first.target):
        raise InputError(
            "a comparison with Captum takes elements of the output, not sums or masks of them",
            hint="leave out --peer, or choose an element",
        )
    placed = explainer._placing.place(feeds, baselines)
    chunk = int(first.provenance["chunk"])
    at_once = int(first.provenance["plan"]["at_once"])
    say("timing")
    forwards: list[float] = []
    evaluations: list[float] = []
    around: list[float] = []
    whole: list[float] = []
    start = time.monotonic()
    while len(whole) < ROUNDS and (not whole or time.monotonic() - start < _SECONDS):
        forwards.append(_forward(placed, chunk))
        seconds, share = _evaluation(explainer, explained, len(first), chunk, at_once)
        evaluations.append(seconds)
        around.append(share)
        whole.append(_seconds(lambda: explainer.explain(**explained)))
        if torch is not None:
            torch.time(first.target)
    say("counting operations")
    flops = _flops(explainer, placed)
    rate = product_rate(provider=provider, threads=threads)
    say("measuring memory")
    loaded, most = peaks(model, options, explained)
    return Measurement(
        model=str(first.provenance["model"]),
        provider=first.provider,
        threads=threads,
        inputs=_described(first, given=inputs is not None, seed=seed),
        chunk=chunk,
        at_once=at_once,
        forward=median(forwards),
        evaluation=median(evaluations),
        around=median(around),
        flops=flops,
        rate=rate,
        predicted=int(first.provenance["plan"]["peak"]),
        loaded=loaded,
        peak=most,
        tolerance=tolerance,
        seconds=median(whole),
        evaluations=int(first.evaluations.sum()),
        error=float(first.error.max()),
        rounds=len(whole),
        provenance=first.provenance,
        peer=None if torch is None else torch.figures(first),
    )


def _described(found: Attribution, *, given: bool, seed: int) -> str:
    rows = f"{len(found)} row{'s' * (len(found) != 1)} of "
    return rows + ("the given inputs" if given else f"inputs drawn with the seed {seed}")


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _rows(placed: Placed, count: int) -> Feeds:
    """What the part behind the attributed tensors is fed with: the first example, some times."""
    arrays = {**placed.ends.inputs, **placed.ends.others}
    if not placed.engine.batched:
        return {**placed.ends.shared, **{n: a[0] for n, a in arrays.items()}}
    return {**placed.ends.shared, **{n: np.repeat(a[:1], count, axis=0) for n, a in arrays.items()}}


def _forward(placed: Placed, chunk: int) -> float:
    """Seconds of a row of the model alone."""
    feeds = _rows(placed, chunk)
    return _seconds(lambda: placed.engine.run_forward(feeds)) / chunk


def _evaluation(
    explainer: Explainer, explained: dict[str, Any], rows: int, chunk: int, at_once: int
) -> tuple[float, float]:
    """Seconds of a gradient evaluation behind the first chunks, and the share around the model."""
    seen: list[tuple[int, float, float]] = []
    with Clock() as clock:
        found = explainer.explain(
            **explained,
            n_steps=-(-_CHUNKS * at_once * chunk // rows),
            internal_batch_size=chunk,
            progress=lambda done, _: seen.append((done, time.perf_counter(), clock.total)),
        )
    if len(seen) < 2:
        raise InputError(
            "memory does not suffice to time chunks one after the other",
            hint="use a smaller memory budget, so that chunks are smaller",
        )
    # chunks that run at the same time also end at about the same time
    begun = min(found.provenance["plan"]["at_once"], len(seen) - 1)
    (first, start, before), (last, end, behind) = seen[begun - 1], seen[-1]
    return (end - start) / (last - first), 1 - (behind - before) / (end - start)


def _flops(explainer: Explainer, placed: Placed) -> int | None:
    """Operations in the matrix products of the gradient graph, for one row."""
    lean = placed.engine.lean
    seed: Array = np.ones_like(placed.outputs[:1])
    feeds = {**_rows(placed, 1), lean.cotangent: seed if placed.engine.output_batched else seed[0]}
    feeds |= {r: feeds[n] for n, r in lean.references.items()}
    return product_flops(lean.model.proto, feeds, lambda m: explainer._sessions.open(Derived.of(m)))


__all__ = ["measure"]
