"""What the methods share that look at the input only."""

from __future__ import annotations

from numbers import Real
from typing import Literal

from igrt.errors import InputError
from igrt.quadrature import Scheme, point_scheme

Factor = Literal["difference", "input", "one"]
"""What the (mean) gradient is multiplied by: x - x', x, or nothing."""


def at_input(name: str, rule: str | None, n_steps: int | None) -> Scheme:
    """One evaluation, at the input.

    Raises:
        InputError: If a quadrature rule or a number of steps is asked for.
    """
    if rule is not None or n_steps is not None:
        raise InputError(
            f"{name} is one evaluation at the input: there is no path to choose steps on",
            hint="leave out the rule and the number of steps",
        )
    return point_scheme()


def check_epsilon(name: str, epsilon: float) -> None:
    """Refuse anything but a positive number.

    Raises:
        InputError: If it is not one.
    """
    if not isinstance(epsilon, Real) or isinstance(epsilon, bool) or not 0 < epsilon < 1e6:
        raise InputError(
            f"epsilon of {name} must be a positive number, not {epsilon!r}",
            hint="leave it out for the default",
        )


__all__ = ["Factor", "at_input", "check_epsilon"]
