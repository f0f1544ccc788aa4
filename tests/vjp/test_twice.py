"""Gradient graphs of interpolations, spectra and products, differentiated once more.

A gradient graph is a model like any other: its own gradient, of <u, gradient>, is compared with
finite differences of the gradient.
"""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from igrt.vjp.augment import augment


def inside(rng, *shape):
    """Numbers that are no whole ones, where a linear interpolation has its kinks."""
    return rng.uniform(0.15, 0.85, shape)


CASES = {
    "GridSample": (16, [(1, 2, 4, 5), (1, 3, 2, 2)], [], {"mode": "bicubic"}),
    "RoiAlign": (16, [(1, 2, 5, 5)], [[[0.4, 0.3, 3.6, 3.9]], np.array([0])], {"output_height": 2}),
    "DeformConv": (19, [(1, 2, 4, 4), (2, 2, 2, 2), (1, 8, 3, 3)], [], {}),
    "Col2Im": (18, [(1, 10, 4)], [np.array([4, 5]), np.array([1, 5])], {"strides": [1, 1]}),
    "DFT": (18, [(1, 6, 1)], [], {"onesided": 1}),
    "CumProd": (26, [(2, 5)], [np.array(1)], {}),
    "Det": (18, [(2, 3, 3)], [], {}),
    "RotaryEmbedding": (23, [(1, 2, 3, 4), (1, 3, 2), (1, 3, 2)], [], {}),
    "Attention": (24, [(1, 2, 3, 4), (1, 1, 3, 4), (1, 1, 3, 4)], [], {"is_causal": 1}),
}


def run(model, outputs, feeds):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(outputs, {n: np.asarray(a, np.float32) for n, a in feeds.items()})


@pytest.mark.parametrize("op_type", CASES)
def test_the_gradient_graph_has_a_gradient(rng, op_type):
    opset, shapes, stored, attributes = CASES[op_type]
    arrays = [inside(rng, *s) for s in shapes]
    names = [f"x{i}" for i in range(len(arrays))]
    kept = [np.asarray(a, np.float32) if isinstance(a, list) else a for a in stored]
    fixed = [f"s{i}" for i in range(len(stored))]
    # squared, so that operators which are linear have a second derivative as well
    nodes = [
        helper.make_node(op_type, names + fixed, ["h"], **attributes),
        helper.make_node("Mul", ["h", "h"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape)
            for n, a in zip(names, arrays, strict=True)
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, n) for a, n in zip(kept, fixed, strict=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    feeds = dict(zip(names, arrays, strict=True))
    once = augment(model, wrt=["x0"], of="y")
    (y,) = run(model, ["y"], feeds)
    feeds["igrt/cotangent/y"] = rng.standard_normal(y.shape)
    twice = augment(once, wrt=names, of="igrt/grad/x0")
    u = rng.standard_normal(arrays[0].shape)
    wanted = {n: f"igrt/grad/{n}" for n in names}
    wanted["x0"] = next(o.name for o in twice.graph.output if o.name.startswith("igrt/grad/x0/"))
    cotangent = next(i.name for i in twice.graph.input if "cotangent/igrt" in i.name)
    got = run(twice, list(wanted.values()), feeds | {cotangent: u})
    for n, second in zip(wanted, got, strict=True):
        v, h = rng.standard_normal(second.shape), 1e-2
        sides = [
            (run(once, ["igrt/grad/x0"], feeds | {n: feeds[n] + s * h * v})[0] * u).sum()
            for s in (1, -1)
        ]
        numeric, analytic = float(sides[0] - sides[1]) / (2 * h), float((second * v).sum())
        # float32: rounding 1e-7/h and curvature h², each times some ten
        assert abs(numeric - analytic) <= 3e-3 * max(1.0, float(np.abs(second * v).sum())), n
