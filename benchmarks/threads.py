"""One explainer in many threads: equal answers, prompt ends, no leak.

    python benchmarks/threads.py [--model FILE] [--explanations 1000] [--leak 5000] [--json]

Prints whether explanations in eight threads equal those made one after the other, bit for bit; how
long a call goes on after it was cancelled, and beyond its deadline, beside the time of one chunk;
and by how many bytes resident memory grows with each explanation after the first tenth.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

import igrt
from igrt.errors import Cancelled, DeadlineExceeded

MODELS = Path(__file__).parents[1] / "models"


def rows(explainer: igrt.Explainer, count: int) -> list[np.ndarray]:
    """Random examples."""
    shape = [d if isinstance(d, int) else 1 for d in explainer.inputs[0].shape or ()]
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(np.float32) for _ in range(count)]


def differing(explainer: igrt.Explainer, count: int, threads: int = 8) -> int:
    """How many of so many explanations differ in any bit when made in threads."""
    inputs = rows(explainer, count)

    def explain(x: np.ndarray) -> bytes:
        result = explainer.explain(x, target="top1")
        return b"".join(v.tobytes() for v in result.values.values()) + result.error.tobytes()

    alone = [explain(x) for x in inputs]
    with ThreadPoolExecutor(threads) as pool:
        together = list(pool.map(explain, inputs))
    return sum(a != t for a, t in zip(alone, together, strict=True))


def late(explainer: igrt.Explainer, repeats: int = 20) -> dict[str, float]:
    """Seconds that calls go on after their end, at the median and at most, and one chunk takes."""
    (x,) = rows(explainer, 1)
    steps = {"n_steps": 100_000, "rule": "midpoint", "target": "top1"}
    marks: list[float] = []
    with suppress(DeadlineExceeded):
        explainer.explain(
            x, deadline=2, progress=lambda *_: marks.append(time.monotonic()), **steps
        )
    chunk = statistics.median(np.diff(marks))
    cancelled, overdue = [], []
    for k in range(repeats):
        cancel, told = threading.Event(), [0.0]

        def give_up(cancel: threading.Event = cancel, told: list[float] = told) -> None:
            told[0] = time.monotonic()
            cancel.set()

        threading.Timer(0.3 + 0.01 * k, give_up).start()
        with suppress(Cancelled):
            explainer.explain(x, cancel=cancel, **steps)
        cancelled.append(time.monotonic() - told[0])
        end = time.monotonic() + 0.3 + 0.01 * k
        with suppress(DeadlineExceeded):
            explainer.explain(x, deadline=end - time.monotonic(), **steps)
        overdue.append(time.monotonic() - end)
    return {
        "chunk": float(chunk),
        "cancel_median": statistics.median(cancelled),
        "cancel_most": max(cancelled),
        "deadline_median": statistics.median(overdue),
        "deadline_most": max(overdue),
    }


def slope(explainer: igrt.Explainer, count: int) -> float:
    """Bytes of resident memory per explanation, a line through what is measured after a tenth."""
    inputs = rows(explainer, 10)
    taken: list[tuple[int, int]] = []
    for k in range(count):
        explainer.explain(inputs[k % 10], target="top1")
        if k >= count / 10 and k % max(1, count // 100) == 0:
            gc.collect()
            taken.append((k, resident()))
    return float(np.polyfit(*zip(*taken, strict=True), 1)[0])


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=MODELS / "digits_cnn" / "digits_cnn.onnx")
    parser.add_argument("--explanations", type=int, default=1000)
    parser.add_argument("--leak", type=int, default=5000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    explainer = igrt.Explainer(options.model, provider="cpu", threads=1)
    found = {
        "model": options.model.name,
        "explanations": options.explanations,
        "differing": differing(explainer, options.explanations),
        "late": late(explainer),
        "bytes_per_explanation": slope(explainer, options.leak),
    }
    if options.json:
        print(json.dumps(found))
        return
    print(f"{found['differing']} of {options.explanations} differ in eight threads")
    ms = {n: 1e3 * s for n, s in found["late"].items()}
    print(f"a chunk takes {ms['chunk']:.1f} ms")
    for what in ("cancel", "deadline"):
        median, most = ms[f"{what}_median"], ms[f"{what}_most"]
        print(f"after a {what}: {median:.1f} ms, at most {most:.1f} ms")
    print(f"{found['bytes_per_explanation']:.0f} bytes per explanation over {options.leak}")


if __name__ == "__main__":
    main()
