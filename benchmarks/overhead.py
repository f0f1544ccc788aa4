"""What an explanation takes beside the runs of the model.

    python benchmarks/overhead.py [MODEL …] [--rounds 20] [--json]

Counts the seconds of processor time that the calling thread spends inside onnxruntime, with one
thread, and those that it spends outside: filling chunks, adding gradients up, deciding where to go
on, and making the result. Medians over rounds, after one that warms up, with Numba's kernels, as
in a process that goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from igrt.kernels.patient import settle

import igrt

MODELS = Path(__file__).parents[1] / "models"
SHIPPED = ("breast_cancer_mlp", "digits_cnn", "inception_cifar")


class Clock:
    """Sums up the time inside of some methods."""

    def __init__(self) -> None:
        self.inside = 0.0

    def around(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method, with its time taken."""

        def timed(*arguments: Any, **options: Any) -> Any:
            start = time.thread_time()
            try:
                return method(*arguments, **options)
            finally:
                self.inside += time.thread_time() - start

        return timed


def measure(clock: Clock, model: Path, steps: int | None, rounds: int) -> dict[str, Any]:
    """Milliseconds of one explanation inside and outside of onnxruntime."""
    explainer = igrt.Explainer(model, provider="cpu", threads=1)
    shape = [d if isinstance(d, int) else 1 for d in explainer.inputs[0].shape or ()]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    taken = []
    for _ in range(rounds + 1):
        clock.inside, start = 0.0, time.thread_time()
        result = explainer.explain(x, target="top1", n_steps=steps)
        taken.append((clock.inside, time.thread_time() - start - clock.inside))
    inside, outside = (1e3 * statistics.median(c) for c in zip(*taken[1:], strict=True))
    return {
        "model": model.stem,
        "evaluations": int(np.sum(result.evaluations)),
        "chunk": result.provenance["chunk"],
        "inside_ms": inside,
        "outside_ms": outside,
        "share": outside / (inside + outside),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    shipped = [MODELS / n / f"{n}.onnx" for n in SHIPPED]
    parser.add_argument("models", nargs="*", type=Path, default=shipped)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    settle()
    clock = Clock()
    session = onnxruntime.InferenceSession
    session.run = clock.around(session.run)
    session.run_with_iobinding = clock.around(session.run_with_iobinding)
    found = [measure(clock, m, s, options.rounds) for m in options.models for s in (None, 50)]
    if options.json:
        print(json.dumps(found))
        return
    for f in found:
        print(
            f"{f['model']:28} {f['evaluations']:4} evaluations in chunks of {f['chunk']:3}: "
            f"{f['inside_ms']:9.2f} ms in onnxruntime, {f['outside_ms']:7.2f} ms around it, "
            f"{f['share']:6.1%}"
        )


if __name__ == "__main__":
    main()
