"""True against reported error, and evaluations, of igrt's default beside Captum's five rules.

    python benchmarks/honesty.py [--net NAME …] [--inputs N] [--reference N] [--quick] [--json]

The truth is the midpoint rule of many evaluations on gradients of float64 torch; for SqueezeNet,
which has no torch twin, on those of igrt's gradient graph, run by onnxruntime directly. Captum's
rules are evaluated on the same gradients with the nodes and weights that Captum itself gives.
Errors are in the L1 norm, relative to the norm of the truth.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnx
import onnxruntime
from captum.attr._utils.approximation_methods import approximation_parameters
from nets import NETS, Subject

import igrt

TOLERANCES = (3e-2, 1e-2, 3e-3)
LOOSE = (0.3, 0.2, 0.1, 0.05)
"""Tolerances that are tried as well for the evaluations at a true error of 1e-2."""

RULES = ("riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid", "gausslegendre")
STEPS = (10, 25, 50, 100, 300)
GOAL = 1e-2


class SqueezeNet(Subject):
    """SqueezeNet with ImageNet weights on photographs, with the gradients of igrt's graph."""

    def __init__(self, file: Path, photos: list[Path]) -> None:
        from photos import SQUEEZENET

        from igrt.inputs import read

        (spec,) = igrt.Explainer(file).inputs
        x = np.concatenate([read(p, spec, SQUEEZENET).array for p in photos])
        super().__init__("SqueezeNet", file, {spec.name: x}, x, np.zeros(x.shape[1:]), _no_scores)
        model = igrt.augment(onnx.load(file))
        self.session = onnxruntime.InferenceSession(model.SerializeToString())
        self.cotangent = next(i for i in self.session.get_inputs() if "cotangent" in i.name)
        self.input = spec.name

    def gradient(self, example: int, target: int, alphas: np.ndarray) -> np.ndarray:
        """DF/dx at points of the path of one example, [alphas, features] float64."""
        cotangent = np.zeros(self.cotangent.shape, np.float32)
        cotangent[0, target] = 1
        found = []
        for alpha in alphas:
            x = (alpha * self.ends[example : example + 1]).astype(np.float32)
            feeds = {self.input: x, self.cotangent.name: cotangent}
            found.append(self.session.run([f"igrt/grad/{self.input}"], feeds)[0].reshape(-1))
        return np.stack(found).astype(np.float64)


def _no_scores(*_: Any) -> Any:
    raise NotImplementedError


