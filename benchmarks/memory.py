"""What explanations take: predicted and real, at more steps, below a limit, and beside Captum.

    python benchmarks/memory.py plan [NET …]      predicted and real peak, each in a fresh process
    python benchmarks/memory.py steps [NET …]     peak at 50, 1,000 and 5,000 steps
    python benchmarks/memory.py limit [NET …]     20 runs in an address space too small for them
    python benchmarks/memory.py captum [NET …]    beside Captum at its fastest internal_batch_size

A NET is a file or a name of `anchors.py`, where Captum needs the latter. Peaks are of resident
memory (Linux): what a process takes beyond the loaded model, and in all.

Beyond the loaded model is what comes while the model runs and is integrated, in a process that has
explained another model before. Making graphs and loading them into onnxruntime does not count, nor
do weights that are mapped from a file. glibc gives back what is free around these, so that it does
not stand for what comes. A growth of a few MiB is the allocator's and Python's own.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SHIPPED = [
    str(ROOT / "models" / n / f"{n}.onnx") for n in ("inception_cifar", "digits_cnn", "trec_cnn")
]
ANCHORS = ["resnet50", "vgg16", "mobilenet_v2", "googlenet", "vit_b16", "bert_base", "lstm"]
WARM_UP = str(ROOT / "models" / "breast_cancer_mlp" / "breast_cancer_mlp.onnx")
MIB = 1 << 20


def status(name: str) -> int:
    """A size in /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def resident() -> int:
    """Resident memory that no file backs, in bytes."""
    return status("RssAnon")


def settled() -> int:
    """The same once the allocator has given back what nobody holds."""
    import ctypes
    import gc

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return resident()


