"""Every error that igrt raises on purpose.

```
IgrtError                    exit code 1
├── InputError               exit code 2: an argument, an input array or an input file is not usable
│   └── TargetError          the target does not exist in the explained output
├── ModelError               exit code 1: the model cannot be read, run or differentiated
│   ├── ModelLoadError       no ONNX model, truncated, unreadable, or refused by onnxruntime
│   ├── UnsupportedOperator  operators on the way have no gradient rule
│   └── NoGradientPath       the gradient would be zero everywhere by construction
├── ProviderError            exit code 1: onnxruntime or the provider is not usable here
├── NonFiniteError           exit code 1: NaN or infinity where a number is needed
├── OutOfMemory              exit code 1: not even one row fits
├── GaveUp                   the call ended before its result was complete
│   ├── DeadlineExceeded     exit code 1: the deadline passed
│   └── Cancelled            exit code 130: someone cancelled it
└── InternalError            exit code 1: a mistake of igrt's own
```

A message says what, where, expected and got; `hint` says what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class IgrtError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: What is wrong and where; for expected-and-got errors, both.
        hint: What the user can do about it, one sentence without a full stop.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n\nhint: {self.hint}" if self.hint else self.message


class InputError(IgrtError, ValueError):
    """An argument, an input array or an input file is not usable."""

    exit_code = 2


class TargetError(InputError):
    """The target does not exist in the explained output."""


class ModelError(IgrtError):
    """The model cannot be read, run or differentiated."""


class ModelLoadError(ModelError):
    """The file is not an ONNX model, or is truncated, unreadable or refused by onnxruntime."""


class UnsupportedOperator(ModelError):
    """Operators between the attributed tensors and the explained output have no gradient rule.

    All of them are reported at once, with node names and counts.
    """


class NoGradientPath(ModelError):
    """Every path to an attributed tensor is locally constant: its gradient is zero."""


class ProviderError(IgrtError):
    """Onnxruntime is not installed, or the execution provider asked for does not work here."""


class NonFiniteError(IgrtError):
    """A gradient or an output is NaN or infinite.

    Args:
        message: What is not finite, and where on the path.
        hint: What the user can do about it.
        feeds: What the model was fed with in that one row, to look for the cause.
    """

    def __init__(
        self, message: str, *, hint: str = "", feeds: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.feeds = feeds


class OutOfMemory(IgrtError):
    """The runtime could not allocate memory for a single row."""


class GaveUp(IgrtError):
    """The call ended before its result was complete; the model may be run again."""


class DeadlineExceeded(GaveUp):
    """The deadline passed before the result was complete."""


class Cancelled(GaveUp):
    """The call was cancelled before the result was complete."""

    exit_code = 130


class InternalError(IgrtError):
    """A mistake of igrt's own; please report it."""


def did_you_mean(name: str, known: Iterable[str], suggestions: Iterable[str] = ()) -> str:
    """A hint: the name closest to `name`, else what there is to choose from.

    Args:
        name: What the user wrote.
        known: Every name that would have been right.
        suggestions: The names worth listing where none is close; all of `known` by default.
    """
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean `{close[0]}`?"
    listed = list(suggestions) or known
    more = ", …" if len(listed) > 8 else ""
    return f"there is {', '.join(f'`{n}`' for n in listed[:8])}{more}" if listed else ""


__all__ = [
    "Cancelled",
    "DeadlineExceeded",
    "GaveUp",
    "IgrtError",
    "InputError",
    "InternalError",
    "ModelError",
    "ModelLoadError",
    "NoGradientPath",
    "NonFiniteError",
    "OutOfMemory",
    "ProviderError",
    "TargetError",
    "UnsupportedOperator",
    "did_you_mean",
]
