"""Whole-number arithmetic against onnxruntime's kernels, and small models that it quantised."""

import itertools
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import igrt
from igrt.errors import UnsupportedOperator
from igrt.graph.normalize import normalize

# -- single operators ------------------------------------------------------------------------------

rng = np.random.default_rng(11)


def f(*shape, scale=1.0):
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def u8(*shape):
    return rng.integers(0, 256, shape).astype(np.uint8)


def i8(*shape):
    return rng.integers(-128, 128, shape).astype(np.int8)


S, Z, T, Y = np.float32(0.02), np.uint8(120), np.float32(0.05), np.uint8(130)
COLUMNS = np.linspace(0.01, 0.03, 5).astype(np.float32)
X4 = u8(2, 3, 6, 6)


def nibbles(rows, width, block, bits=4):
    per_byte = 8 // bits
    return rng.integers(0, 256, (rows, -(-width // block), block // per_byte)).astype(np.uint8)


GROUPS = np.repeat([1, 0, 1, 0], 16).astype(np.int32)
CASES = {
    "QLinearConv": (
        [
            X4,
            S,
            Z,
            i8(5, 3, 3, 3),
            COLUMNS,
            np.zeros(5, np.int8),
            T,
            Y,
            np.arange(5, dtype=np.int32),
        ],
        {"pads": [1, 1, 1, 1], "strides": [2, 2]},
        "",
    ),
    "QLinearMatMul": ([u8(4, 6), S, Z, u8(6, 5), S, Y, T, Z], {}, ""),
    "QLinearMatMul by column": (
        [u8(4, 6), S, Z, i8(6, 5), COLUMNS, np.zeros(5, np.int8), T, Z],
        {},
        "",
    ),
    "QGemm": (
        [u8(4, 6), S, Z, i8(5, 6), S, np.int8(0), np.arange(5, dtype=np.int32), T, Y],
        {"transB": 1, "alpha": 0.5},
    ),
    "QGemm to float": ([u8(4, 6), S, Z, i8(6, 5), S, np.int8(3), None], {}),
    "QLinearAdd": ([X4, S, Z, u8(3, 1, 1), T, Y, T, Y], {}),
    "QLinearMul": ([X4, S, Z, u8(3, 1, 1), T, Y, T, Y], {}),
    "QLinearSigmoid": ([X4, S, Z, np.float32(1 / 256), np.uint8(0)], {}),
    "QLinearLeakyRelu": ([X4, S, Z, S, Z], {"alpha": 0.2}),
    "QLinearAveragePool": ([X4, S, Z, S, Z], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "QLinearGlobalAveragePool": ([X4, S, Z, S, Z], {}),
    "QLinearConcat": ([T, Y, u8(2, 3), S, Z, u8(2, 4), T, Z], {"axis": 1}),
    "QLinearSoftmax": (
        [u8(4, 6), S, Z, np.float32(1 / 256), np.uint8(0)],
        {"axis": 1, "opset": 13},
    ),
    "QLinearWhere": ([rng.random((3, 1)) < 0.5, u8(3, 4), S, Z, u8(3, 4), T, Z, T, Y], {}),
    "MatMulIntegerToFloat": ([u8(4, 6), i8(6, 5), S, COLUMNS, Z, None, f(5)], {}),
    "DynamicQuantizeMatMul": ([f(4, 6), i8(6, 5), COLUMNS, None, f(5)], {}),
    "MatMulNBits": (
        [f(4, 40), nibbles(5, 40, 32), f(10)],
        {"K": 40, "N": 5, "bits": 4, "block_size": 32},
    ),
    "MatMulNBits with zeros": (
        [f(4, 96), nibbles(5, 96, 32), f(15), rng.integers(0, 256, (5, 2)).astype(np.uint8)],
        {"K": 96, "N": 5, "bits": 4, "block_size": 32},
    ),
    "MatMulNBits of eight bits": (
        [f(4, 64), nibbles(5, 64, 32, 8), f(10)],
        {"K": 64, "N": 5, "bits": 8, "block_size": 32},
    ),
    "MatMulNBits of two bits": (
        [f(4, 64), nibbles(5, 64, 32, 2), f(10)],
        {"K": 64, "N": 5, "bits": 2, "block_size": 32},
    ),
    "MatMulNBits with real zeros": (
        [f(4, 64), nibbles(5, 64, 32), f(10), 8 + f(10)],
        {"K": 64, "N": 5, "bits": 4, "block_size": 32},
    ),
    "MatMulNBits with a bias": (
        [f(4, 64), nibbles(5, 64, 32), f(10), None, None, f(5)],
        {"K": 64, "N": 5, "bits": 4, "block_size": 32},
    ),
    "MatMulNBits in groups": (
        [f(4, 64), nibbles(5, 64, 32), f(10), None, GROUPS],
        {"K": 64, "N": 5, "bits": 4, "block_size": 32},
    ),
    "MatMulBnb4 of normal floats": (
        [f(4, 40), u8(5 * 20), np.abs(f(13)) + 0.1],
        {"K": 40, "N": 5, "block_size": 16, "quant_type": 1},
    ),
    "MatMulBnb4 of floats": (
        [f(4, 40), u8(5 * 20), np.abs(f(13)) + 0.1],
        {"K": 40, "N": 5, "block_size": 16, "quant_type": 0},
    ),
    "QLinearConv with channels last": (
        [u8(2, 6, 6, 3), S, Z, i8(5, 3, 3, 3), COLUMNS, np.zeros(5, np.int8), T, Y],
        {"pads": [1, 1, 1, 1], "channels_last": 1},
    ),
    "QLinearAveragePool with channels last": (
        [u8(2, 6, 6, 3), S, Z, S, Z],
        {"kernel_shape": [2, 2], "strides": [2, 2], "channels_last": 1},
    ),
    "QLinearGlobalAveragePool with channels last": (
        [u8(2, 6, 6, 3), S, Z, S, Z],
        {"channels_last": 1},
    ),
    "NhwcMaxPool": ([u8(2, 6, 6, 3)], {"kernel_shape": [3, 3], "strides": [2, 2]}),
    "QAttention": (
        [u8(2, 5, 8), i8(8, 24), f(24), S, np.float32(0.01), None, Z, np.int8(0)],
        {"num_heads": 2},
    ),
}


def session(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def saturates():
    """Whether onnxruntime adds up products of whole numbers in 16 bits here, as without VNNI."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (uint8[1,2] a, int8[2,1] b) => (int32[1,1] y) '
        "{ y = MatMulInteger(a, b) }"
    )
    feeds = {"a": np.full((1, 2), 255, np.uint8), "b": np.full((2, 1), 127, np.int8)}
    return session(model).run(None, feeds)[0].item() != 2 * 255 * 127


exact_products = pytest.mark.skipif(
    saturates(), reason="onnxruntime's products of 8 bits saturate on a processor without VNNI"
)


def one_node(case, **changed):
    """A model of one operator; the first array that is no scalar is fed."""
    arrays, given, *domain = CASES[case]
    names = [f"i{i}" if a is not None else "" for i, a in enumerate(arrays)]
    fed = next(i for i, a in enumerate(arrays) if a is not None and a.ndim and a.dtype != bool)
    node = helper.make_node(
        case.split()[0], names, ["y"], name="node", domain=domain[0] if domain else "com.microsoft"
    )
    given = given | changed
    node.attribute.extend(helper.make_attribute(n, a) for n, a in given.items())
    kind = helper.np_dtype_to_tensor_dtype(arrays[fed].dtype)
    floats = case.startswith(("MatMulB", "MatMulI", "MatMulN", "Dynamic", "QAttention", "QGemm to"))
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(names[fed], kind, arrays[fed].shape)],
        [
            helper.make_tensor_value_info(
                "y", TensorProto.FLOAT if floats else TensorProto.UINT8, None
            )
        ],
        [
            numpy_helper.from_array(np.asarray(a), n)
            for i, (a, n) in enumerate(zip(arrays, names, strict=True))
            if a is not None and i != fed
        ],
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports)
    model.ir_version = 10
    return model, {names[fed]: arrays[fed]}


@exact_products
@pytest.mark.parametrize("case", CASES)
def test_the_values_are_those_of_the_kernel(case):
    model, feeds = one_node(case)
    lowered = normalize(model)
    assert all(n.domain == "" for n in lowered.graph.node)
    want, got = (session(m).run(None, feeds)[0] for m in (model, lowered))
    if want.dtype == np.uint8:
        # a value half way between two steps may go either way
        difference = np.abs(want.astype(int) - got.astype(int))
        assert difference.max() <= 1
        assert (difference == 0).mean() > 0.9
        assert np.unique(want).size > 3  # and not everything saturates
    else:
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())


def test_four_bits_pass_the_gradient_of_the_weights_that_they_stand_for():
    model, feeds = one_node("MatMulNBits")
    (x,) = feeds.values()
    columns = [
        session(model).run(None, {"i0": np.eye(40, dtype=np.float32)[i : i + 4]})[0]
        for i in range(0, 40, 4)
    ]
    ct = f(4, 5)
    got = session(igrt.augment(model, wrt=["i0"])).run(
        ["igrt/grad/i0"], {"i0": x, "igrt/cotangent/y": ct}
    )[0]
    np.testing.assert_allclose(got, ct @ np.concatenate(columns).T, rtol=1e-4, atol=1e-4)


def test_the_mean_for_which_onnxruntime_has_no_kernel():
    x = u8(2, 3, 4)
    node = helper.make_node(
        "QLinearReduceMean",
        ["x", "s", "z", "t", "y0"],
        ["y"],
        domain="com.microsoft",
        axes=[2],
        keepdims=0,
    )
    stored = {"s": S, "z": Z, "t": T, "y0": Y}
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in stored.items()],
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports)
    model.ir_version = 10
    got = session(normalize(model)).run(None, {"x": x})[0]
    real = ((x.astype(np.float64) - Z) * S).mean(axis=2)
    want = np.clip(np.rint(real / T) + Y, 0, 255)
    assert np.abs(got - want).max() <= 1  # half way between two steps


@exact_products
def test_channels_behind_have_the_gradient_of_channels_in_front():
    x, w = f(2, 6, 6, 3, scale=1.5), i8(5, 3, 3, 3)
    stored = {"s": S, "z": Z, "w": w, "ws": np.float32(0.01), "wz": np.int8(0), "t": T, "y0": Y}
    found = []
    for last in (0, 1):
        vendor = {"domain": "com.microsoft"} if last else {}
        conv = {"pads": [1, 1, 1, 1], "channels_last": 1} if last else {"pads": [1, 1, 1, 1]}
        pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
        inputs = ["q", "s", "z", "w", "ws", "wz", "t", "y0"]
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="q"),
            helper.make_node("QLinearConv", inputs, ["c"], name="c", **conv, **vendor),
            helper.make_node(
                "NhwcMaxPool" if last else "MaxPool", ["c"], ["m"], name="m", **pool, **vendor
            ),
            helper.make_node("DequantizeLinear", ["m", "t", "y0"], ["y"], name="y"),
        ]
        fed = x if last else x.transpose(0, 3, 1, 2)
        model = plain_model(nodes, {"x": fed}, stored)
        ct = np.random.default_rng(4).standard_normal((2, 3, 3, 5)).astype(np.float32)
        cts = ct if last else ct.transpose(0, 3, 1, 2)
        y, gradient = slope(model, "x", fed, "y", cts)
        np.testing.assert_allclose(y, session(model).run(None, {"x": fed})[0], atol=T)
        found.append(gradient if last else gradient.transpose(0, 2, 3, 1))
    assert np.abs(found[0]).max() > 0
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)


def test_steps_along_an_axis_that_moves_are_refused_by_name():
    stored = {"s": np.float32([0.1, 0.2, 0.3]), "z": np.zeros(3, np.int8)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="q", axis=0),
        helper.make_node("Transpose", ["q"], ["t"], name="turned", perm=[1, 0]),
        helper.make_node("DequantizeLinear", ["t", "s", "z"], ["y"], name="y", axis=1),
    ]
    x = f(3, 4)
    model = plain_model(nodes, {"x": x}, stored)
    np.testing.assert_array_equal(
        *(session(m).run(None, {"x": x})[0] for m in (model, normalize(model)))
    )
    with pytest.raises(UnsupportedOperator, match=r"(?s)Transpose.*turned.*whole numbers"):
        igrt.augment(model)


def test_the_type_of_a_quantiser_without_a_zero_is_not_forgotten():
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"], name="q", output_dtype=3),
        helper.make_node("Transpose", ["q"], ["t"], name="turned", perm=[1, 0]),
        helper.make_node("DequantizeLinear", ["t", "s"], ["y"], name="y"),
    ]
    x = f(3, 4)
    model = plain_model(nodes, {"x": x}, {"s": np.float32(0.02)}, 21)
    np.testing.assert_array_equal(
        *(session(m).run(None, {"x": x})[0] for m in (model, normalize(model)))
    )
    with pytest.raises(UnsupportedOperator, match=r"(?s)Transpose.*turned.*whole numbers"):
        igrt.augment(model)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zeros", [False, True])
def test_rows_of_a_table_in_few_bits(bits, zeros):
    data = u8(7, 48 * bits // 8)
    arrays = {"data": data, "scales": f(7, 3)}
    if zeros:
        arrays["zeros"] = u8(7, -(-3 * bits // 8))
    node = helper.make_node(
        "GatherBlockQuantized",
        ["data", "i", *list(arrays)[1:]],
        ["y"],
        domain="com.microsoft",
        bits=bits,
        block_size=16,
        quantize_axis=1,
        gather_axis=0,
    )
    model = plain_model([node], {"i": np.array([[3, 0], [6, 2]])}, arrays)
    feeds = {"i": np.array([[3, 0], [6, 2]])}
    normal = normalize(model)
    assert all(n.domain == "" for n in normal.graph.node)
    want, got = (session(m).run(None, feeds)[0] for m in (model, normal))
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_embeddings_in_eight_bits():
    ids = np.array([[1, 2, 3], [4, 0, 0]], np.int32)
    segments = np.array([[0, 0, 1], [1, 1, 0]], np.int32)
    tables = [u8(5, 8), u8(6, 8), u8(2, 8), u8(8), u8(8)]
    scales = [np.float32(s) for s in (0.02, 0.01, 0.03, 0.01, 0.005)]
    zeros = [np.uint8(z) for z in (120, 130, 110, 5, 128)]
    arrays = {f"a{i}": a for i, a in enumerate([*tables, *scales, *zeros])}
    names = list(arrays)
    node = helper.make_node(
        "QEmbedLayerNormalization",
        ["ids", "segments", *names[:5], "", *names[5:]],
        ["y", "count"],
        domain="com.microsoft",
        epsilon=1e-3,
    )
    feeds = {"ids": ids, "segments": segments}
    model = plain_model([node], feeds, arrays)
    normal = normalize(model)
    assert all(n.domain == "" for n in normal.graph.node)
    want, got = (session(m).run(["y"], feeds)[0] for m in (model, normal))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@exact_products
@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_a_recurrence_in_eight_bits(direction, columns):
    ways = 1 + (direction == "bidirectional")
    size, hidden = 6, 8
    shape = (ways, 4 * hidden) if columns else (ways,)
    w, r = (i8(ways, n, 4 * hidden) for n in (size, hidden))
    scales = [np.full(shape, s, np.float32) for s in (0.004, 0.004)]
    if columns:
        scales = [s * np.linspace(0.5, 1, 4 * hidden, dtype=np.float32) for s in scales]
    zeros = [np.zeros(shape, np.int8)] * 2
    bias, x = f(ways, 8 * hidden, scale=0.1), f(7, 3, size)
    arrays = {"w": w, "r": r, "b": bias, "ws": scales[0], "wz": zeros[0]}
    arrays |= {"rs": scales[1], "rz": zeros[1]}
    names = ["x", "w", "r", "b", "", "", "", "", "ws", "wz", "rs", "rz"]
    node = helper.make_node(
        "DynamicQuantizeLSTM",
        names,
        ["y"],
        domain="com.microsoft",
        hidden_size=hidden,
        direction=direction,
    )
    model = plain_model([node], {"x": x}, arrays)
    normal = normalize(model)
    assert all(n.domain == "" for n in normal.graph.node)
    want, got = (session(m).run(None, {"x": x})[0] for m in (model, normal))
    # a state, of size at most 1, is rounded by the kernel in every step to half of 1/255 of the
    # range; the gates see that times the sum of |R| over 8 columns of at most 0.5
    assert np.abs(got - want).max() <= 0.5 * 2 / 255 * 8 * 0.5
    # the same as the LSTM of the real weights
    turned = [
        (q.astype(np.float32) * (s[:, None] if columns else s[:, None, None])).transpose(0, 2, 1)
        for q, s in zip((w, r), scales, strict=True)
    ]
    plain = helper.make_node(
        "LSTM", ["x", "w", "r", "b"], ["y"], hidden_size=hidden, direction=direction
    )
    real = plain_model([plain], {"x": x}, {"w": turned[0], "r": turned[1], "b": bias})
    ct = f(*want.shape)
    found = [
        session(igrt.augment(m, quantised="dequantise")).run(
            ["igrt/grad/x"], {"x": x, "igrt/cotangent/y": ct}
        )[0]
        for m in (model, real)
    ]
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opset", [11, 18, 21])
@pytest.mark.parametrize("kind", [np.int16, np.uint16])
def test_onnxruntimes_own_quantisers_of_sixteen_bits(kind, opset):
    zero = np.asarray(300, kind)
    arrays = {"s": np.float32(2e-4), "z": zero, "t": np.float32(3e-4)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], domain="com.microsoft"),
        helper.make_node("DequantizeLinear", ["q", "t", "z"], ["y"], domain="com.microsoft"),
    ]
    x = 8 * f(4, 5)  # some lie beyond the ends of the range
    model = plain_model(nodes, {"x": x}, arrays, opset)
    ct = f(4, 5)
    augmented = igrt.augment(model)
    assert all(n.domain == "" for n in augmented.graph.node)
    y, got = session(augmented).run(["y", "igrt/grad/x"], {"x": x, "igrt/cotangent/y": ct})
    np.testing.assert_array_equal(y, session(model).run(None, {"x": x})[0])
    info = np.iinfo(kind)
    rounded = np.rint(x.astype(np.float64) / arrays["s"]) + 300
    inside = (rounded >= info.min) & (rounded <= info.max)
    assert 0 < inside.mean() < 1
    np.testing.assert_allclose(got, ct * inside * 1.5, rtol=1e-6)


def plain_model(nodes, feeds, arrays, opset=18):
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in feeds.items()
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        infos,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in arrays.items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports)
    model.ir_version = 10
    return model


# -- models ----------------------------------------------------------------------------------------


def mlp():
    widths = [12, 32, 32, 4]
    nodes, stored, x = [], [], "x"
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        stored += [numpy_helper.from_array(f(a, b, scale=a**-0.5), f"w{i}")]
        stored += [numpy_helper.from_array(f(b, scale=0.1), f"b{i}")]
        nodes.append(helper.make_node("MatMul", [x, f"w{i}"], [f"m{i}"], name=f"m{i}"))
        last = i == len(widths) - 2
        nodes.append(
            helper.make_node("Add", [f"m{i}", f"b{i}"], ["y" if last else f"a{i}"], name=f"a{i}")
        )
        if not last:
            nodes.append(helper.make_node("Tanh", [f"a{i}"], [f"t{i}"], name=f"t{i}"))
        x = f"t{i}"
    return nodes, stored, ["n", 12]


def cnn():
    stored = {"w0": f(6, 2, 3, 3, scale=0.3), "b0": f(6, scale=0.1), "w1": f(6, 6, 3, 3, scale=0.2)}
    stored |= {"b1": f(6, scale=0.1), "w2": f(6, 4, scale=0.4), "b2": f(4)}
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], name="c0", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c0"], ["r0"], name="r0"),
        helper.make_node(
            "AveragePool", ["r0"], ["p0"], name="p0", kernel_shape=[2, 2], strides=[2, 2]
        ),
        helper.make_node("Conv", ["p0", "w1", "b1"], ["c1"], name="c1", pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["c1"], ["s1"], name="s1"),
        helper.make_node("GlobalAveragePool", ["s1"], ["g"], name="g"),
        helper.make_node("Flatten", ["g"], ["v"], name="v"),
        helper.make_node("Gemm", ["v", "w2", "b2"], ["y"], name="y"),
    ]
    return nodes, [numpy_helper.from_array(a, n) for n, a in stored.items()], ["n", 2, 8, 8]


def floating(kind):
    nodes, stored, shape = {"mlp": mlp, "cnn": cnn}[kind]()
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def quantised(kind, form, folder):
    """The float model, what onnxruntime makes of it, and an input."""
    global rng
    rng = np.random.default_rng(11)  # the same model, whatever ran before
    model = floating(kind)
    shape = [8, *(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:])]
    data = f(*shape)
    # wider than what is explained, so that nothing lies at the ends of a range
    feeds = [{"x": data}, {"x": 1.5 * f(32, *data.shape[1:])}]
    return model, by_onnxruntime(model, form, feeds, folder, kind == "mlp"), 0.8 * data[:2]


def by_onnxruntime(model, form, feeds, folder, channels=False):
    """A float model in whole numbers, calibrated with `feeds`."""
    from onnxruntime import quantization

    source, target = str(folder / "float.onnx"), str(folder / "quantised.onnx")
    onnx.save(model, source)
    left = iter(feeds)

    class Reader(quantization.CalibrationDataReader):
        def get_next(self):
            return next(left, None)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            if form == "dynamic":
                quantization.quantize_dynamic(source, target, per_channel=channels)
            else:
                chosen = quantization.QuantFormat[form.split()[0]]
                quantization.quantize_static(
                    source, target, Reader(), quant_format=chosen, per_channel="channel" in form
                )
        finally:
            logging.disable(logging.NOTSET)
    return onnx.load(target)


FORMS = ["QDQ", "QDQ by channel", "QOperator", "dynamic"]


def gradients(model, x, **given):
    ct = np.random.default_rng(2).standard_normal((len(x), 4)).astype(np.float32)
    made = session(igrt.augment(model, **given))
    return made.run(["y", "igrt/grad/x"], {"x": x, "igrt/cotangent/y": ct})


@exact_products
@pytest.mark.parametrize("policy", ["straight_through", "dequantise"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_the_gradient_is_what_torch_passes_through_its_own_rounding(kind, form, policy, tmp_path):
    pytest.importorskip("torch", reason="the oracle is written in it")
    import fake_quantised

    _, small, x = quantised(kind, form, tmp_path)
    x = 1.6 * x  # so that some values lie beyond the ends of their ranges
    ct = np.random.default_rng(2).standard_normal((len(x), 4)).astype(np.float32)
    rounds = policy == "straight_through"
    y_torch, want = fake_quantised.gradient(small, x, ct, rounds=rounds)
    y, got = gradients(small, x, quantised=policy)
    if rounds:
        kernel = session(small).run(None, {"x": x})[0]
        # in float32, a sum that lies half way between two steps may go either way: by one step
        np.testing.assert_allclose(y, kernel, atol=0.02 * np.abs(kernel).max())
        np.testing.assert_allclose(y_torch, kernel, atol=0.02 * np.abs(kernel).max())
        # and an inner one that does so moves what is behind it by a 255th of its range
        limit = 5e-3
    else:
        np.testing.assert_allclose(y, y_torch, atol=1e-5 * np.abs(y).max())
        limit = 1e-5  # two float32 evaluations of sums of at most 100 terms
    assert np.linalg.norm(got - want) <= limit * np.linalg.norm(want)


@exact_products
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_quantised_models_compute_about_what_the_float_model_does(kind, form, tmp_path):
    model, small, x = quantised(kind, form, tmp_path)
    y, y_small = (session(m).run(None, {"x": x})[0] for m in (model, normalize(small)))
    # five roundings one behind the other, each to at most half of 1/255 of a range that is some
    # four times a typical value: 0.8 % each
    assert np.linalg.norm(y_small - y) <= 0.05 * np.linalg.norm(y)


# those whose operators the oracle knows
SHIPPED = [
    Path(__file__).parents[3] / "models" / n / f"{n}.onnx"
    for n in ("breast_cancer_mlp", "digits_cnn", "inception_cifar")
]


def at_random(model):
    """An input of a shipped model, of the size that its own first layer expects, and its names."""
    first = session(model).get_inputs()[0]
    shape = [d if isinstance(d, int) else 2 for d in first.shape]
    x = np.random.default_rng(5).random(shape).astype(np.float32)
    return first.name, x, session(model).get_outputs()[0].name


def slope(model, name, x, of, ct, **given):
    made = session(igrt.augment(model, wrt=[name], of=of, **given))
    return made.run([of, f"igrt/grad/{name}"], {name: x, f"igrt/cotangent/{of}": ct})


@exact_products
@pytest.mark.parametrize("policy", ["straight_through", "dequantise"])
@pytest.mark.parametrize("form", ["QDQ", "QOperator", "dynamic"])
@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_a_shipped_model_in_whole_numbers(path, form, policy, tmp_path):
    pytest.importorskip("torch", reason="the oracle is written in it")
    import fake_quantised

    model = onnx.load(path)
    name, x, of = at_random(model)
    small = by_onnxruntime(model, form, [{name: x}], tmp_path)
    ct = np.random.default_rng(2).standard_normal(session(small).run([of], {name: x})[0].shape)
    ct = ct.astype(np.float32)
    rounds = policy == "straight_through"
    y_torch, want = fake_quantised.gradient(small, x, ct, of, name, rounds)
    y, got = slope(small, name, x, of, ct, quantised=policy)
    # float32; a value half way between two steps that goes the other way moves a 255th of a range,
    # and with it some of the many thousand Relus and maxima of the largest model
    limit = (5e-2 if path.stem == "inception_cifar" else 5e-3) if rounds else 1e-4
    assert np.linalg.norm(y - y_torch) <= limit * np.linalg.norm(y_torch)
    assert np.linalg.norm(got - want) <= limit * np.linalg.norm(want)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_a_shipped_model_in_float16(path):
    convert = pytest.importorskip("onnxruntime.transformers.float16").convert_float_to_float16
    model = onnx.load(path)
    name, x, of = at_random(model)
    half = convert(onnx.load(path), keep_io_types=True)
    ct = np.random.default_rng(2).standard_normal(session(model).run([of], {name: x})[0].shape)
    ct = ct.astype(np.float32)
    (y, got), (y_full, want) = (slope(m, name, x, of, ct) for m in (half, model))
    # every operation rounds to 2⁻¹¹ of its result, and the gradient passes each once more
    limit = len(model.graph.node) * 2.0**-11
    assert np.linalg.norm(y - y_full) <= limit * np.linalg.norm(y_full)
    assert np.linalg.norm(got - want) <= 2 * limit * np.linalg.norm(want)


@pytest.mark.parametrize("symmetric", [True, False])
def test_matrices_that_onnxruntime_put_into_four_bits(symmetric):
    nbits = pytest.importorskip("onnxruntime.quantization.matmul_nbits_quantizer")
    model = floating("mlp")
    logging.disable(logging.INFO)
    try:
        made = nbits.MatMulNBitsQuantizer(
            floating_copy(model), block_size=16, is_symmetric=symmetric
        )
        made.process()
    finally:
        logging.disable(logging.NOTSET)
    small = made.model.model
    assert [n.op_type for n in small.graph.node].count("MatMulNBits") == 3
    x, ct = f(3, 12), f(3, 4)
    y, got = slope(small, "x", x, "y", ct)
    np.testing.assert_allclose(
        y, session(small).run(None, {"x": x})[0], rtol=1e-4, atol=1e-5 * np.abs(y).max()
    )
    # what the kernel makes of a unit matrix is the matrix that it multiplies by
    weights = {}
    for node in small.graph.node:
        if node.op_type == "MatMulNBits":
            weights[node.output[0]] = kernel_matrix(small, node)
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    matmuls = [n for n in plain.graph.node if n.op_type == "MatMul"]
    for node, weight in zip(matmuls, weights.values(), strict=True):
        stored = next(t for t in plain.graph.initializer if t.name == node.input[1])
        stored.CopyFrom(numpy_helper.from_array(weight, stored.name))
    _, want = slope(plain, "x", x, "y", ct)
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4 * np.abs(want).max())


def floating_copy(model):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def kernel_matrix(model, node):
    """The matrix that a MatMulNBits multiplies by, from onnxruntime's kernel."""
    width = next(a.i for a in node.attribute if a.name == "K")
    single = onnx.NodeProto()
    single.CopyFrom(node)
    single.input[0], single.output[0] = "x", "y"
    eye = np.eye(width, dtype=np.float32)
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    alone = plain_model([single], {"x": eye}, {n: stored[n] for n in node.input[1:] if n})
    return session(alone).run(None, {"x": eye})[0]


@pytest.mark.parametrize("form", FORMS)
def test_dequantised_gradients_agree_with_finite_differences(form, tmp_path):
    _, small, x = quantised("mlp", form, tmp_path)
    normal = normalize(small, "dequantise")
    assert not {n.op_type for n in normal.graph.node} & {"QuantizeLinear", "DequantizeLinear"}
    ct = np.random.default_rng(2).standard_normal((len(x), 4)).astype(np.float32)
    v = np.random.default_rng(3).standard_normal(x.shape).astype(np.float32)
    forward, step = session(normal), 1e-2
    ends = [forward.run(None, {"x": x + s * step * v})[0].astype(np.float64) for s in (1, -1)]
    difference = (ct * (ends[0] - ends[1])).sum() / (2 * step)
    _, gradient = gradients(small, x, quantised="dequantise")
    # float32 rounding 1e-6 / step and curvature step²; an end of a range is passed nowhere near
    assert (gradient * v).sum() == pytest.approx(difference, rel=2e-2, abs=1e-2)


def test_a_quantised_model_is_explained_and_says_so(tmp_path):
    _, small, x = quantised("mlp", "QDQ", tmp_path)
    for policy in ("straight_through", "dequantise"):
        result = igrt.explain(small, x, target=0, provider="cpu", quantised=policy)
        assert result.provenance["quantised"] == policy
        # rounding makes steps of up to 1 % of the output, which no gradient accounts for
        limit = 0.05 if policy == "straight_through" else 0.01
        assert np.all(np.abs(result.delta) <= limit * np.abs(result.values["x"]).sum(axis=1) + 0.02)
