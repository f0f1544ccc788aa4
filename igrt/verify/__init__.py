"""Checks of gradients and attributions on the user's own model.

The package is called like its function, `igrt.verify(model)`, and can be called itself.
"""

from __future__ import annotations

import inspect
import sys
from types import ModuleType
from typing import Any

from igrt.verify.check import Check, Verification
from igrt.verify.run import CHECKS, verify


class _Callable(ModuleType):
    """A module that is its function: importing a package binds its name to the module."""

    def __call__(self, *arguments: Any, **options: Any) -> Verification:
        return verify(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
__signature__ = inspect.signature(verify)

__all__ = ["CHECKS", "Check", "Verification", "verify"]
