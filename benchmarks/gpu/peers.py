"""igrt beside Captum on one GPU: time per gradient evaluation, in one interleaved run.

    python benchmarks/gpu/peers.py [--net NAME …] [--rows N] [--rounds N] [--json FILE] [--dry]

The same weights, rows, steps and rule (50 Gauss-Legendre nodes). igrt on onnxruntime's CUDA
provider in float32, TF32 and float16; Captum on torch eager and compiled, with TF32 off and on,
each at the best of several `internal_batch_size`. Medians of rounds that take turns. `--dry` runs
a small network on the CPU once, to show that the script itself works.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from anchors import FOLDER, NETS, Anchor, load
from captum.attr import IntegratedGradients

import igrt

STEPS = 50
BATCHES = (32, 128, 512)


def ours(anchor: Anchor, options: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    """Calls of igrt by name."""
    calls: dict[str, Callable[[], Any]] = {}
    inputs = {n: np.repeat(a, options.rows, axis=0) for n, a in anchor.feeds.items()}
    for precision in ("float32", "fp16") if options.dry else ("float32", "tf32", "fp16"):
        explainer = igrt.Explainer(
            anchor.file,
            of=anchor.of,
            provider="cpu" if options.dry else "cuda",
            precision=precision,
        )
        calls[f"igrt {precision}"] = lambda e=explainer: e.explain(inputs, target=0, n_steps=STEPS)
    return calls


def theirs(anchor: Anchor, options: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    """Calls of Captum by name."""
    device = torch.device("cpu" if options.dry else "cuda")
    net = anchor.scores.to(device)
    rows = anchor.rows.repeat(options.rows, *(1,) * (anchor.rows.dim() - 1)).to(device)
    baseline = anchor.baseline.to(device)
    calls: dict[str, Callable[[], Any]] = {}
    for kind in ("eager",) if options.dry else ("eager", "compiled"):
        method = IntegratedGradients(torch.compile(net) if kind == "compiled" else net)
        for tf32 in (False,) if options.dry else (False, True):
            for batch in BATCHES[:1] if options.dry else BATCHES:

                def call(m: Any = method, t: bool = tf32, b: int = batch) -> None:
                    torch.backends.cuda.matmul.allow_tf32 = t
                    torch.backends.cudnn.allow_tf32 = t
                    m.attribute(rows, baseline, target=0, n_steps=STEPS, internal_batch_size=b)
                    if device.type == "cuda":
                        torch.cuda.synchronize()

                calls[f"captum {kind}{' tf32' if tf32 else ''} {batch}"] = call
    return calls


def measure(name: str, options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds per evaluation of each, the batch size of Captum's chosen for it."""
    anchor = load(name, FOLDER)
    calls = ours(anchor, options) | theirs(anchor, options)
    for call in calls.values():  # compile, capture, choose algorithms
        for _ in range(1 if options.dry else 3):
            call()
    spent: dict[str, list[float]] = {n: [] for n in calls}
    for _ in range(options.rounds):
        for key, call in calls.items():
            start = time.perf_counter()
            call()
            spent[key].append((time.perf_counter() - start) / (STEPS * options.rows))
    medians = {n: 1000 * float(np.median(s)) for n, s in spent.items()}
    best: dict[str, float] = {}
    for key, value in medians.items():
        short = key.rpartition(" ")[0] if key.startswith("captum") else key
        best[short] = min(value, best.get(short, np.inf))
    return best


def main() -> None:
    """Print a line of each network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--net", action="append", choices=NETS)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--dry", action="store_true")
    options = parser.parse_args()
    if options.dry:
        options.net, options.rounds = ["mlp"], 1
    found = {}
    for name in options.net or NETS:
        found[name] = best = measure(name, options)
        exact = min(t for n, t in best.items() if n.startswith("captum") and "tf32" not in n)
        print(f"{name}: " + "  ".join(f"{n} {t:.3f} ms" for n, t in best.items()))
        print(f"  igrt float32 ÷ best Captum without TF32: {best['igrt float32'] / exact:.2f}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
