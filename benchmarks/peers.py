"""igrt beside torch and Captum on the same weights and inputs, in one interleaved run.

    python benchmarks/peers.py --prepare          (once: files, compiled graphs and the truth)
    python benchmarks/peers.py [--net NAME …] [--threads N] [--rounds N] [--quick] [--json]

Per network: milliseconds of a gradient evaluation in igrt (the explanation of many steps, with all
that is around the model) and in torch (eager, channels-last, torch.compile: the gradient alone),
each at its best batch; time, evaluations and true error of igrt's default and of Captum's (50
Gauss-Legendre evaluations, the faster of eager and channels-last at its best batch); the fewest
evaluations with which any of Captum's rules reaches 1 %; peak memory of fresh processes; the share
of igrt's time that is not the model's; and the operations a second of its products beside those of
a large matrix product of torch or onnxruntime. torch's exporter merges batch normalisation into the
convolutions; in torch it stays, as it is run there.

The truth is the midpoint rule on `--reference` gradients of torch in float32, kept in the folder of
the models. Captum's rules are evaluated on the same gradients: interpolated between midpoints for
smooth networks, else with the nearest one.
Errors are in the L1 norm, relative to the truth. Times are medians of rounds of the processor's
time on one thread, else of the clock: then nothing else may run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import anchors
import captum
import numpy as np
import onnxruntime
import torch
from anchors import Anchor
from captum.attr import IntegratedGradients
from captum.attr._utils.approximation_methods import approximation_parameters
from igrt.kernels.patient import settle

import igrt
from igrt.derived import Derived
from igrt.measure.products import product_flops, product_rate
from igrt.runtime.clock import Clock

BATCHES = (1, 2, 4, 8, 16, 32)
RULES = ("riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid", "gausslegendre")
GOAL = 1e-2
CAPTUMS = 50
"""Evaluations of Captum's default."""
REFERENCE = {"mobilenet_v2": 1000, "googlenet": 500, "resnet50": 500, "vgg16": 200}
"""Midpoints where fewer than `MANY` have to do, since an evaluation takes about a second. Smooth
networks are exact to 1e-4 with a hundred."""
MANY, SMOOTH = 2000, 100

_CHUNKS, _MOST_CHUNKS, _ENOUGH = 4, 256, 0.02
"""Chunks of which an evaluation is timed: the first number, and more until they take so many
seconds, up to the second one."""

Run = Callable[[], Any]


@dataclass
class Bench:
    """One network, ready to run.

    Args:
        anchor: The network.
        threads: Threads of both sides.
    """

    anchor: Anchor
    threads: int
    variants: dict[str, torch.nn.Module] = field(default_factory=dict)

    def __post_init__(self) -> None:
        a = self.anchor
        _ = a.target  # found by running the network, once
        self.explainer = igrt.Explainer(a.file, of=a.of, threads=self.threads, provider="cpu")
        self.variants["eager"] = a.scores
        if a.rows.ndim == 4:
            copy = _loaded_again(a)
            self.variants["channels-last"] = copy.to(memory_format=torch.channels_last)

    def explain(self, **options: Any) -> igrt.Attribution:
        """igrt's explanation of the target."""
        a = self.anchor
        return self.explainer.explain(
            a.feeds, baselines=a.baseline.numpy(), target=a.target, **options
        )

    def step(self, batch: int) -> float:
        """Seconds of an evaluation behind the first chunks, which also begin the work."""
        chunks, behind = _CHUNKS, 0.0
        while True:
            seen: list[tuple[int, float]] = []
            now = self.clock
            found = self.explain(
                rule="midpoint",
                n_steps=chunks * batch,
                internal_batch_size=batch,
                progress=lambda done, _, seen=seen, now=now: seen.append((done, now())),
            )
            # chunks that run at the same time also end at about the same time
            (first, start), (last, end) = seen[found.provenance["plan"]["at_once"] - 1], seen[-1]
            behind = end - start
            if behind > _ENOUGH or chunks >= _MOST_CHUNKS:
                return behind / (last - first)
            chunks *= 4

    def torch_step(self, variant: str, batch: int) -> float:
        """Seconds of an evaluation of torch: forward, and the gradient of the rows."""
        net, target = self.variants[variant], self.anchor.target
        x = self.anchor.rows.repeat(batch, *(1,) * (self.anchor.rows.ndim - 1))
        if variant != "eager" and x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        start = self.clock()
        rows = x.detach().requires_grad_()
        torch.autograd.grad(net(rows)[:, target].sum(), rows)
        return (self.clock() - start) / batch

    def captum(self, variant: str, batch: int) -> np.ndarray:
        """Captum's attribution by its defaults."""
        x, b = self.anchor.rows, self.anchor.baseline
        if variant != "eager":
            x, b = (t.contiguous(memory_format=torch.channels_last) for t in (x, b))
        found = IntegratedGradients(self.variants[variant]).attribute(
            x, b, target=self.anchor.target, internal_batch_size=batch
        )
        return found.detach().numpy()

    @property
    def clock(self) -> Callable[[], float]:
        """Others may use the machine while one thread is measured."""
        return time.process_time if self.threads == 1 else time.perf_counter

    def compile(self) -> None:
        """Add the compiled network; without a compiler there is none."""
        base = "channels-last" if "channels-last" in self.variants else "eager"
        torch._dynamo.reset()
        compiled = torch.compile(self.variants[base], dynamic=False)
        self.variants["compiled"] = compiled
        try:
            for batch in {1, self.compiled_batch}:
                self.torch_step("compiled", batch)
        except Exception as error:
            del self.variants["compiled"]
            print(f"  torch.compile: {str(error).splitlines()[0]}", file=sys.stderr)

    compiled_batch: int = 8
    """Each batch is compiled anew, so only this one and 1 are tried."""


