"""Whether igrt is right on CUDA, and what each part of its path there is worth.

    python benchmarks/gpu/check.py [--model FILE …] [--steps N] [--rounds N] [--json FILE] [--dry]

For each model: that the gradients ran on CUDA, on the device and from a captured graph; that the
attributions are the CPU's; that paths on the device, through the host, and without a graph agree;
what TF32 and float16 change, beside what is reported of it; and milliseconds per evaluation of
each, medians of interleaved rounds. Exit 3 where a check does not hold. `--dry` runs all of it on
the CPU, where there is neither device nor TF32, to show that the script itself works.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np

import igrt
from igrt.runtime import cuda
from igrt.runtime.providers import Cuda

MODELS = Path(__file__).parents[2] / "models"
SHIPPED = [MODELS / n / f"{n}.onnx" for n in ("breast_cancer_mlp", "digits_cnn", "inception_cifar")]

SAME = 1e-4
"""Relative L1 difference of attributions in float32 on two devices: sums in another order, and
other algorithms of convolutions, each some 1e-6; ReLUs that turn over make it more."""


@contextmanager
def through_the_host() -> Iterator[None]:
    """Chunks from the host, as where Numba cannot use the device."""
    opened = cuda.opened
    cuda.opened = lambda provider: (None, "turned off")
    try:
        yield
    finally:
        cuda.opened = opened


@contextmanager
def without_graph() -> Iterator[None]:
    """Sessions on CUDA that capture nothing."""
    options = Cuda.options
    Cuda.options = lambda self: {  # type: ignore[method-assign]  # for measuring alone
        n: v for n, v in options(self).items() if n != "enable_cuda_graph"
    }
    try:
        yield
    finally:
        Cuda.options = options  # type: ignore[method-assign]


@contextmanager
def as_it_is() -> Iterator[None]:
    """Nothing turned off."""
    yield


def inputs_of(explainer: igrt.Explainer, rows: int) -> dict[str, np.ndarray]:
    """Some rows of numbers, the same each time."""
    rng = np.random.default_rng(0)
    found = {}
    for spec in explainer.inputs:
        shape = [rows, *(d if isinstance(d, int) else 1 for d in spec.shape[1:])]
        found[spec.name] = rng.normal(size=shape).astype(spec.dtype)
    return found


def apart(a: igrt.Attribution, b: igrt.Attribution) -> float:
    """Largest relative L1 difference of a row."""
    names = list(a.values)
    one, two = (
        np.concatenate([r.values[n].reshape(len(r), -1) for n in names], axis=1) for r in (a, b)
    )
    return float((np.abs(one - two).sum(axis=1) / np.abs(one).sum(axis=1)).max())


def check(model: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one model."""
    provider = "cpu" if options.dry else "cuda"
    ways: dict[str, tuple[Callable[[], Any], str, str]] = {
        "cpu": (as_it_is, "cpu", "float32"),
        "device": (as_it_is, provider, "float32"),
        "device, no graph": (without_graph, provider, "float32"),
        "host": (through_the_host, provider, "float32"),
        "fp16": (as_it_is, provider, "fp16"),
    }
    if not options.dry:
        ways["tf32"] = (as_it_is, provider, "tf32")
    explainers, found = {}, {}
    call: dict[str, Any] = {"n_steps": options.steps, "rule": "gauss_kronrod", "target": 0}
    for name, (how, where, precision) in ways.items():
        with how():  # sessions are made by the first call
            explainers[name] = igrt.Explainer(model, provider=where, precision=precision, threads=1)
            inputs = inputs_of(explainers[name], options.rows)
            found[name] = explainers[name].explain(inputs, **call)
    spent: dict[str, list[float]] = {n: [] for n in ways}
    for _ in range(options.rounds):
        for name, explainer in explainers.items():
            start = time.perf_counter()
            result = explainer.explain(inputs, **call)
            spent[name].append((time.perf_counter() - start) / result.evaluations.sum())
    adaptive = [explainers[n].explain(inputs, target=0) for n in ("cpu", "device")]
    figures: dict[str, Any] = {
        "model": model.name,
        "provider": found["device"].provider,
        "cuda": found["device"].provenance.get("cuda"),
        "milliseconds": {n: 1000 * float(np.median(s)) for n, s in spent.items()},
        "apart": {n: apart(found["cpu"], r) for n, r in found.items()},
        "errors": {n: float(r.error.max()) for n, r in found.items()},
        "adaptive_apart": apart(*adaptive),
        "adaptive_errors": [float(a.error.max()) for a in adaptive],
        "reported": {
            n: r.provenance["precision"]["difference"]
            for n, r in found.items()
            if "precision" in r.provenance
        },
    }
    figures["failed"] = failures(figures, dry=options.dry)
    return figures


def failures(figures: dict[str, Any], *, dry: bool) -> list[str]:
    """What does not hold, in words."""
    exact, errors = ("device", "device, no graph", "host"), figures["errors"]
    # each is to be within twice its own error of the truth, by the rule and by rounding together;
    # rounding alone is no limit: on the digits network two points say a 25th of what it changes
    limits = {n: SAME for n in exact} | {
        n: 2 * (errors[n] + errors["cpu"]) for n in figures["apart"] if n not in (*exact, "cpu")
    }
    failed = [
        f"{name} differs from the CPU by {figures['apart'][name]:.1e}, and may by {limit:.1e}"
        for name, limit in limits.items()
        if not figures["apart"][name] <= limit
    ]
    if not figures["adaptive_apart"] <= 2 * sum(figures["adaptive_errors"]):
        failed.append(f"adaptive paths differ by {figures['adaptive_apart']:.1e}")
    if dry:
        return failed
    if figures["provider"] != "CUDAExecutionProvider":
        failed.append(f"it ran on {figures['provider']}")
    on_cuda = figures["cuda"] or {}
    if on_cuda.get("path") != "on the device":
        failed.append(f"the path goes {on_cuda.get('path')}")
    return failed


def main() -> int:
    """Print a line of each model, and what failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, action="append")
    parser.add_argument("--steps", type=int, default=63)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--dry", action="store_true")
    options = parser.parse_args()
    found = [check(m, options) for m in options.model or SHIPPED]
    for figures in found:
        times = "  ".join(f"{n} {t:.3f} ms" for n, t in figures["milliseconds"].items())
        print(f"{figures['model']}: {times}")
        print("  from the CPU: ", "  ".join(f"{n} {a:.1e}" for n, a in figures["apart"].items()))
        print("  reported:     ", "  ".join(f"{n} {a:.1e}" for n, a in figures["reported"].items()))
        print("  on CUDA:      ", figures["cuda"])
        for text in figures["failed"]:
            print(f"  FAILED: {text}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    return 3 if any(f["failed"] for f in found) else 0


if __name__ == "__main__":
    sys.exit(main())
