"""The measures of faithfulness and the randomisation of weights as checks of a `Case`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from igrt.specs import Array
from igrt.verify.case import Case
from igrt.verify.check import Check
from igrt.verify.faithfulness import Faithfulness, faithfulness
from igrt.verify.randomisation import Randomisation, randomisation
from igrt.verify.subject import subject


def faithful(
    case: Case, *, layouts: Mapping[str, str] | None = None, **options: Any
) -> tuple[Faithfulness, ...]:
    """The measures of faithfulness of every row; `jointly` has their verdict.

    Args:
        case: The case.
        layouts: ``NCHW`` or ``NHWC`` by name of the tensors that are pictures.
        options: Further keywords of `faithfulness`.
    """
    return tuple(
        faithfulness(subject(case, row), layouts=layouts, seed=case.seed, **options)
        for row in range(len(case))
    )


def jointly(found: Sequence[Faithfulness]) -> tuple[Check, ...]:
    """One check per measure: the mean of its figure over the rows against that of its limit.

    A single row may be unlucky. Of sensitivity-max it is the largest. Rows for which a measure was
    skipped do not count.
    """
    return tuple(_joint(checks) for checks in zip(*(f.checks for f in found), strict=True))


def _joint(checks: Sequence[Check]) -> Check:
    made = [(c.figure, c.limit) for c in checks if c.figure is not None and c.limit is not None]
    if len(checks) == 1 or not made:
        return checks[0]
    first = next(c for c in checks if c.figure is not None)
    largest = first.name == "sensitivity-max"
    figure, limit = (np.max if largest else np.mean)(made, axis=0).tolist()
    holds = bool(figure >= limit if first.name == "insertion" else figure <= limit)
    kept = sum(c.holds or False for c in checks)
    over = f"{'largest' if largest else 'mean'} of {len(made)} rows"
    return Check(
        first.name, figure, limit, holds, f"{first.detail}; {over}, {kept} of which hold alone"
    )


def weights_matter(case: Case, **options: Any) -> Randomisation:
    """Attributions of the rows of a case while the model's weights are randomised.

    Only features that differ from the baseline are compared.

    Args:
        case: The case.
        options: Further keywords of `randomisation`.
    """

    def attribute(model: onnx.ModelProto) -> Array:
        return case.attribute(case.x, case.b, case.rows, model=model).values

    live = case.x != case.b
    return randomisation(case.model, attribute, of=case.of, live=live, seed=case.seed, **options)


__all__ = ["faithful", "jointly", "weights_matter"]