def _loaded_again(anchor: Anchor) -> torch.nn.Module:
    folder = anchor.file.parent
    return anchors.load(anchor.name, folder).scores


# --- the truth ------------------------------------------------------------------------------------


def gradients(bench: Bench, count: int, folder: Path) -> np.ndarray:
    """Gradients at `count` midpoints of the path, [count, features] float32, from the folder."""
    a = bench.anchor
    file = folder / f"{a.name}.{count}.npy"
    if not file.exists():
        part = folder / f".{os.getpid()}.npy"
        made = np.lib.format.open_memmap(part, "w+", np.float32, (count, a.rows.numel()))
        variant = "channels-last" if "channels-last" in bench.variants else "eager"
        net, d = bench.variants[variant], a.rows - a.baseline
        for at in np.array_split(np.arange(count), max(1, count // 4)):
            alpha = torch.from_numpy((at + 0.5) / count).float()
            points = a.baseline + alpha.reshape(-1, *(1,) * (d.ndim - 1)) * d
            if variant != "eager":
                points = points.contiguous(memory_format=torch.channels_last)
            points.requires_grad_()
            (slope,) = torch.autograd.grad(net(points)[:, a.target].sum(), points)
            made[at] = slope.reshape(len(at), -1).numpy()
        made.flush()
        part.rename(file)
    return np.load(file, mmap_mode="r")


@dataclass
class Truth:
    """The attribution by very many evaluations.

    Args:
        slopes: Gradients at midpoints, [count, features].
        displacement: x - x', [features].
        smooth: Whether the gradient may be interpolated. Between the jumps that ReLUs make, that
            would take part of their error from a rule, so the nearest midpoint stands for a node.
    """

    slopes: np.ndarray
    displacement: np.ndarray
    smooth: bool

    def __post_init__(self) -> None:
        self.values = self.displacement * self.slopes.mean(0, dtype=np.float64)

    def error(self, found: np.ndarray) -> float:
        """Relative L1 error."""
        apart = np.abs(found.reshape(-1) - self.values).sum()
        return float(apart / np.abs(self.values).sum())

    def by_rule(self, rule: str, steps: int) -> float:
        """Error of one of Captum's rules, with the gradients at the midpoints."""
        weigh, place = approximation_parameters(rule)
        count = len(self.slopes)
        at = np.clip(np.asarray(place(steps)) * count - 0.5, 0, count - 1)
        low = np.minimum(at.astype(int), count - 2)
        part = at - low if self.smooth else np.rint(at - low)
        weights = np.zeros(count)
        np.add.at(weights, low, np.asarray(weigh(steps)) * (1 - part))
        np.add.at(weights, low + 1, np.asarray(weigh(steps)) * part)
        used = np.flatnonzero(weights)
        return self.error(
            self.displacement * (weights[used].astype(np.float32) @ self.slopes[used])
        )

    def fewest(self) -> tuple[int, str]:
        """Fewest steps with which a rule of Captum's is at the goal, and the rule."""
        most = len(self.slopes) // 2
        for steps in range(2, most):
            for rule in RULES:
                if (steps <= 16 or steps % (1 + steps // 16) == 0) and self.by_rule(
                    rule, steps
                ) <= GOAL:
                    return steps, rule
        return most, "none of them"


# --- measuring ------------------------------------------------------------------------------------


def in_turns(runs: dict[str, Run], rounds: int, seconds: float) -> dict[str, float]:
    """Median of what each returns, in turns (A B A B …); fewer rounds once the time is over."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    start = time.perf_counter()
    for _ in range(rounds):
        for name, run in runs.items():
            found[name].append(run())
        if time.perf_counter() - start > seconds:
            break
    return {name: float(np.median(values)) for name, values in found.items()}


def best_batch(step: Callable[[int], float], seconds: float, batches: tuple[int, ...]) -> int:
    """The batch with the least time per row; larger ones are not tried once two were slower."""
    taken: dict[int, float] = {}
    start = time.perf_counter()
    for batch in batches:
        taken[batch] = min(step(batch), step(batch))
        best = min(taken, key=lambda b: taken[b])
        worse = len([b for b in taken if b > best])
        if worse == 2 or time.perf_counter() - start > seconds:
            break
    return min(taken, key=lambda b: taken[b])


def rate_of(threads: int, clock: Callable[[], float]) -> float:
    """Operations a second of a large matrix product: torch's or onnxruntime's, the faster one."""
    a = torch.randn(1024, 1024)

    def once() -> float:
        start = clock()
        a @ a
        return 2 * 1024**3 / (clock() - start)

    theirs = in_turns({"torch": once}, 15, 10)["torch"]
    return max(theirs, product_rate(provider="cpu", threads=threads))


def flops_of(bench: Bench) -> tuple[int | None, int | None]:
    """Operations in the products of the forward pass and of the gradient graph, of one row."""
    explainer, a = bench.explainer, bench.anchor
    placed = explainer._placing.place(a.feeds, {explainer.wrt[0].name: a.baseline.numpy()})
    feeds = {**placed.ends.inputs, **placed.ends.others}
    lean, part = placed.engine.lean, placed.engine.part
    seed = {lean.cotangent: np.ones_like(placed.outputs)}

    def session(model: Any) -> Any:
        return explainer._sessions.open(Derived.of(model))

    return (
        product_flops(part.proto, feeds, session),
        product_flops(lean.model.proto, feeds | seed, session),
    )


_PEAK = """
import resource, sys
from pathlib import Path
def peak():
    # the figure of getrusage begins at that of the process that started this one
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 1024 * int(status.read_text().partition("VmHWM:")[2].split()[0])
"""
_IGRT = """
import numpy as np
import igrt
with np.load(sys.argv[2]) as kept:
    feeds = {n.removeprefix("feed/"): kept[n] for n in kept.files if n.startswith("feed/")}
    baseline, target = kept["baseline"], int(kept["target"])
of, threads = sys.argv[3] or None, int(sys.argv[4])
explainer = igrt.Explainer(sys.argv[1], of=of, provider="cpu", threads=threads)
explainer.explain(feeds, baselines=baseline, target=target, n_steps=16)
print(peak())
"""
_CAPTUM = """
sys.path.insert(0, sys.argv[1])
import anchors, torch
from captum.attr import IntegratedGradients
torch.set_num_threads(int(sys.argv[4]))
a = anchors.load(sys.argv[2], Path(sys.argv[3]))
size = int(sys.argv[5])
IntegratedGradients(a.scores).attribute(
    a.rows, a.baseline, target=a.target, n_steps=max(16, 2 * size), internal_batch_size=size
)
print(peak())
"""


def peaks(bench: Bench, batch: int, folder: Path) -> dict[str, int]:
    """Peak resident bytes of fresh processes that explain the example."""
    a = bench.anchor

    def child(code: str, *arguments: Any) -> int:
        command = [sys.executable, "-c", _PEAK + code, *map(str, arguments)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    with tempfile.TemporaryDirectory() as room:
        kept = Path(room, "example.npz")
        feeds = {f"feed/{n}": x for n, x in a.feeds.items()}
        np.savez(kept, baseline=a.baseline.numpy(), target=a.target, **feeds)
        igrt_peak = child(_IGRT, a.file, kept, a.of or "", bench.threads)
    here = Path(__file__).parent
    captum_peak = child(_CAPTUM, here, a.name, folder, bench.threads, batch)
    return {"igrt": igrt_peak, "captum": captum_peak}


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one network."""
    folder, threads = options.models, options.threads
    bench = Bench(anchors.load(name, folder), threads)
    rounds, seconds = options.rounds, options.seconds
    row: dict[str, Any] = {"net": name, "smooth": bench.anchor.smooth}

    steps = {"igrt": bench.step} | {
        v: lambda b, v=v: bench.torch_step(v, b) for v in bench.variants
    }
    row["batch"] = {n: best_batch(s, seconds, options.batches) for n, s in steps.items()}
    if options.compile:
        bench.compile()
        if "compiled" in bench.variants:
            steps["compiled"] = lambda b: bench.torch_step("compiled", b)
            tried = tuple(sorted({1, bench.compiled_batch}))
            row["batch"]["compiled"] = best_batch(steps["compiled"], seconds, tried)
    runs = {n: lambda s=s, b=row["batch"][n]: 1e3 * s(b) for n, s in steps.items()}
    row["milliseconds"] = ms = in_turns(runs, rounds, seconds)
    row["best"] = min((n for n in ms if n != "igrt"), key=lambda n: ms[n])
    row["ratio"] = ms["igrt"] / ms[row["best"]]

    row |= whole(bench, row, options)
    forward, gradient = flops_of(bench)
    row["rate"] = rate_of(threads, bench.clock)
    row["flops"] = {"forward": forward, "gradient": gradient}
    row["share_of_products"] = gradient and gradient / (1e-3 * ms["igrt"]) / row["rate"]
    row["forward_milliseconds"] = forward_ms(bench, rounds, seconds)
    row["to_forward"] = ms["igrt"] / row["forward_milliseconds"]
    eager = row["batch"]["eager"]
    row["peak"] = peaks(bench, eager, folder)
    row["peak"]["ratio"] = row["peak"]["igrt"] / row["peak"]["captum"]
    return row


def forward_ms(bench: Bench, rounds: int, seconds: float) -> float:
    """Milliseconds a row of the model alone in onnxruntime, at the best of three batches."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = bench.threads
    a = bench.anchor
    session = onnxruntime.InferenceSession(a.file, options, providers=["CPUExecutionProvider"])
    names = [a.of or session.get_outputs()[0].name]

    def forward(batch: int) -> float:
        feeds = {n: np.repeat(x, batch, axis=0) for n, x in a.feeds.items()}
        start = bench.clock()
        session.run(names, feeds)
        return 1e3 * (bench.clock() - start) / batch

    batch = best_batch(forward, seconds / 4, (1, 4, 16))
    return in_turns({"forward": lambda: forward(batch)}, rounds, seconds / 4)["forward"]


def whole(bench: Bench, row: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """igrt's default explanation against Captum's, and their errors."""
    a, ms = bench.anchor, row["milliseconds"]
    theirs = min((v for v in bench.variants if v != "compiled"), key=lambda v: ms[v])
    found: dict[str, Any] = {}
    spent: list[tuple[float, float]] = []

    def ours() -> float:
        start, wall = bench.clock(), time.perf_counter()
        with Clock() as clock:
            found["igrt"] = bench.explain()
        spent.append((clock.total, time.perf_counter() - wall))
        return bench.clock() - start

    def captums() -> float:
        start = bench.clock()
        found["captum"] = bench.captum(theirs, row["batch"][theirs])
        return bench.clock() - start

    bench.explain(tolerance=0.5)  # loads the kernels of adaptive paths
    taken = in_turns({"igrt": ours, "captum": captums}, options.rounds, options.seconds)
    count = reference_of(a, options)
    displacement = (a.rows - a.baseline).reshape(-1).double().numpy()
    truth = Truth(gradients(bench, count, options.models), displacement, bench.anchor.smooth)
    mine = found["igrt"]
    (values,) = mine.values.values()
    steps, rule = truth.fewest()
    at_goal = taken["captum"] * steps / CAPTUMS
    return {
        "seconds": taken
        | {"ratio": taken["igrt"] / taken["captum"], "ratio_at_goal": taken["igrt"] / at_goal},
        "captum_variant": theirs,
        "error": {
            "igrt": truth.error(values),
            "reported": float(mine.error[0]),
            "captum": truth.error(found["captum"]),
        },
        "evaluations": {"igrt": int(mine.evaluations[0]), "captum": CAPTUMS, "fewest": steps},
        "fewest_rule": rule,
        "chunk": mine.provenance["chunk"],
        "reference": count,
        "around": float(np.median([1 - model / wall for model, wall in spent])),
    }


def reference_of(anchor: Anchor, options: argparse.Namespace) -> int:
    """Midpoints of the truth."""
    if options.reference:
        return int(options.reference)
    return (
        SMOOTH
        if anchor.smooth and anchor.rows.numel() > 10000
        else REFERENCE.get(anchor.name, MANY)
    )


def prepare(name: str, options: argparse.Namespace) -> None:
    """Make all that takes time and tells nothing about speed."""
    start = time.perf_counter()
    bench = Bench(anchors.load(name, options.models), options.threads)
    gradients(bench, reference_of(bench.anchor, options), options.models)
    bench.explain(n_steps=2)
    if options.compile:
        bench.compile()
    print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)


# --- printing -------------------------------------------------------------------------------------

HEADS = {
    "evaluation": (
        "| network | igrt, ms (batch) | torch eager | channels-last | compiled | to the best | "
        "to igrt's forward pass | share of the product rate |"
    ),
    "whole": (
        "| network | igrt, s | Captum, s | ratio | true error | reported | Captum's true error | "
        "evaluations | Captum's fewest (rule) | ratio to the time of those | around the model | "
        "peak, MiB | Captum's | ratio |"
    ),
}


def tables(rows: list[dict[str, Any]]) -> str:
    """The two tables of docs/performance.md."""
    first, second = ([HEADS[k], "|" + "---|" * (HEADS[k].count("|") - 1)] for k in HEADS)
    for r in rows:
        ms, batch = r["milliseconds"], r["batch"]
        cells = [
            f"{figure(ms[n])} ({batch[n]})" if n in ms else "–"
            for n in ("igrt", "eager", "channels-last", "compiled")
        ]
        share = r["share_of_products"]
        cells += [f"**{r['ratio']:.2f}**", f"{r['to_forward']:.2f}"]
        cells += [f"{share:.0%}" if share else "–"]
        first.append(f"| {r['net']} | " + " | ".join(cells) + " |")
        s, e, v, p = r["seconds"], r["error"], r["evaluations"], r["peak"]
        cells = [figure(s["igrt"]), figure(s["captum"]), f"**{s['ratio']:.2f}**"]
        cells += [f"{100 * e[k]:.2g} %" for k in ("igrt", "reported", "captum")]
        cells += [str(v["igrt"]), f"{v['fewest']} ({r['fewest_rule'].removeprefix('riemann_')})"]
        cells += [f"{s['ratio_at_goal']:.2f}", f"{r['around']:.1%}"]
        cells += [f"{p[k] / 2**20:.0f}" for k in ("igrt", "captum")]
        second.append(f"| {r['net']} | " + " | ".join([*cells, f"{p['ratio']:.2f}"]) + " |")
    return "\n".join([*first, "", *second])


def figure(value: float) -> str:
    """Three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def about(options: argparse.Namespace) -> dict[str, Any]:
    """What the figures hold for."""
    return {
        "cores": os.cpu_count(),
        "threads": options.threads,
        "machine": platform.machine(),
        "onnxruntime": onnxruntime.__version__,
        "torch": torch.__version__,
        "captum": captum.__version__,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", action="append", choices=anchors.NETS)
    parser.add_argument("--models", type=Path, default=anchors.FOLDER)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--reference", type=int, help="midpoints of the truth")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=20, help="after which no round begins")
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--quick", action="store_true", help="small networks, few rounds")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.batches = BATCHES
    names = options.net or anchors.NETS
    if options.quick:
        names = options.net or ("mobilenet_v2", "lstm", "mlp")
        options.rounds, options.seconds, options.batches = 3, 5.0, (1, 4, 16)
        options.reference, options.compile = options.reference or 100, False
    torch.set_num_threads(options.threads)
    settle()
    rows = []
    for name in names:
        if options.prepare:
            prepare(name, options)
            continue
        rows.append(measure(name, options))
        print(tables(rows[-1:]) + "\n", file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps({"about": about(options), "nets": rows}, indent=2))
    elif rows:
        print(", ".join(f"{k} {v}" for k, v in about(options).items()) + "\n\n" + tables(rows))


if __name__ == "__main__":
    main()
