"""Small models, and attribution functions that are wrong in one way each."""

from dataclasses import replace

import numpy as np
from onnx import parser

import igrt
from igrt.methods import IntegratedGradients
from igrt.verify.run import Explaining


def model(text, opset=17):
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> {text}')


SATURATED = model(
    """g (float[N, 1] x) => (float[N, 1] y) <float[1] one = {1}> {
         d = Sub(one, x)  r = Relu(d)  y = Sub(one, r) }"""
)
SMOOTH = model(
    """g (float[N, 3] x) => (float[N, 2] y)
       <float[3, 4] V = {1, -1, 2, 0.5, -0.5, 1, 0.3, -2, 0.7, 0.2, -1, 1},
        float[4, 2] W = {1, -1, 2, 0.5, -3, 4, 0.5, 1}, float[2] c = {0.1, 0.2}> {
         u = MatMul(x, V)  h = Tanh(u)  y = Gemm(h, W, c) }"""
)
KINKED = model(
    """g (float[N, 3] x) => (float[N, 2] y)
       <float[3, 4] V = {1, -1, 2, 0.5, -0.5, 1, 0.3, -2, 0.7, 0.2, -1, 1},
        float[4] b = {0.1, -0.2, 0.3, -0.4},
        float[4, 2] W = {1, -1, 2, 0.5, -3, 4, 0.5, 1}, float[2] c = {0.1, 0.2}> {
         u = MatMul(x, V)  v = Add(u, b)  h = Relu(v)  y = Gemm(h, W, c) }"""
)
PRODUCT = model("""g (float[N, 1] a, float[N, 1] b) => (float[N, 1] y) { y = Mul(a, b) }""")

X = np.array([[0.8, -1.1, 0.6], [0.3, 0.9, -1.4]], np.float32)
TWO = np.array([[2.0]], np.float32)


def integrated(tolerance=1e-2):
    """Integrated Gradients as `igrt.verify` takes them."""
    return Explaining(IntegratedGradients(), tolerance, 0, {"provider": "cpu"})


class Broken:
    """Integrated Gradients, then something done to the values: `change(values, model)`."""

    def __init__(self, change):
        self.right, self.change = integrated(), change

    def __call__(self, model, inputs, **how):
        found = self.right(model, inputs, **how)
        return replace(found, values={n: self.change(v, model) for n, v in found.values.items()})


class PlainGradients:
    """The gradient at the input: one evaluation there, without the displacement."""

    def __call__(self, model, inputs, *, of, wrt, target, baselines):
        explainer = igrt.Explainer(model, of=of, wrt=wrt, provider="cpu")
        # the displacement of one from below does not change the place of the last node
        below = {n: np.asarray(inputs[n]) - 1 for n in wrt}
        return explainer.explain(inputs, baselines=below, target=target, n_steps=1, rule="right")
