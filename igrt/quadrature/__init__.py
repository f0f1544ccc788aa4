"""Quadrature rules on [0, 1] as values, and schemes that say where to evaluate next."""

from igrt.quadrature.adaptive import AdaptivePath, first_nodes
from igrt.quadrature.inner import InnerPath, InnerScheme
from igrt.quadrature.kept import Figures, Gradients, HostGradients
from igrt.quadrature.logarithmic import PairScheme, pair_scheme
from igrt.quadrature.rule import Quadrature
from igrt.quadrature.rules import RULES, fixed
from igrt.quadrature.sampling import MAX_DRAWS, Sampling
from igrt.quadrature.scheme import (
    Scheme,
    Stage,
    constant_scheme,
    patterson,
    point_scheme,
    scheme_for,
)

__all__ = [
    "MAX_DRAWS",
    "RULES",
    "AdaptivePath",
    "Figures",
    "Gradients",
    "HostGradients",
    "InnerPath",
    "InnerScheme",
    "PairScheme",
    "Quadrature",
    "Sampling",
    "Scheme",
    "Stage",
    "constant_scheme",
    "first_nodes",
    "fixed",
    "pair_scheme",
    "patterson",
    "point_scheme",
    "scheme_for",
]