def integral(subject: Subject, example: int, target: int, rule: tuple[Any, Any]) -> np.ndarray:
    """displacement · Σ_k w_k g(α_k), [features], in pieces."""
    alphas, weights = (np.asarray(a, np.float64) for a in rule)
    total = sum(
        weights[part] @ subject.gradient(example, target, alphas[part])
        for part in np.array_split(np.arange(len(alphas)), max(1, len(alphas) // 100))
    )
    return total * (subject.ends[example] - subject.baseline).reshape(-1)


def measure(subject: Subject, reference: int) -> dict[str, Any]:
    """All errors and evaluations of one model, [inputs] lists."""
    explainer = igrt.Explainer(subject.model, of=subject.of, wrt=subject.options.get("wrt"))
    runs = {
        t: explainer.explain(subject.feeds, baselines=subject.baseline, target="top1", tolerance=t)
        for t in (*LOOSE, *TOLERANCES)
    }
    first = runs[GOAL]
    examples = range(len(subject.ends))
    midpoints = (np.arange(reference) + 0.5) / reference, np.full(reference, 1 / reference)
    truth = [integral(subject, k, first.target[k], midpoints) for k in examples]
    (name,) = first.values

    def error(found: Callable[[int], np.ndarray]) -> list[float]:
        return [
            float(np.abs(found(k).reshape(-1) - truth[k]).sum() / np.abs(truth[k]).sum())
            for k in examples
        ]

    def by_rule(alphas: Any, weights: Any) -> Callable[[int], np.ndarray]:
        return lambda k: integral(subject, k, first.target[k], (alphas, weights))

    adaptive = {
        t: {
            "true": error(lambda k, r=run: r.values[name][k]),
            "reported": run.error.tolist(),
            "evaluations": run.evaluations.tolist(),
        }
        for t, run in runs.items()
    }
    captum = {}
    for rule in RULES:
        weights, nodes = approximation_parameters(rule)
        captum[rule] = {n: error(by_rule(nodes(n), weights(n))) for n in STEPS}
    return {"net": subject.name, "adaptive": adaptive, "captum": captum}


def needed(errors: dict[Any, float], goal: float) -> float:
    """Evaluations at which a mean error falls to the goal; between steps by a power law."""
    steps = list(errors)
    if errors[steps[0]] <= goal:
        return steps[0]
    for few, many in pairwise(steps):
        if errors[many] <= goal:
            slope = np.log(errors[few] / goal) / np.log(errors[few] / errors[many])
            return float(few * (many / few) ** slope)
    return float("inf")


def summary(row: dict[str, Any]) -> dict[str, Any]:
    """Of one model: is it honest, is it frugal?"""
    asked = {t: row["adaptive"][t] for t in TOLERANCES}
    pairs = [(t, r) for a in asked.values() for t, r in zip(a["true"], a["reported"], strict=True)]
    means = {r: {n: float(np.mean(e)) for n, e in row["captum"][r].items()} for r in RULES}
    by_evaluations = {
        float(np.mean(a["evaluations"])): float(np.mean(a["true"]))
        for a in row["adaptive"].values()
    }
    same = float(np.mean(asked[GOAL]["true"]))
    best = min((needed(means[r], same), r) for r in RULES)
    goal = min((needed(means[r], GOAL), r) for r in RULES)
    return {
        "net": row["net"],
        "inputs": len(asked[GOAL]["true"]),
        "most_true_over_reported": max(t / r if r else float(t > 1e-6) * np.inf for t, r in pairs),
        "evaluations": {t: float(np.mean(a["evaluations"])) for t, a in asked.items()},
        "true": {t: float(np.mean(a["true"])) for t, a in asked.items()},
        "reported": {t: float(np.mean(a["reported"])) for t, a in asked.items()},
        "evaluations_at_goal": needed(by_evaluations, GOAL),
        "captum_for_same": best,
        "captum_at_goal": goal,
        "captum": means,
    }


def show(s: dict[str, Any]) -> None:
    """The lines of one model."""
    print(
        f"{s['net']}, {s['inputs']} inputs: most true/reported {s['most_true_over_reported']:.2f}"
    )
    for t in TOLERANCES:
        print(
            f"  tolerance {t:<6g} evaluations {s['evaluations'][t]:6.1f}   reported "
            f"{s['reported'][t]:.1e}   true {s['true'][t]:.1e}"
        )
    for rule, errors in s["captum"].items():
        print(f"  {rule:<18}" + "".join(f"  {n}: {e:.1e}" for n, e in errors.items()))
    for what, mine, theirs in (
        ("the true error at tolerance 1e-2", s["evaluations"][GOAL], s["captum_for_same"]),
        ("a true error of 1e-2", s["evaluations_at_goal"], s["captum_at_goal"]),
    ):
        print(f"  for {what}: {mine:.1f} evaluations, Captum's best {theirs[0]:.0f} ({theirs[1]})")
    print(flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    root = Path(__file__).parents[2]
    data = os.environ.get("IGRT_TEST_DATA", root / "shared/data")
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--net", action="append", choices=["squeezenet", *NETS])
    parser.add_argument("--inputs", type=int, default=6)
    parser.add_argument("--pictures", type=int, default=1, help="inputs of the large picture nets")
    parser.add_argument("--reference", type=int, default=2000, help="midpoints; half for pictures")
    parser.add_argument("--quick", action="store_true", help="2 inputs, 1 picture, 600 midpoints")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.inputs, options.pictures, options.reference = 2, 1, 600
    found = []
    for net in options.net or ["squeezenet", *NETS]:
        large = net in ("squeezenet", "inception_cifar")
        if net == "squeezenet":
            file = Path(options.data) / "models/squeezenet1_imagenet_fp32.onnx"
            if not file.exists():
                continue
            photos = sorted((Path(options.data) / "inputs/photos").glob("*.jpg"))
            subject: Subject = SqueezeNet(file, photos[: options.pictures])
        else:
            subject = NETS[net](options.pictures if large else options.inputs)
        found.append(summary(measure(subject, options.reference // (2 if large else 1))))
        if not options.json:
            show(found[-1])
    worst = max(s["most_true_over_reported"] for s in found)
    facts = {
        "honest": bool(worst <= 2),
        "most_true_over_reported": worst,
        "evaluations_at_tolerance_1e-2": float(np.mean([s["evaluations"][GOAL] for s in found])),
        "evaluations_at_true_error_1e-2": float(np.mean([s["evaluations_at_goal"] for s in found])),
        "captum_for_same_true_error": float(np.mean([s["captum_for_same"][0] for s in found])),
        "captum_at_true_error_1e-2": float(np.mean([s["captum_at_goal"][0] for s in found])),
    }
    if options.json:
        print(json.dumps({"summary": facts, "nets": found}, indent=2))
    else:
        for name, value in facts.items():
            print(f"{name}: {value if isinstance(value, bool) else format(value, '.3g')}")


if __name__ == "__main__":
    main()
