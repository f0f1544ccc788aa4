"""`sum_to` against NumPy: static, symbolic and unknown sizes, unknown rank."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from igrt.graph import Emitter, Graph
from igrt.graph.prune import needed_names
from igrt.vjp.broadcast import sum_to

PAIRS = [
    ((2, 3), (2, 3)),
    ((2, 3), (1, 3)),
    ((2, 3), (2, 1)),
    ((2, 3), (1, 1)),
    ((2, 3), (3,)),
    ((2, 3), (1,)),
    ((2, 3), ()),
    ((), ()),
    ((1, 1), (1, 1)),
    ((1, 3), (1, 3)),
    ((1, 3), (3,)),
    ((4, 2, 3), (2, 1)),
    ((4, 2, 3), (4, 1, 3)),
    ((4, 1, 3), (1, 1, 1)),
    ((0, 3), (1, 3)),
    ((0, 3), (3,)),
    ((0, 3), (0, 3)),
    ((0, 3), ()),
]


def expected(ct, shape):
    """The sum over the broadcast axes, in NumPy."""
    padded = (1,) * (ct.ndim - len(shape)) + shape
    axes = tuple(i for i, d in enumerate(padded) if d == 1)
    return ct.sum(axis=axes, keepdims=True).reshape(shape)


def declared(shape, kind, name):
    if kind == "rank":
        return None
    return {
        "static": list(shape),
        "symbols": [f"{name}{i}" for i in range(len(shape))],
        "unknown": [None] * len(shape),
    }[kind]


def build(shapes, kinds):
    """`sum_to` of the first tensor to the second, the others given, as operators and a function."""
    names = ["ct", "primal", *(f"other{i}" for i in range(len(shapes) - 2))]
    inputs = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, declared(s, k, n))
        for n, s, k in zip(names, shapes, kinds, strict=True)
    ]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    # every input is used, so that onnxruntime keeps it
    node = helper.make_node("Sum", names, ["y"])
    model = helper.make_model(
        helper.make_graph([node], "g", inputs, [y]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    emit = Emitter(Graph(model))
    values = [emit.value(n) for n in names]
    emit.named(sum_to(emit, values[0], values[1], values[2:]), "result")
    needed = needed_names(emit.nodes, {"result"})
    kept = [n for n in emit.nodes if needed.intersection(n.output)]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(t for t in emit.initializers if t.name in needed)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("result", TensorProto.FLOAT, None))

    def run(arrays):
        session = onnxruntime.InferenceSession(model.SerializeToString())
        return session.run(["result"], dict(zip(names, arrays, strict=True)))[0]

    return [n.op_type for n in kept if n.op_type != "Identity"], run


def check(shapes, kinds):
    # whole numbers: sums are exact
    generator = np.random.default_rng(5)
    arrays = [generator.integers(-9, 9, s).astype(np.float32) for s in shapes]
    operators, run = build(shapes, kinds)
    result = run([np.asarray(a) for a in arrays])
    want = expected(np.asarray(arrays[0]), shapes[1])
    assert result.shape == want.shape
    np.testing.assert_array_equal(result, want)
    return operators


@pytest.mark.parametrize(("seen", "primal"), PAIRS)
@pytest.mark.parametrize("ct_kind", ["static", "symbols", "unknown", "rank"])
@pytest.mark.parametrize("primal_kind", ["static", "symbols", "unknown", "rank"])
def test_against_numpy(seen, primal, ct_kind, primal_kind):
    check([seen, primal], [ct_kind, primal_kind])


@pytest.mark.parametrize(("seen", "primal"), PAIRS)
@pytest.mark.parametrize("kind", ["static", "symbols", "unknown", "rank"])
@pytest.mark.parametrize("primal_kind", ["static", "symbols"])
def test_with_the_other_operand(seen, primal, kind, primal_kind):
    check([seen, primal, seen], [kind, primal_kind, kind])


@pytest.mark.parametrize(("seen", "primal"), PAIRS)
def test_static_sizes_give_lean_graphs(seen, primal):
    operators = check([seen, primal], ["static", "static"])
    padded = (1,) * (len(seen) - len(primal)) + primal
    summed = any(p == 1 and s != 1 for p, s in zip(padded, seen, strict=True))
    if seen == primal:
        assert operators == []
    assert operators.count("ReduceSum") <= 1
    assert not {"Shape", "NonZero", "Expand", "Reshape"} & set(operators)
    assert ("ReduceSum" in operators) >= summed


def test_the_same_symbol_is_not_summed():
    inputs = [
        helper.make_tensor_value_info("ct", TensorProto.FLOAT, ["n", 3]),
        helper.make_tensor_value_info("primal", TensorProto.FLOAT, ["n", 3]),
    ]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Sum", ["ct", "primal"], ["y"])], "g", inputs, [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    emit = Emitter(Graph(model))
    ct = emit.value("ct")
    assert sum_to(emit, ct, emit.value("primal")) is ct
    assert emit.nodes == []


def test_an_axis_that_the_others_have_at_one_is_not_summed():
    operators = check([(2, 3), (2, 3), (1, 3)], ["unknown", "symbols", "static"])
    # the second axis of the other operand is fixed at 3: the primal's may be 1
    assert "NonZero" in operators
    assert check([(2, 3), (2, 3), (1, 1)], ["unknown", "symbols", "static"]) == []
