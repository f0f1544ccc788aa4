"""Integrated Gradients and its family for any ONNX model.

```python
import igrt

result = igrt.explain("model.onnx", x, target=281)
result.values["image"], result.delta, result.error
result.save("result.png")
```
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from igrt.attribution import Attribution
    from igrt.errors import IgrtError
    from igrt.explainer import Explainer, explain
    from igrt.methods import (
        Conductance,
        ExpectedGradients,
        IntegratedGradients,
        InternalInfluence,
    )
    from igrt.selection import Mask
    from igrt.specs import Display, Graph, Token
    from igrt.text import Text
    from igrt.verify import Check, Verification, verify
    from igrt.vjp.augment import augment

__version__ = "0.1.0"

# loaded when first used: importing igrt costs neither numba, onnx nor onnxruntime
_HOMES = {
    "Attribution": "igrt.attribution",
    "Conductance": "igrt.methods",
    "Check": "igrt.verify",
    "Display": "igrt.specs",
    "ExpectedGradients": "igrt.methods",
    "Explainer": "igrt.explainer",
    "Graph": "igrt.specs",
    "IgrtError": "igrt.errors",
    "IntegratedGradients": "igrt.methods",
    "InternalInfluence": "igrt.methods",
    "Mask": "igrt.selection",
    "Text": "igrt.text",
    "Token": "igrt.specs",
    "Verification": "igrt.verify",
    "augment": "igrt.vjp.augment",
    "explain": "igrt.explainer",
    "verify": "igrt.verify",
}

__all__ = [
    "Attribution",
    "Check",
    "Conductance",
    "Display",
    "ExpectedGradients",
    "Explainer",
    "Graph",
    "IgrtError",
    "IntegratedGradients",
    "InternalInfluence",
    "Mask",
    "Text",
    "Token",
    "Verification",
    "augment",
    "explain",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "methods":
        return importlib.import_module("igrt.methods")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'igrt' has no attribute {name!r}")
    module = importlib.import_module(home)
    # a package has the name of its function, and is called like it
    return module if home == f"igrt.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
