"""From the start of a command to its PNG: five small explanations of the shipped models.

    python benchmarks/startup.py [--repeats N] [--json]
    python benchmarks/startup.py --model FILE

In turns, each in a fresh process: a process that imports NumPy and onnxruntime and loads the model,
`igrt explain` with a warm cache, and the same with `--no-cache`. Medians of the seconds that pass
and of the processor's; the last column is what the warm command takes over the bare process. Byte
code, cache and PNG go to a temporary folder.

With a model, the processor's seconds until a process has the forward and the gradient graph of it
in bytes, with an empty cache and with a warm one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODELS = Path(__file__).parents[1] / "models"

_BARE = (
    "import sys, numpy, onnxruntime\n"
    "onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"
)
_GRAPHS = (
    "import sys, igrt\n"
    "explainer = igrt.Explainer(sys.argv[1], provider='cpu', cache=sys.argv[2])\n"
    "options = {'of': explainer.of.name, 'wrt': [s.name for s in explainer.wrt], 'also': []}\n"
    "part = explainer._subject.part\n"
    "graph = part.then('gradients', rules='gradient', epsilon=0.0, **options)\n"
    "print(len(part.data) + len(graph.data))"
)
_KINDS = ("bare", "warm", "no cache")


def explanations() -> dict[str, tuple[Path, list[str]]]:
    """The five: model and arguments by name."""
    found = {}
    for net, file in (
        ("digits_cnn", "3.png"),
        ("digits_cnn", "8.png"),
        ("inception_cifar", "cat.png"),
        ("inception_cifar", "ship.png"),
        ("breast_cancer_mlp", "samples.csv"),
    ):
        folder = MODELS / net
        arguments = ["--quiet", "--input", str(folder / "inputs" / file)]
        arguments += ["--labels", str(folder / "labels.txt")]
        if file.endswith(".png"):
            arguments += ["--preprocess", str(folder / "preprocess.toml")]
        found[f"{net}, {file}"] = (folder / f"{net}.onnx", arguments)
    return found


def run(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds that pass, and processor seconds, of a command."""
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, os.times()
    spent = after.children_user + after.children_system
    return wall, spent - before.children_user - before.children_system


def measure(folder: Path, repeats: int) -> list[dict[str, object]]:
    """One row per explanation."""
    environment = {**os.environ, "IGRT_CACHE_DIR": str(folder / "cache")}
    environment |= {"PYTHONPYCACHEPREFIX": str(folder / "code"), "ORT_DISABLE_TELEMETRY": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    igrt = [sys.executable, "-m", "igrt", "explain"]
    commands = {
        name: {
            "bare": [sys.executable, "-c", _BARE, str(model)],
            "warm": [*igrt, str(model), *arguments, "-o", str(folder / "x.png")],
            "no cache": [*igrt, str(model), *arguments, "-o", str(folder / "x.png"), "--no-cache"],
        }
        for name, (model, arguments) in explanations().items()
    }
    taken: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for round_ in range(repeats + 1):  # the first writes byte code and cache
        for name, kinds in commands.items():
            for kind in _KINDS:
                found = run(kinds[kind], environment)
                if round_:
                    taken.setdefault((name, kind), []).append(found)
    rows = []
    for name in commands:
        row: dict[str, object] = {"explanation": name}
        for at, unit in enumerate(("seconds", "processor")):
            median = {k: statistics.median(t[at] for t in taken[name, k]) for k in _KINDS}
            row[unit] = median | {"over": median["warm"] - median["bare"]}
        rows.append(row)
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--model", type=Path)
    options = parser.parse_args()
    if options.model:
        with tempfile.TemporaryDirectory() as folder:
            for kind in ("empty", "warm"):
                command = [sys.executable, "-c", _GRAPHS, str(options.model), folder]
                print(f"{kind} cache: {run(command, dict(os.environ))[1]:.2f} s")
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), options.repeats)
    if options.json:
        print(json.dumps(rows))
        return
    print("| seconds (processor) | bare | no cache | warm | warm over bare |")
    print("|---|---|---|---|---|")
    for row in rows:
        seconds, processor = row["seconds"], row["processor"]
        assert isinstance(seconds, dict)
        assert isinstance(processor, dict)
        cells = [
            f"{seconds[k]:.2f} ({processor[k]:.2f})" for k in ("bare", "no cache", "warm", "over")
        ]
        print(f"| {' | '.join([str(row['explanation']), *cells])} |")


if __name__ == "__main__":
    main()
