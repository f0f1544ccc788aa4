"""Attribution methods: final frozen values, one per file."""

from __future__ import annotations

from igrt.errors import InputError, did_you_mean
from igrt.methods.conductance import Conductance
from igrt.methods.deconvolution import Deconvolution
from igrt.methods.deeplift import DeepLift
from igrt.methods.expected_gradients import ExpectedGradients
from igrt.methods.gradients import Gradients
from igrt.methods.guided_backprop import GuidedBackprop
from igrt.methods.input_x_gradient import InputXGradient
from igrt.methods.integrated_gradients import IntegratedGradients
from igrt.methods.integrated_hessians import IntegratedHessians
from igrt.methods.internal_influence import InternalInfluence
from igrt.methods.lrp import LRP

Method = (
    IntegratedGradients
    | ExpectedGradients
    | IntegratedHessians
    | Conductance
    | InternalInfluence
    | Gradients
    | InputXGradient
    | Deconvolution
    | GuidedBackprop
    | DeepLift
    | LRP
)
"""Any attribution method."""

METHODS: dict[str, Method] = {
    m.name: m
    for m in (
        IntegratedGradients(),
        ExpectedGradients(),
        IntegratedHessians(),
        Conductance(),
        InternalInfluence(),
        Gradients(),
        InputXGradient(),
        Deconvolution(),
        GuidedBackprop(),
        DeepLift(),
        LRP(),
    )
}
"""Every method with its default options, by name."""

_ALIASES = {
    "ig": "integrated_gradients",
    "eg": "expected_gradients",
    "ih": "integrated_hessians",
    "gradient": "gradients",
    "saliency": "gradients",
    "gradient_x_input": "input_x_gradient",
    "deconvnet": "deconvolution",
    "deep_lift": "deeplift",
    "lrp_epsilon": "lrp",
}
_ALIASES |= {n.replace("_", ""): n for n in METHODS}


def named(method: str | Method) -> Method:
    """The method of that name with its default options; a method object as it is.

    Raises:
        InputError: If there is no such method.
    """
    if isinstance(method, str):
        found = METHODS.get(_ALIASES.get(method.lower(), method.lower()))
        if found is None:
            raise InputError(
                f"unknown method `{method}`",
                hint=did_you_mean(method, [*METHODS, *_ALIASES], METHODS),
            )
        return found
    if not isinstance(method, Method):
        raise InputError(f"a method is a name or a method object, not {type(method).__name__}")
    return method


__all__ = [
    "LRP",
    "METHODS",
    "Conductance",
    "Deconvolution",
    "DeepLift",
    "ExpectedGradients",
    "Gradients",
    "GuidedBackprop",
    "InputXGradient",
    "IntegratedGradients",
    "IntegratedHessians",
    "InternalInfluence",
    "Method",
    "named",
]
