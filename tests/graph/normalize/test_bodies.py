"""Vendor and quantised operators in the bodies of If, Loop and Scan."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import igrt
from igrt.errors import UnsupportedOperator
from igrt.graph.normalize import normalize
from igrt.graph.normalize.quantised.policy import is_quantised
from igrt.graph.view import all_graphs

rng = np.random.default_rng(23)


def f(*shape, scale=1.0):
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def session(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def tensor(array, name):
    return numpy_helper.from_array(np.asarray(array), name)


def vendor(op_type, inputs, outputs, **given):
    return helper.make_node(
        op_type, inputs, outputs, name=outputs[0], domain="com.microsoft", **given
    )


def model_of(nodes, inputs, stored, kind=TensorProto.FLOAT, opset=18):
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in inputs.items()
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        infos,
        [helper.make_tensor_value_info("y", kind, None)],
        [tensor(a, n) for n, a in stored.items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports)
    model.ir_version = 9
    return model


def body(nodes, inputs, outputs, stored=(), kind=TensorProto.FLOAT):
    return helper.make_graph(
        nodes,
        "body",
        [helper.make_tensor_value_info(n, k, s) for n, k, s in inputs],
        [helper.make_tensor_value_info(o, kind, None) for o in outputs],
        [tensor(a, n) for n, a in dict(stored).items()],
    )


def gradient(model, feeds, **given):
    y = session(model).run(["y"], feeds)[0]
    ct = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    augmented = igrt.augment(model, of="y", wrt=["x"], **given)
    forward, found = session(augmented).run(["y", "igrt/grad/x"], feeds | {"igrt/cotangent/y": ct})
    if given.get("quantised") != "dequantise":
        np.testing.assert_allclose(forward, y, rtol=2e-5, atol=2e-5 * np.abs(y).max())
    return found


def standard(model):
    normal = normalize(model)
    return all(n.domain in ("", "ai.onnx") for g in all_graphs(normal.graph) for n in g.node)


X, W, B = f(3, 4), f(4, 4, scale=0.5), f(4)
GELU = [vendor("FusedMatMul", ["h", "w"], ["m"], alpha=0.5), vendor("BiasGelu", ["m", "b"], ["v"])]


def plain(count):
    """The block `GELU`, so many times one behind the other in the main graph."""
    nodes, source = [], "x"
    for i in range(count):
        target = "y" if i == count - 1 else f"h{i}"
        nodes.append(vendor("FusedMatMul", [source, "w"], [f"m{i}"], alpha=0.5))
        nodes.append(vendor("BiasGelu", [f"m{i}", "b"], [target]))
        source = target
    return model_of(nodes, {"x": X}, {"w": W, "b": B})


def in_if():
    same = [vendor("FusedMatMul", ["x", "w"], ["m"], alpha=0.5)]
    same.append(vendor("BiasGelu", ["m", "b"], ["v"]))  # both branches use these names
    other = [vendor("QuickGelu", ["x"], ["v"])]
    branches = {
        "then_branch": body(same, [], ["v"], {"b": B}),
        "else_branch": body(other, [], ["v"]),
    }
    node = helper.make_node("If", ["c"], ["y"], name="if", **branches)
    return model_of([node], {"x": X, "c": np.array(True)}, {"w": W})


def in_loop():
    inner = [*GELU, helper.make_node("Identity", ["go"], ["again"])]
    inputs = [("i", TensorProto.INT64, []), ("go", TensorProto.BOOL, []), ("h", 1, [3, 4])]
    graph = body(inner, inputs, ["again", "v"])
    graph.output[0].type.tensor_type.elem_type = TensorProto.BOOL
    node = helper.make_node("Loop", ["n", "c", "x"], ["y"], name="loop", body=graph)
    return model_of([node], {"x": X}, {"w": W, "b": B, "n": np.int64(2), "c": np.array(True)})


def in_scan():
    graph = body(GELU, [("h", 1, [3, 4]), ("t", 1, [1])], ["v"])
    node = helper.make_node("Scan", ["x", "ts"], ["y"], name="s", body=graph, num_scan_inputs=1)
    return model_of([node], {"x": X}, {"w": W, "b": B, "ts": f(2, 1)})


def in_two():
    """A Scan in an If."""
    graph = body(GELU, [("h", 1, [3, 4]), ("t", 1, [1])], ["v"])
    scan = helper.make_node("Scan", ["x", "ts"], ["r"], name="s", body=graph, num_scan_inputs=1)
    branches = {
        "then_branch": body([scan], [], ["r"]),
        "else_branch": body([helper.make_node("Neg", ["x"], ["r2"])], [], ["r2"]),
    }
    node = helper.make_node("If", ["c"], ["y"], name="if", **branches)
    return model_of([node], {"x": X, "c": np.array(True)}, {"w": W, "b": B, "ts": f(2, 1)})


BODIES = {"If": (in_if, 1), "Loop": (in_loop, 2), "Scan": (in_scan, 2), "Scan in If": (in_two, 2)}


@pytest.mark.parametrize("where", BODIES)
def test_a_body_is_lowered_like_the_main_graph(where):
    build, count = BODIES[where]
    model = build()
    assert standard(model)
    feeds = {"x": X}
    given = {"c": np.array(True)} if "If" in where else {}
    # the same operations in the same order: float32 rounding of sums of 4 terms
    np.testing.assert_allclose(
        gradient(model, feeds | given), gradient(plain(count), feeds), rtol=1e-5, atol=1e-6
    )


def test_the_other_branch_too():
    found = gradient(in_if(), {"x": X, "c": np.array(False)})
    want = gradient(model_of([vendor("QuickGelu", ["x"], ["y"])], {"x": X}, {}), {"x": X})
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


def test_onnxruntimes_addition_to_the_default_domain_in_a_body():
    norm = helper.make_node("SimplifiedLayerNormalization", ["x", "g"], ["v"], name="n", axis=-1)
    branches = {
        "then_branch": body([norm], [], ["v"]),
        "else_branch": body([helper.make_node("Neg", ["x"], ["v2"])], [], ["v2"]),
    }
    node = helper.make_node("If", ["c"], ["y"], name="if", **branches)
    model = model_of([node], {"x": X, "c": np.array(True)}, {"g": f(4)})
    assert standard(model)
    assert np.abs(gradient(model, {"x": X, "c": np.array(True)})).max() > 0


def test_a_refused_operator_in_a_body_is_named_with_its_reason():
    inner = vendor("PackedAttention", ["x", "w"], ["v"], num_heads=1)
    branches = {
        "then_branch": body([inner], [], ["v"]),
        "else_branch": body([helper.make_node("Neg", ["x"], ["v2"])], [], ["v2"]),
    }
    node = helper.make_node("If", ["c"], ["y"], name="if", **branches)
    model = model_of([node], {"x": X, "c": np.array(True)}, {"w": W})
    with pytest.raises(UnsupportedOperator, match=r"(?s)If.*PackedAttention.*packs the tokens"):
        igrt.augment(model, wrt=["x"])


# -- whole numbers ---------------------------------------------------------------------------------

S, Z, T = np.float32(0.03), np.uint8(128), np.float32(0.02)
STORED = {"s": S, "z": Z, "t": T, "w8": rng.integers(-128, 128, (4, 4)).astype(np.int8)}
STORED |= {"ws": np.float32(0.008), "wz": np.int8(0)}


def rounding(source, target, scale="s"):
    return helper.make_node("QuantizeLinear", [source, scale, "z"], [target], name=target)


def real(source, target, scale="s"):
    return helper.make_node("DequantizeLinear", [source, scale, "z"], [target], name=target)


def product(source, target):
    inputs = [source, "s", "z", "w8", "ws", "wz", "t", "z"]
    return helper.make_node("QLinearMatMul", inputs, [target], name=target)


def flat():
    nodes = [rounding("x", "q"), product("q", "p"), real("p", "y", "t")]
    return model_of(nodes, {"x": X}, STORED)


def around_the_product():
    """The quantiser inside of the body, with the rest."""
    inner = [rounding("x", "q"), product("q", "p"), real("p", "v", "t")]
    return [], inner, []


def only_the_product():
    """Whole numbers enter and leave the body."""
    return [rounding("x", "q")], [product("q", "v")], [real("r", "y", "t")]


def behind_the_quantiser():
    return [rounding("x", "q")], [product("q", "p"), real("p", "v", "t")], []


@pytest.mark.parametrize("policy", ["straight_through", "dequantise"])
@pytest.mark.parametrize(
    "where", [around_the_product, only_the_product, behind_the_quantiser], ids=lambda w: w.__name__
)
def test_whole_numbers_in_a_branch(where, policy):
    before, inner, after = where()
    kind = TensorProto.UINT8 if after else TensorProto.FLOAT
    branches = {
        "then_branch": body(inner, [], ["v"], kind=kind),
        "else_branch": body(inner, [], ["v"], kind=kind),
    }
    node = helper.make_node("If", ["c"], ["r" if after else "y"], name="if", **branches)
    model = model_of([*before, node, *after], {"x": X, "c": np.array(True)}, STORED)
    assert is_quantised(model)
    found = gradient(model, {"x": X, "c": np.array(True)}, quantised=policy)
    want = gradient(flat(), {"x": X}, quantised=policy)
    assert np.abs(want).max() > 0
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("policy", ["straight_through", "dequantise"])
def test_whole_numbers_as_the_state_of_a_loop(policy):
    step = [
        helper.make_node(
            "QLinearMatMul", ["h", "s", "z", "w8", "ws", "wz", "s", "z"], ["p"], name="p"
        ),
        helper.make_node("Identity", ["go"], ["again"]),
    ]
    kind = TensorProto.UINT8
    inputs = [("i", TensorProto.INT64, []), ("go", TensorProto.BOOL, []), ("h", kind, [3, 4])]
    graph = body(step, inputs, ["again", "p"], kind=kind)
    graph.output[0].type.tensor_type.elem_type = TensorProto.BOOL
    nodes = [
        rounding("x", "q"),
        helper.make_node("Loop", ["n", "c", "q"], ["r"], name="loop", body=graph),
        real("r", "y"),
    ]
    stored = STORED | {"n": np.int64(2), "c": np.array(True)}
    twice = [rounding("x", "q0")]
    for i in range(2):
        inputs = [f"q{i}", "s", "z", "w8", "ws", "wz", "s", "z"]
        twice.append(helper.make_node("QLinearMatMul", inputs, [f"q{i + 1}"], name=f"q{i + 1}"))
    twice.append(real("q2", "y"))
    found, want = (
        gradient(model_of(ns, {"x": X}, st), {"x": X}, quantised=policy)
        for ns, st in ((nodes, stored), (twice, STORED))
    )
    assert np.abs(want).max() > 0
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("policy", ["straight_through", "dequantise"])
def test_whole_numbers_two_bodies_away(policy):
    inner = {
        "then_branch": body([product("q", "p"), real("p", "v", "t")], [], ["v"]),
        "else_branch": body([real("q", "v2")], [], ["v2"]),
    }
    nested = [helper.make_node("If", ["c"], ["u"], name="inner", **inner)]
    outer = {
        "then_branch": body(nested, [], ["u"]),
        "else_branch": body([helper.make_node("Neg", ["x"], ["u2"])], [], ["u2"]),
    }
    nodes = [rounding("x", "q"), helper.make_node("If", ["c"], ["y"], name="outer", **outer)]
    model = model_of(nodes, {"x": X, "c": np.array(True)}, STORED)
    found = gradient(model, {"x": X, "c": np.array(True)}, quantised=policy)
    want = gradient(flat(), {"x": X}, quantised=policy)
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


CORPUS = Path(__file__).parents[4] / "shared" / "data" / "corpus"


@pytest.mark.parametrize("policy", ["straight_through", "dequantise"])
def test_a_recurrence_whose_states_are_whole_numbers(policy):
    """An LSTM in eight bits as tract's authors wrote it: a Scan, counts multiplied in between."""
    pytest.importorskip("torch", reason="the oracle is written in it")
    import fake_quantised

    if not (CORPUS / "tract_qlstm.onnx").exists():
        pytest.skip("the corpus is not there")
    model = onnx.load(CORPUS / "tract_qlstm.onnx")
    x = np.random.default_rng(0).standard_normal((7, 10)).astype(np.float32)
    ct = np.random.default_rng(1).standard_normal((7, 6)).astype(np.float32)
    rounds = policy == "straight_through"
    y_torch, want = fake_quantised.gradient(model, x, ct, of="output", wrt="input", rounds=rounds)
    augmented = session(igrt.augment(model, quantised=policy))
    feeds = {"input": x, "igrt/cotangent/output": ct}
    y, got = augmented.run(["output", "igrt/grad/input"], feeds)
    if rounds:
        np.testing.assert_array_equal(y, session(model).run(None, {"input": x})[0])
    np.testing.assert_allclose(y, y_torch, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_whole_numbers_that_cannot_be_followed_are_refused_by_name():
    nodes = [
        rounding("x", "q"),
        helper.make_node("ReduceMax", ["q"], ["m"], name="largest", keepdims=0),
        real("m", "y"),
    ]
    model = model_of(nodes, {"x": X}, STORED)
    with pytest.raises(UnsupportedOperator, match=r"(?s)ReduceMax.*largest.*whole numbers"):
        igrt.augment(model)


def test_whole_numbers_in_steps_that_differ_are_refused_by_name():
    branches = {
        "then_branch": body([rounding("x", "v")], [], ["v"], kind=TensorProto.UINT8),
        "else_branch": body([rounding("x", "v2", "t")], [], ["v2"], kind=TensorProto.UINT8),
    }
    nodes = [helper.make_node("If", ["c"], ["r"], name="if", **branches), real("r", "y")]
    model = model_of(nodes, {"x": X, "c": np.array(True)}, STORED)
    with pytest.raises(UnsupportedOperator, match=r"(?s)If.*`v2`, whole numbers in steps"):
        igrt.augment(model, wrt=["x"])
