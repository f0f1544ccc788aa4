"""Faithfulness of one attribution: curves, infidelity by noise and by removal, sensitivity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

from igrt.verify.check import Check
from igrt.verify.curves import STEPS, Curves, curves
from igrt.verify.features import Features, channels
from igrt.verify.infidelity import SAMPLES, Infidelity, infidelity
from igrt.verify.perturb import Gaussian, Perturb, Removal
from igrt.verify.sensitivity import BALL, Sensitivity, sensitivity_max
from igrt.verify.subject import Subject


@final
@dataclass(frozen=True, eq=False)
class Faithfulness:
    """What the measures say of one attribution.

    Args:
        curves: Insertion and deletion.
        noise: Infidelity for Gaussian noise.
        removal: Infidelity for parts that give way to the baseline.
        sensitivity: Change of the attribution in a small ball.
    """

    curves: Curves
    noise: Infidelity
    removal: Infidelity
    sensitivity: Sensitivity

    @property
    def checks(self) -> tuple[Check, ...]:
        """All verdicts."""
        noise, removal = self.noise.checks, self.removal.checks
        return (
            *self.curves.checks,
            *(replace(c, name=f"{c.name}, noise") for c in noise),
            *(replace(c, name=f"{c.name}, removal") for c in removal),
            *self.sensitivity.checks,
        )


def faithfulness(
    subject: Subject,
    *,
    layouts: Mapping[str, str] | None = None,
    times_displacement: bool = True,
    steps: int = STEPS,
    samples: int = SAMPLES,
    ball: int = BALL,
    seed: int = 0,
) -> Faithfulness:
    """Put one attribution through all measures of faithfulness.

    Costs some 22·steps + 2·samples runs of the model and `ball` attributions.

    Args:
        subject: One row of a result (`subjects`).
        layouts: ``NCHW`` or ``NHWC`` by name of the tensors that are pictures. Their channels are
            moved as one, and squares are removed.
        times_displacement: Whether the method has x - x' as a factor. Not so for gradients.
        steps: Most points of a curve.
        samples: Perturbations of either infidelity.
        ball: Points of the sensitivity.
        seed: Seed of everything that is drawn.

    Raises:
        InputError: If a number is not positive.
        NonFiniteError: If an attribution or a score is NaN or infinite.
    """
    layouts = layouts or {}
    spatial = {n: (1, 2) if layout == "NCHW" else (0, 1) for n, layout in layouts.items()}
    x, baseline, values = subject.x, subject.baseline, subject.values

    def of(perturb: Perturb) -> Infidelity:
        return infidelity(
            subject.run,
            x,
            baseline,
            values,
            perturb=perturb,
            times_displacement=times_displacement,
            samples=samples,
            seed=seed,
        )

    features = Features.of(x, channels(layouts))
    return Faithfulness(
        curves(subject.run, x, baseline, values, features=features, steps=steps, seed=seed),
        of(Gaussian()),
        of(Removal(spatial)),
        sensitivity_max(subject.attribute, x, baseline, values, samples=ball, seed=seed),
    )


__all__ = [
    "Curves",
    "Faithfulness",
    "Features",
    "Gaussian",
    "Infidelity",
    "Removal",
    "Sensitivity",
    "channels",
    "curves",
    "faithfulness",
    "infidelity",
    "sensitivity_max",
]
