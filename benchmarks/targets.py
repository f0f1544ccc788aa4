"""What several targets of one example cost together, and one by one.

python benchmarks/targets.py [--rounds 7] [--targets 5] [NET …]

The same explanation runs in turns, with targets that share the forward pass of a point and without,
by igrt as it is used. Times are those of the processor, on one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from staging import exported

import igrt

INCEPTION = Path(__file__).parents[1] / "models/inception_cifar/inception_cifar.onnx"
SETTINGS: dict[str, dict[str, Any]] = {"32 steps": {"n_steps": 32}, "adaptive": {}}
NETS = ["inception_cifar", "ViT-like", "BERT-like", "wide MLP"]


def _subject(name: str) -> tuple[onnx.ModelProto | Path, dict[str, np.ndarray]]:
    if name == "inception_cifar":
        rng = np.random.default_rng(0)
        return INCEPTION, {"image": rng.random((1, 3, 32, 32), np.float32)}
    return exported(name, rows=1)


def main() -> None:
    """Measure in turns and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nets", nargs="*", help=f"of {', '.join(NETS)}")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--targets", type=int, default=5)
    options = parser.parse_args()
    print("| net | steps | chunk | alone, s | together, s | alone / together | apart |")
    print("|---|---|---|---|---|---|---|")
    for name in options.nets or NETS:
        model, feeds = _subject(name)
        explainer = igrt.Explainer(model, threads=1, provider="cpu")
        fed = dict(zip([s.name for s in explainer.inputs], feeds.values(), strict=True))
        count = min(options.targets, 2 if name == "BERT-like" else options.targets)
        for steps, given in SETTINGS.items():
            taken: dict[bool, list[float]] = {False: [], True: []}
            found = {}
            for turn in range(options.rounds + 1):
                for share in (False, True):
                    explainer._integrator.sharing = share
                    start = time.process_time()
                    found[share] = explainer.explain(fed, target=f"top{count}", **given)
                    if turn:  # the first makes the sessions
                        taken[share].append(time.process_time() - start)
            alone, together = (statistics.median(taken[s]) for s in (False, True))
            pairs = zip(taken[False], taken[True], strict=True)
            ratio = statistics.median(a / t for a, t in pairs)
            (a,), (b,) = (found[s].values.values() for s in (False, True))
            apart = np.abs(a - b).sum() / np.abs(a).sum()
            chunk = found[True].provenance["chunk"]
            numbers = f"{alone:.3f} | {together:.3f} | {ratio:.2f} | {apart:.0e}"
            print(f"| {name}, top{count} | {steps} | {chunk} | {numbers} |", flush=True)
            print(f"<!-- {found[True].provenance['targets']} -->", flush=True)


if __name__ == "__main__":
    main()