class Meter:
    """Resident memory from a moment on."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """From now on."""
        self._start = settled()
        Path("/proc/self/clear_refs").write_text("5")

    def read(self) -> dict[str, int]:
        """Most bytes since then: beyond what there was, and in all."""
        peak = status("VmHWM")
        mapped = status("RssFile") + status("RssShmem")
        return {"growth": peak - mapped - self._start, "total": peak}


class Explaining(Meter):
    """Resident memory while a model runs and is integrated, without what is loaded meanwhile."""

    def __init__(self) -> None:
        from igrt.derived import Derived
        from igrt.engine import Engine
        from igrt.runtime.session import OrtSession

        super().__init__()
        self._growth = self._total = self._running = self._loading = 0
        self._paused = self._start
        self._wrapped: list[tuple[type, str, Any]] = []
        self._wrap(OrtSession, "__init__", loads=True)
        for name in ("data", "proto", "facts"):
            self._wrap(Derived, name, loads=True)
        self._wrap(Engine, "forward", loads=False)
        self._wrap(Engine, "plan", loads=False)  # and all that follows

    def read(self) -> dict[str, int]:
        """Most bytes in all of that time; ends it."""
        self._pause()
        for owner, name, old in self._wrapped:
            setattr(owner, name, old)
        return {"growth": self._growth, "total": self._total}

    def _pause(self) -> None:
        found = super().read()
        self._growth = max(self._growth, found["growth"])
        self._total = max(self._total, found["total"])
        self._paused = settled()

    def _resume(self) -> None:
        self._start += settled() - self._paused
        Path("/proc/self/clear_refs").write_text("5")

    def _wrap(self, owner: type, name: str, *, loads: bool) -> None:
        old = owner.__dict__[name]
        call = old.fget if isinstance(old, property) else old

        def counted() -> bool:
            return self._running > 0 and self._loading == 0

        def change(by: int) -> None:
            before = counted()
            if loads:
                self._loading += by
            else:
                self._running += by
            if counted() != before:
                (self._pause if before else self._resume)()

        def wrapped(*args: Any, **named: Any) -> Any:
            change(1)
            try:
                return call(*args, **named)
            finally:
                if name != "plan":
                    change(-1)

        self._wrapped.append((owner, name, old))
        setattr(owner, name, property(wrapped) if isinstance(old, property) else wrapped)


def example(net: str) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """A model file, what to feed it, and further arguments of `Explainer`."""
    import numpy as np

    if not net.endswith(".onnx"):
        sys.path.insert(0, str(Path(__file__).parent))
        import anchors

        anchor = anchors.load(net)
        return anchor.file, anchor.feeds, {"of": anchor.of}
    import igrt

    rng, feeds = np.random.default_rng(0), {}
    for spec in igrt.Explainer(net, provider="cpu").inputs:
        shape = [d if isinstance(d, int) else 1 for d in spec.shape or ()]
        if spec.is_float:
            feeds[spec.name] = rng.standard_normal(shape).astype(spec.dtype)
        else:
            feeds[spec.name] = np.ones(shape, spec.dtype)
    return Path(net), feeds, {}


def ours(net: str, options: dict[str, Any]) -> dict[str, Any]:
    """In a child: an explanation."""
    from igrt.kernels import patient, select

    from igrt import Explainer

    file, feeds, more = example(net)
    # modules and kernels are loaded, as they are in a process that goes on
    patient._OF_THE_PROCESS._chosen = select("cpu")
    warm, rows, _ = example(WARM_UP)
    for scheme in ({"n_steps": 2}, {}):
        Explainer(warm, provider="cpu", cache=False).explain(rows, target="top1", **scheme)
    own = {n: options.pop(n) for n in ("memory", "threads") if n in options}
    options = {"target": "top1", **options}
    meter = Explaining()
    explainer = Explainer(file, provider="cpu", cache=False, **own, **more)
    result = explainer.explain(feeds, **options)
    planned = dict(result.provenance["plan"])
    return {**planned, **meter.read(), "evaluations": int(result.evaluations[0])}


def captum(net: str, options: dict[str, Any]) -> dict[str, Any]:
    """In a child: the same with Captum."""
    import time

    import torch
    from captum.attr import IntegratedGradients

    sys.path.insert(0, str(Path(__file__).parent))
    import anchors

    torch.set_num_threads(options["threads"])
    anchor = anchors.load(net)
    explain = IntegratedGradients(anchor.scores).attribute
    rows, named = anchor.rows.clone(), {"n_steps": options["n_steps"], "target": 0}
    meter, start = Meter(), time.process_time()
    explain(rows, anchor.baseline, internal_batch_size=options["batch"], **named)
    return {**meter.read(), "seconds": time.process_time() - start}


def limit(net: str, options: dict[str, Any]) -> dict[str, Any]:
    """In a child: a chunk that cannot be, in an address space with little left."""
    import resource

    import numpy as np

    from igrt import Explainer

    file, feeds, more = example(net)
    explainer = Explainer(file, provider="cpu", threads=1, cache=False, **more)
    named = {"target": "top1", "n_steps": options["n_steps"], "rule": "midpoint"}
    expected = explainer.explain(feeds, internal_batch_size=1, **named).values
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + options["spare"], resource.RLIM_INFINITY))
    result = explainer.explain(feeds, internal_batch_size=options["batch"], **named)
    wrong = max(
        float(np.abs(result.values[n] - v).sum() / np.abs(v).sum()) for n, v in expected.items()
    )
    return {"chunk": result.provenance["chunk"], "difference": wrong}


CHILDREN: dict[str, Callable[[str, dict[str, Any]], dict[str, Any]]] = {
    "ours": ours,
    "captum": captum,
    "limit": limit,
}


def fresh(kind: str, net: str, **options: Any) -> dict[str, Any]:
    """What a child finds."""
    command = [sys.executable, __file__, "child", kind, net, json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["killed"])[-1]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def advised(net: str, options: dict[str, Any]) -> dict[str, Any]:
    """What a child finds that does as the hints of errors say: more memory, or fewer targets."""
    while True:
        found = fresh("ours", net, **options)
        error = found.get("error", "")
        if more := re.search(r"allow (\d+) bytes", error):
            options = {**options, "memory": int(more[1])}
        elif fewer := re.search(r"ask for (top\d)", error):
            options = {**options, "target": fewer[1]}
        else:
            return found


def show_plan(nets: list[str]) -> None:
    """Predicted and real peaks: fastest chunk, a larger one, the adaptive default, several targets.

    The least memory is what the error says of a budget of one byte.

    How many gradients an adaptive rule keeps is known in the end only: the limit is what was
    planned for, and what is predicted for these is by their number.
    """
    names = f"{'chunk':>5} {'limit':>7} {'predicted':>9} {'real':>7}"
    print(f"{'net':16} {'what':22} {names} MiB  ratio")
    small = 16 * MIB  # below, a ratio says more of the allocator than of the plan
    cases: list[tuple[str, dict[str, Any]]] = [
        ("50 steps", {"n_steps": 50}),
        ("50 steps, 2 threads", {"n_steps": 50, "threads": 2}),
        ("50 steps, chunk 8", {"n_steps": 50, "internal_batch_size": 8}),
        ("adaptive", {}),
        ("adaptive, least", {"memory": 1}),
        ("top5, 50 steps", {"n_steps": 50, "target": "top5"}),
        ("top5, least", {"n_steps": 50, "target": "top5", "memory": 1}),
    ]
    for net in nets:
        for what, options in cases:
            found = advised(net, {"threads": 1, **options})
            if "error" in found:
                print(f"{Path(net).stem:16} {what:22} {found['error']}")
                continue
            ratio = found["peak"] / found["growth"]
            said = f"{ratio:.2f}" if found["growth"] > small else "small"
            said += "" if found["growth"] <= found["budget"] else ", above the budget"
            print(
                f"{Path(net).stem:16} {what:22} {found['chunk']:>5} {found['limit'] / MIB:>7.1f} "
                f"{found['peak'] / MIB:>9.1f} {found['growth'] / MIB:>7.1f}      {said}",
                flush=True,
            )


def show_steps(nets: list[str]) -> None:
    """Peaks at more and more steps."""
    for net in nets:
        for steps in (50, 1000, 5000):
            found = fresh("ours", net, threads=1, n_steps=steps, rule="midpoint")
            print(
                f"{Path(net).stem:16} {steps:>5} steps: {found['growth'] / MIB:.1f} MiB beyond "
                f"the loaded model, {found['total'] / MIB:.0f} MiB in all"
            )


def show_limit(nets: list[str]) -> None:
    """Twenty runs with more and more room."""
    for net in nets:
        failed = 0
        for run in range(20):
            options = {"n_steps": 100, "batch": (100, 100_000)[run % 2]}
            found = fresh("limit", net, spare=(40 + 10 * run) * MIB, **options)
            failed += "error" in found or found["difference"] > 1e-6
            print(f"{Path(net).stem:16} {40 + 10 * run:>4} MiB to spare: {found}")
        print(f"{Path(net).stem:16} {20 - failed} of 20 with the right answer")


def show_captum(nets: list[str]) -> None:
    """Peaks beside Captum's at its fastest internal_batch_size."""
    for net in nets:
        named = {"n_steps": 50, "threads": 1}
        tried = {b: fresh("captum", net, batch=b, **named) for b in (1, 4, 16, 50)}
        tried = {b: f for b, f in tried.items() if "error" not in f}
        best = min(tried, key=lambda b: tried[b]["seconds"])
        mine, peer = fresh("ours", net, **named), tried[best]
        growths = {b: round(f["growth"] / MIB) for b, f in tried.items()}
        print(
            f"{net:14} igrt {mine['growth'] / MIB:.0f} MiB beyond the loaded model, "
            f"{mine['total'] / MIB:.0f} in all (chunk {mine['chunk']}); Captum "
            f"{peer['growth'] / MIB:.0f}, {peer['total'] / MIB:.0f} (batch {best}); ratio "
            f"{mine['growth'] / peer['growth']:.2f}, {mine['total'] / peer['total']:.2f}; Captum's "
            f"by batch: {growths}"
        )


def main() -> None:
    """Measure and print, or be a child that measures."""
    if sys.argv[1:2] == ["child"]:
        kind, net, options = sys.argv[2:]
        print(json.dumps(CHILDREN[kind](net, json.loads(options))))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["plan", "steps", "limit", "captum"])
    parser.add_argument("nets", nargs="*", metavar="NET")
    options = parser.parse_args()
    if options.what == "plan":
        show_plan(options.nets or SHIPPED + ANCHORS)
    elif options.what == "steps":
        show_steps(options.nets or SHIPPED[:1])
    elif options.what == "limit":
        show_limit(options.nets or SHIPPED[:1])
    else:
        show_captum(options.nets or ANCHORS)


if __name__ == "__main__":
    main()
