"""Chunks at the same time, each on one thread, beside one chunk on all threads.

    python benchmarks/at_once.py [--net NAME …] [--rows N] [--threads N] [--rounds N] [--json]

A NET is a file or a name of `anchors.py`. Both ways run in one process in turns (A B A B …); prints
medians of the time of an explanation, their ratio, and the largest difference of the results over
the largest attribution.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from memory import SHIPPED, example

import igrt
from igrt.sessions import Sessions

NETS = [SHIPPED[0], "mobilenet_v2", "googlenet", "lstm"]


@contextmanager
def cores(count: int) -> Iterator[None]:
    """Explainers opened within run so many chunks at the same time."""
    real = Sessions.cores
    Sessions.cores = property(lambda _: count)  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        Sessions.cores = real  # type: ignore[method-assign]


def measure(net: str, options: argparse.Namespace) -> dict[str, Any]:
    """Both ways in turns."""
    file, feeds, further = example(net)
    feeds = {n: np.repeat(x, options.rows, axis=0) for n, x in feeds.items()}
    rng = np.random.default_rng(0)
    feeds = {
        n: x + 0.01 * rng.standard_normal(x.shape).astype(x.dtype) if x.dtype.kind == "f" else x
        for n, x in feeds.items()
    }
    explainers, taken, found = {}, {1: [], options.threads: []}, {}
    for count in taken:
        with cores(count):
            explainer = igrt.Explainer(file, provider="cpu", threads=options.threads, **further)
            explainer.explain(feeds, target="top1")
        explainers[count] = explainer
    for _ in range(options.rounds):
        for count, explainer in explainers.items():
            start = time.perf_counter()
            found[count] = explainer.explain(feeds, target="top1")
            taken[count].append(time.perf_counter() - start)
    one, several = (found[c] for c in taken)
    differences = [
        float(np.abs(several.values[n] - x).max() / np.abs(x).max()) for n, x in one.values.items()
    ]
    seconds = {str(count): median(times) for count, times in taken.items()}
    return {
        "net": Path(net).stem,
        "rows": options.rows,
        "seconds": seconds,
        "ratio": seconds[str(options.threads)] / seconds["1"],
        "chunk": {str(c): found[c].provenance["plan"]["chunk"] for c in taken},
        "at_once": several.provenance["plan"]["at_once"],
        "evaluations": float(several.evaluations.mean()),
        "difference": max(differences),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", action="append")
    parser.add_argument("--rows", type=int, default=8, help="examples")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.threads < 2:
        parser.error("several chunks at the same time want several threads")
    if not options.json:
        print("| network | examples | one chunk, s | at the same time, s | ratio | rows per run |")
        print("|---|---|---|---|---|---|")
    for net in options.net or NETS:
        row = measure(net, options)
        if options.json:
            print(json.dumps(row), flush=True)
            continue
        one, several = row["seconds"].values()
        chunks = ", ".join(map(str, row["chunk"].values()))
        print(
            f"| {row['net']} | {row['rows']} | {one:.3g} | {several:.3g} | **{row['ratio']:.2f}** "
            f"| {chunks} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
