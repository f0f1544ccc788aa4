"""Numba kernels against NumPy: python benchmarks/kernels.py [--json] [--repeat N].

Each row is one kernel on one shape. `numba` is `igrt.kernels.cpu`; `reference` is the definition;
`best numpy` is the fastest plain NumPy that computes the same (for `accumulate` a float64 matrix
product by BLAS, which skips no zero weights and fixes no order of summation; where there are
several jobs, one product per run of rows). They run in turns, A B C A B C, so that a disturbance of
the machine meets all of them, and the figures are medians. One thread each: BLAS is held to one
where threadpoolctl is installed or OPENBLAS_NUM_THREADS=1 is set.

A kernel that does not beat both columns has no place in `igrt.kernels.cpu`.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from igrt.kernels import reference, select

Array = npt.NDArray[Any]

# features: an ImageNet image, a CIFAR image, a table. jobs share the rows evenly, in runs.
SHAPES = [(64, 150_528, 1), (64, 150_528, 4), (16, 150_528, 1), (64, 3_072, 1), (64, 3_072, 8),
          (16, 3_072, 1), (64, 30, 1), (64, 30, 16), (16, 30, 1)]  # fmt: skip
RULES = [1, 2]


@dataclass(frozen=True)
class Case:
    """One kernel on one shape, and the contestants by name."""

    kernel: str
    shape: str
    bytes: int
    run: Mapping[str, Callable[[], None]]


def runs(rows: Array) -> list[tuple[int, slice]]:
    """Return (job, rows) for every run of equal jobs."""
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    ends = [*starts[1:], len(rows)]
    return [(int(rows[s]), slice(s, e)) for s, e in zip(starts, ends, strict=True)]


def numpy_interpolate(
    baselines: Array, inputs: Array, rows: Array, alphas: Array, out: Array
) -> None:
    """Broadcast whole runs of rows, in place: three passes.

    Leaves the ends inexact.
    """
    steps = alphas.astype(inputs.dtype)[:, None]
    for job, part in runs(rows):
        np.multiply(steps[part], inputs[job] - baselines[job], out=out[part])
        out[part] += baselines[job]


def numpy_accumulate(sums: Array, gradients: Array, rows: Array, weights: Array) -> None:
    """One float64 matrix product per run of rows.

    Zero times NaN is NaN here, and BLAS chooses the order of summation.
    """
    for job, part in runs(rows):
        sums[job] += weights[:, part] @ gradients[part].astype(np.float64)


def numpy_multiply_difference(
    mean_gradients: Array, inputs: Array, baselines: Array, out: Array
) -> None:
    """In place, without a temporary but the mask."""
    np.subtract(inputs, baselines, out=out, dtype=np.float64)
    np.multiply(out, mean_gradients, out=out)
    np.copyto(out, 0.0, where=inputs == baselines)


def numpy_refine(
    x0: Array,
    x1: Array,
    x2: Array,
    scale: Array,
    weights: Array,
    factors: Array,
    mean: Array,
    variance: Array,
    steps: Array,
) -> None:
    """Whole passes; differences in float32, sums by BLAS in its order."""
    for k, x in enumerate((x0, x1, x2)):
        mean += weights[:, k] @ x
    for k, (a, b) in enumerate(((x0, x1), (x1, x2), (x0, x2))):
        step = b - a
        variance += factors[:, k] @ (step * step)
        if k < 2:
            steps[:, k] = np.abs(step) @ scale


def cases() -> list[Case]:
    """Return every case, with float32 data."""
    chosen = select("cpu")
    if chosen.name != "cpu":
        sys.exit(f"error: no Numba kernels to measure: {chosen.fallback}")
    rng = np.random.default_rng(0)
    found: list[Case] = []

    def add(kernel: str, shape: str, numpy_kernel: Callable[..., None], *arrays: Array) -> None:
        contestants = {
            "numba": getattr(chosen, kernel),
            "reference": getattr(reference, kernel),
            "best numpy": numpy_kernel,
        }
        run = {name: functools.partial(f, *arrays) for name, f in contestants.items()}
        found.append(Case(kernel, shape, sum(a.nbytes for a in arrays), run))

    for count, features, jobs in SHAPES:
        b, x = (rng.standard_normal((jobs, features), dtype=np.float32) for _ in range(2))
        rows = np.repeat(np.arange(jobs, dtype=np.int64), count // jobs)
        gradients = rng.standard_normal((count, features), dtype=np.float32)
        shape = f"R={count} F={features} J={jobs}"
        add("interpolate", shape, numpy_interpolate, b, x, rows, rng.random(count), gradients * 0)
        for rules in RULES:
            weights = rng.random((rules, count))
            weights[1:, ::2] = 0.0  # the nested rule of a Gauss-Kronrod pair uses every other node
            sums = np.zeros((jobs, rules, features))
            add(
                "accumulate", f"{shape} L={rules}", numpy_accumulate, sums, gradients, rows, weights
            )
    for jobs, features in [(1, 150_528), (16, 150_528), (16, 3_072), (1, 30), (64, 30)]:
        b, x = (rng.standard_normal((jobs, features), dtype=np.float32) for _ in range(2))
        mean = rng.standard_normal((jobs, features))
        shape = f"J={jobs} F={features}"
        add("multiply_difference", shape, numpy_multiply_difference, mean, x, b, mean * 0)
    for count, features in ((1, 150_528), (5, 3_072), (1, 30), (8, 30)):
        shape = count, features
        x0, x1, x2 = (rng.standard_normal(shape, dtype=np.float32) for _ in range(3))
        sums = np.zeros((2, features))
        threes = rng.random((2, count, 3)) * 1e-9
        add(
            *("refine", f"M={count} F={features}", numpy_refine, x0, x1, x2, rng.random(features)),
            *(threes[0], threes[1], sums[0], sums[1], np.zeros((count, 2))),
        )
    return found


def measure(case: Case, repeat: int) -> dict[str, float]:
    """Return the median seconds of each contestant, run in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in case.run}
    for run in case.run.values():  # compile, and touch the memory
        run()
    for _ in range(repeat):
        for name, run in case.run.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def one_thread() -> contextlib.AbstractContextManager[Any]:
    """Hold BLAS to one thread, as far as possible here."""
    try:
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # has no types
    except ImportError:
        return contextlib.nullcontext()
    limits: contextlib.AbstractContextManager[Any] = threadpool_limits(limits=1)
    return limits


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Numba kernels against NumPy.")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--repeat", type=int, help="rounds per case (default: by size)")
    options = parser.parse_args()

    results = []
    if not options.json:
        names = ("numba us", "reference", "best numpy", "x ref", "x best")
        print(f"{'kernel':20}{'shape':28}" + "".join(f"{n:>12}" for n in names))
    with one_thread():
        for case in cases():
            # Small cases need more rounds for a steady median and cost nothing.
            repeat = options.repeat or (15 if case.bytes > 1 << 24 else 200)
            median = measure(case, repeat)
            numba, plain, best = (median[n] for n in ("numba", "reference", "best numpy"))
            results.append(
                {
                    "kernel": case.kernel,
                    "shape": case.shape,
                    "seconds": median,
                    "times_reference": plain / numba,
                    "times_best_numpy": best / numba,
                    "repeat": repeat,
                }
            )
            if not options.json:
                figures = "".join(f"{s * 1e6:12.1f}" for s in (numba, plain, best))
                ratios = f"{plain / numba:12.1f}{best / numba:12.1f}"
                print(f"{case.kernel:20}{case.shape:28}{figures}{ratios}")
    if options.json:
        print(json.dumps({"numpy": np.__version__, "results": results}, indent=2))


if __name__ == "__main__":
    main()
