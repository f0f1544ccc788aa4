"""Milliseconds per gradient evaluation by chunk size: what the plan's default is chosen from.

python benchmarks/chunks.py [MODEL] [--steps 64] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

import igrt

MODEL = Path(__file__).parents[1] / "models" / "inception_cifar" / "inception_cifar.onnx"
CHUNKS = (1, 2, 4, 8, 16, 32, 64)


def main() -> None:
    """Measure in turns and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path, default=MODEL)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    explainer = igrt.Explainer(options.model, provider="cpu")
    shape = [d if isinstance(d, int) else 1 for d in explainer.inputs[0].shape or ()]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    planned = explainer.explain(x, target="top1", n_steps=options.steps).provenance["chunk"]
    taken: dict[int, list[float]] = {c: [] for c in CHUNKS}
    for _ in range(options.rounds):
        for chunk, times in taken.items():
            start = time.perf_counter()
            explainer.explain(x, target="top1", n_steps=options.steps, internal_batch_size=chunk)
            times.append((time.perf_counter() - start) / options.steps * 1e3)
    for chunk, times in taken.items():
        print(f"chunk {chunk:>3}: {statistics.median(times):7.2f} ms per evaluation")
    print(f"planned: {planned}")


if __name__ == "__main__":
    main()
