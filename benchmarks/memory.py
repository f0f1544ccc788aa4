"""Peak memory of an explanation at 50 and at 1,000 steps, each in a fresh process.

    python benchmarks/memory.py [--model FILE] [--json]

Prints the peak resident set of both runs and their ratio, which stays near 1: gradients are added
up chunk by chunk and never kept.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "inception_cifar" / "inception_cifar.onnx"

_CHILD = """
import resource, sys
import numpy as np
import igrt
from igrt.explainer import Explainer
explainer = Explainer(sys.argv[1], provider="cpu")
shape = [d if isinstance(d, int) else 1 for d in explainer.inputs[0].shape]
x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
explainer.explain(x, target="top1", n_steps=int(sys.argv[2]), rule="midpoint")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def peak(model: Path, steps: int) -> int:
    """Peak resident bytes of a fresh process that explains a random input."""
    command = [sys.executable, "-c", _CHILD, str(model), str(steps)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: dict[int, list[int]] = {50: [], 1000: []}
    for _ in range(options.repeats):
        for steps, peaks in found.items():
            peaks.append(peak(options.model, steps))
    medians = {steps: sorted(peaks)[len(peaks) // 2] for steps, peaks in found.items()}
    ratio = medians[1000] / medians[50]
    if options.json:
        print(json.dumps({"model": options.model.name, "peak_bytes": medians, "ratio": ratio}))
        return
    for steps, peak_bytes in medians.items():
        print(f"{steps:>5} steps: peak {peak_bytes / 2**20:.0f} MiB")
    print(f"ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
