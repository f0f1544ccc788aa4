"""Straight through the rounding, exactly."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import igrt
from igrt.errors import InputError, NoGradientPath

F = np.float32
SCALE, ZERO = F(0.5), np.uint8(4)
# quantised to uint8: (0 - 4)/2 = -2 up to (255 - 4)/2 = 125.5 is what can be represented, and what
# rounds to that is half a step more
X = np.array([-3.0, -2.25, -2.0, -1.9, 0.0, 0.3, 1.0, 125.4, 125.5, 126.0], dtype=F)
CT = np.arange(1, 11, dtype=F)
INSIDE = np.array([0, 1, 1, 1, 1, 1, 1, 1, 1, 0], dtype=F)


def model(nodes, stored, x=X, of="y", opset=18, rank=1, inputs=None, domains=()):
    inputs = inputs or [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)]
    graph = helper.make_graph(
        nodes,
        "g",
        inputs,
        [helper.make_tensor_value_info(of, TensorProto.FLOAT, [None] * rank)],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in stored.items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    made = helper.make_model(graph, opset_imports=imports)
    made.ir_version = 10
    return made


def run(made, feeds, names=None):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(made.SerializeToString(), options).run(names, feeds)


def gradient(made, x, ct, of="y", quantised="straight_through"):
    augmented = igrt.augment(made, wrt=["x"], of=of, quantised=quantised)
    return run(augmented, {"x": x, f"igrt/cotangent/{of}": ct}, ["igrt/grad/x"])[0]


def pair(scale="s", zero="z", domain="", **given):
    return [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], domain=domain, **given),
        helper.make_node("DequantizeLinear", ["q", scale, zero], ["y"], domain=domain, **given),
    ]


@pytest.mark.parametrize("opset", [10, 13, 18, 21, 23])
def test_a_pair_passes_what_is_inside_the_range(opset):
    made = model(pair(), {"s": SCALE, "z": ZERO}, opset=opset)
    np.testing.assert_array_equal(gradient(made, X, CT), CT * INSIDE)


def test_a_pair_of_the_vendors_domain():
    made = model(pair(domain="com.microsoft"), {"s": SCALE, "z": ZERO})
    np.testing.assert_array_equal(gradient(made, X, CT), CT * INSIDE)


def test_signed_bytes():
    made = model(pair(), {"s": SCALE, "z": np.int8(-3)})
    inside = (np.rint(X / SCALE) - 3 >= -128) & (np.rint(X / SCALE) - 3 <= 127)
    assert 0 < inside.sum() < len(X)
    np.testing.assert_array_equal(gradient(made, X, CT), CT * inside)


def test_sixteen_bits():
    made = model(pair(), {"s": F(0.003), "z": np.uint16(600)}, opset=21)
    inside = (np.rint(X / F(0.003)) >= -600) & (np.rint(X / F(0.003)) <= 65535 - 600)
    assert 0 < inside.sum() < len(X)
    np.testing.assert_array_equal(gradient(made, X, CT), CT * inside)


def test_one_scale_for_each_index_of_an_axis():
    x = np.array([[-3, 0, 200], [-3, 0, 200], [-3, 0, 200]], dtype=F)
    stored = {"s": np.array([0.5, 1, 2], dtype=F), "z": np.array([4, 0, 2], dtype=np.uint8)}
    ct = np.arange(1, 10, dtype=F).reshape(3, 3)
    for axis, broadcast in ((1, (1, 3)), (0, (3, 1))):
        made = model(pair(axis=axis), stored, x, rank=2)
        s, z = (stored[n].astype(F).reshape(broadcast) for n in "sz")
        inside = (np.rint(x / s) + z >= 0) & (np.rint(x / s) + z <= 255)
        assert 0 < inside.sum() < x.size
        np.testing.assert_array_equal(gradient(made, x, ct), ct * inside)


def test_another_scale_behind_scales_the_gradient():
    made = model(pair("t"), {"s": SCALE, "t": F(2.0), "z": ZERO})
    np.testing.assert_array_equal(gradient(made, X, CT), CT * INSIDE * 4)


def test_scales_computed_at_run_time():
    nodes = [helper.make_node("Mul", ["a", "a"], ["s"]), *pair()]
    made = model(nodes, {"a": F(np.sqrt(0.5)), "z": ZERO})
    x = X + F(1e-3) * np.sign(X)  # off the ends, which (√½)² misses by a rounding
    want = CT * ((x > -2.25) & (x < 125.75))
    np.testing.assert_array_equal(gradient(made, x, CT), want)


def test_what_moves_whole_numbers_is_passed_through():
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("Reshape", ["q", "shape"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["m"], kernel_shape=[2], strides=[2]),
        helper.make_node("DequantizeLinear", ["m", "s", "z"], ["y"]),
    ]
    made = model(nodes, {"s": SCALE, "z": ZERO, "shape": np.array([1, 1, 10])}, rank=3)
    ct = np.array([[[1, 2, 3, 4, 5]]], dtype=F)
    # the maximum of each two; the first where rounding makes them equal
    want = np.array([0, 0, 0, 2, 0, 3, 0, 4, 5, 0], dtype=F)
    want[[0, 1]] = [0, 0]  # both give -2, the first from out of the range
    want[[2, 3]] = [2, 0]  # both round to -2
    got = gradient(made, X, ct)
    np.testing.assert_array_equal(got, want)


def test_the_gradient_of_the_scale():
    node = helper.make_node("DequantizeLinear", ["q", "x", "z"], ["y"], axis=0)
    q = np.array([[1, 9], [7, 3]], dtype=np.uint8)
    x = np.array([0.5, 2], dtype=F)
    made = model([node], {"q": q, "z": np.array([4, 1], dtype=np.uint8)}, x, rank=2)
    ct = np.array([[1, 2], [3, 4]], dtype=F)
    want = (ct * (q.astype(F) - [[4], [1]])).sum(axis=1)
    np.testing.assert_array_equal(gradient(made, x, ct), want)


def test_dynamic_quantisation_is_the_float_product_of_rounded_operands():
    rng = np.random.default_rng(0)
    w = rng.integers(-127, 127, (10, 3)).astype(np.int8)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", "w", "z", "wz"], ["i"]),
        helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["s", "ws"], ["scale"]),
        helper.make_node("Mul", ["f", "scale"], ["y"]),
    ]
    made = model(nodes, {"w": w, "wz": np.int8(3), "ws": F(0.01)})
    ct = np.array([1, -2, 3], dtype=F)
    want = ((w.astype(F) - 3) * F(0.01)) @ ct
    # two products with the step of x, which cancel but for float32 rounding
    np.testing.assert_allclose(gradient(made, X, ct), want, rtol=1e-5, atol=1e-6)
    # as onnxruntime computes it: whole numbers below 2**24 are exact in float32
    augmented = igrt.augment(made, wrt=["x"])
    got = run(augmented, {"x": X, "igrt/cotangent/y": ct}, ["y"])[0]
    np.testing.assert_allclose(got, run(made, {"x": X})[0], rtol=1e-6)


def test_dequantise_takes_the_rounding_out_and_keeps_the_ends():
    made = model(pair(), {"s": SCALE, "z": ZERO})
    augmented = igrt.augment(made, wrt=["x"], quantised="dequantise")
    assert "QuantizeLinear" not in {n.op_type for n in augmented.graph.node}
    y, g = run(augmented, {"x": X, "igrt/cotangent/y": CT}, ["y", "igrt/grad/x"])
    np.testing.assert_array_equal(y, np.clip(X, -2, 125.5))
    strictly = (X > -2) & (X < 125.5)
    np.testing.assert_array_equal(g[strictly], CT[strictly])
    assert not g[(X < -2) | (X > 125.5)].any()


def test_dequantise_stores_weights_as_floats():
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["f"], axis=1),
        helper.make_node("MatMul", ["x", "f"], ["y"]),
    ]
    w = np.arange(30, dtype=np.int8).reshape(10, 3)
    s, z = np.array([0.5, 1, 2], dtype=F), np.array([0, 1, 2], dtype=np.int8)
    made = model(nodes, {"w": w, "s": s, "z": z})
    augmented = igrt.augment(made, wrt=["x"], quantised="dequantise")
    stored = {t.name: numpy_helper.to_array(t) for t in augmented.graph.initializer}
    np.testing.assert_array_equal(stored["f"], (w.astype(F) - z) * s)
    assert "w" not in stored


def test_an_unknown_policy_is_refused():
    made = model(pair(), {"s": SCALE, "z": ZERO})
    with pytest.raises(InputError, match="straight_through"):
        igrt.augment(made, quantised="round")


def test_a_cast_to_float_counts_in_steps_of_one():
    nodes = [*pair()[:1], helper.make_node("Cast", ["q"], ["y"], to=TensorProto.FLOAT)]
    made = model(nodes, {"s": SCALE, "z": ZERO})
    np.testing.assert_array_equal(gradient(made, X, CT), CT * INSIDE * 2)


def test_whole_numbers_used_as_such_still_end_the_path():
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("BitShift", ["q", "one"], ["b"], direction="LEFT"),
        helper.make_node("Cast", ["b"], ["y"], to=TensorProto.FLOAT),
    ]
    made = model(nodes, {"s": SCALE, "z": ZERO, "one": np.uint8(1)})
    with pytest.raises(NoGradientPath, match="BitShift"):
        igrt.augment(made, wrt=["x"])


def test_the_result_says_what_was_done():
    nodes = [*pair()[:1], helper.make_node("DequantizeLinear", ["q", "s", "z"], ["f"])]
    nodes.append(helper.make_node("ReduceSum", ["f"], ["y"], keepdims=0))
    made = model(nodes, {"s": SCALE, "z": ZERO}, rank=0)
    for policy in ("straight_through", "dequantise"):
        result = igrt.explain(made, X, provider="cpu", quantised=policy)
        assert result.provenance["quantised"] == policy
    plain = model([helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)], {}, rank=0)
    assert "quantised" not in igrt.explain(plain, X, provider="cpu").provenance


@pytest.mark.parametrize("size", [4, 5])
def test_scales_of_blocks_get_the_sum_over_their_block(size):
    """The last block may be cut short."""
    q = np.arange(2 * size, dtype=np.uint8).reshape(2, size)
    scale = np.array([[0.5, 1.0, 2.0], [3.0, 0.25, 1.5]], dtype=F)[:, : -(-size // 2)]
    node = helper.make_node("DequantizeLinear", ["q", "s"], ["y"], axis=1, block_size=2)
    inputs = [helper.make_tensor_value_info("s", TensorProto.FLOAT, scale.shape)]
    made = igrt.augment(model([node], {"q": q}, opset=21, rank=2, inputs=inputs), wrt=["s"])
    ct = np.arange(1, 2 * size + 1, dtype=F).reshape(2, size)
    (got,) = run(made, {"s": scale, "igrt/cotangent/y": ct}, ["igrt/grad/s"])
    want = np.add.reduceat(ct * q, np.arange(0, size, 2), axis=1)
    np.testing.assert_allclose(got, want, rtol=1e-6)  # one division by the scale in float32
