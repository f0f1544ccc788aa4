"""Fused vendor operators against onnxruntime's own kernels for them."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import igrt
from igrt.errors import UnsupportedOperator
from igrt.graph.normalize import normalize, quantised, vendor
from igrt.graph.normalize.vendor.table import LAID_OUT, REFUSED, VENDOR, lowerings

# Two float32 evaluations of the same formula in another order of operations, of some 10 to 100
# terms of order one each: 1e-7 per operation.
_FORWARD = 2e-5
# Central differences of a float32 kernel: rounding of sums of some hundred terms is 1e-6 / h, and
# near the kink of a Relu about h of the elements change side. A wrong rule is off by the order of
# the gradient.
_STEP, _DIFFERENCE = 5e-4, 2e-2


def session(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def build(
    op_type, arrays, fed, outputs=(0,), opset=18, domain="com.microsoft", symbolic=False, **given
):
    """A model of one node; inputs in `fed` are fed, the others stored."""
    names = [f"i{i}" if a is not None else "" for i, a in enumerate(arrays)]
    results = [f"o{i}" if i in outputs else "" for i in range(max(outputs) + 1)]
    node = helper.make_node(op_type, names, results, name="node", domain=domain, **given)
    inputs, stored = [], []
    for i, array in enumerate(arrays):
        if array is None:
            continue
        if i in fed:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            # exporters leave batch and length open, not the width of a layer
            shape = [f"d{i}_{k}" if symbolic and k < 2 else d for k, d in enumerate(array.shape)]
            inputs.append(helper.make_tensor_value_info(names[i], kind, shape))
        else:
            stored.append(numpy_helper.from_array(array, names[i]))
    declared = [helper.make_tensor_value_info(r, TensorProto.FLOAT, None) for r in results if r]
    graph = helper.make_graph([node], "g", inputs, declared, stored)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports)
    model.ir_version = 10
    return model


def standard(model):
    return all(n.domain in ("", "ai.onnx") for n in model.graph.node)


rng = np.random.default_rng(7)


def f(*shape, scale=1.0):
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def whole(array, dtype=np.int32):
    return np.asarray(array, dtype=dtype)


X3, X4 = f(2, 5, 8), f(2, 4, 6, 6)
ANGLES = np.outer(np.arange(16), 10.0 ** -np.arange(2)).astype(np.float32)
COS, SIN = np.cos(ANGLES), np.sin(ANGLES)
COS8, SIN8 = np.tile(COS, 4), np.tile(SIN, 4)
COS6, SIN6 = f(16, 6), f(16, 6)
BOXES = np.array([[0.1, 0.2, 0.7, 0.93], [0.0, 0.1, 1.3, 0.8], [0.6, 0.9, 0.17, 0.3]], np.float32)
KEYS = whole([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]])
QKV = (f(8, 24, scale=0.4), f(24))
PAST = f(2, 2, 2, 3, 4)

CASES = {
    "BiasGelu": ([X3, f(8)], {}),
    "CDist": ([f(4, 3), f(5, 3)], {"metric": "sqeuclidean"}),
    "CDist root": ([f(4, 3), f(5, 3)], {"metric": "euclidean"}),
    "FastGelu": ([X3, f(8)], {}),
    "FastGelu without bias": ([X3], {}),
    "FusedConv": (
        [X4, f(3, 4, 3, 3), f(3), f(2, 3, 6, 6)],
        {"activation": "Relu", "pads": [1, 1, 1, 1]},
    ),
    "FusedConv strided": (
        [X4, f(4, 2, 3, 3), f(4)],
        {"activation": "LeakyRelu", "activation_params": [0.2], "group": 2, "strides": [2, 2]},
    ),
    "FusedConv clipped": (
        [X4, f(3, 4, 1, 1)],
        {"activation": "Clip", "activation_params": [-0.5, 0.7]},
    ),
    "FusedConv hard": (
        [X4, f(3, 4, 1, 1)],
        {"activation": "HardSigmoid", "activation_params": [0.3, 0.4]},
    ),
    "FusedConv tanh": ([X4, f(3, 4, 1, 1)], {"activation": "Tanh"}),
    "FusedGemm": (
        [f(3, 4), f(5, 4), f(5)],
        {"transB": 1, "alpha": 0.5, "activation": "LeakyRelu", "activation_alpha": 0.1},
    ),
    "FusedGemm sigmoid": ([f(4, 3), f(4, 5)], {"transA": 1, "activation": "Sigmoid"}),
    "FusedMatMul": ([f(2, 3, 4), f(2, 5, 4)], {"transB": 1, "alpha": 0.125}),
    "FusedMatMul both": ([f(2, 4, 3), f(5, 4)], {"transA": 1, "transB": 1}),
    "FusedMatMul batches": (
        [f(3, 2, 4), f(5, 2, 4)],
        {"transBatchA": 1, "transBatchB": 1, "transB": 1},
    ),
    "FusedMatMul batches of two axes": ([f(3, 2, 6, 4), f(2, 6, 4, 5)], {"transBatchA": 1}),
    "TransposeMatMul": ([f(2, 4, 3), f(2, 4, 5)], {"transA": 1, "alpha": 2.0}),
    "Gelu": ([X3], {}),
    "QuickGelu": ([X3], {"alpha": 1.3}),
    "SkipLayerNormalization": ([X3, f(2, 5, 8), f(8), f(8), f(8)], {"epsilon": 1e-3}, [0, 3]),
    "SkipLayerNormalization broadcast": ([X3, f(5, 8), f(8)], {}, [0]),
    "SkipSimplifiedLayerNormalization": ([X3, f(2, 5, 8), f(8), f(8)], {"epsilon": 1e-3}, [0, 3]),
    "Attention": ([X3, *QKV], {"num_heads": 2}),
    "Attention causal": ([X3, *QKV], {"num_heads": 2, "unidirectional": 1}),
    "Attention masked": ([X3, *QKV, KEYS], {"num_heads": 2, "mask_filter_value": -5.0}),
    "Attention lengths": ([X3, *QKV, whole([5, 3])], {"num_heads": 2}),
    "Attention masked in pairs": (
        [X3, *QKV, whole(rng.integers(0, 2, (2, 5, 5)))],
        {"num_heads": 2, "scale": 0.3},
    ),
    "Attention biased": ([X3, *QKV, None, None, f(2, 2, 5, 5)], {"num_heads": 2}),
    "Attention with past": (
        [X3, *QKV, None, PAST],
        {"num_heads": 2, "unidirectional": 1},
        [0, 1],
    ),
    "Attention of other sizes": (
        [X3, f(8, 20), f(20)],
        {"num_heads": 2, "qkv_hidden_sizes": [8, 8, 4]},
    ),
    "MultiHeadAttention": ([X3, f(2, 6, 8), f(2, 6, 8), f(24)], {"num_heads": 2}),
    "MultiHeadAttention masked": (
        [X3, f(2, 5, 8), f(2, 5, 8), None, KEYS, f(1, 2, 5, 5)],
        {"num_heads": 2, "scale": 0.4},
    ),
    "MultiHeadAttention of heads": ([X3, f(2, 2, 6, 4), f(2, 2, 6, 4)], {"num_heads": 2}),
    "MultiHeadAttention with past": (
        [X3, f(2, 5, 8), f(2, 5, 8), None, None, None, f(2, 2, 3, 4), f(2, 2, 3, 4)],
        {"num_heads": 2, "unidirectional": 1},
        [0, 1, 2],
    ),
    "GroupQueryAttention": (
        [f(2, 5, 64), f(2, 5, 32), f(2, 5, 32), None, None, whole([4, 4]), whole(5)],
        {"num_heads": 4, "kv_num_heads": 2},
        [0, 1, 2],
    ),
    "GroupQueryAttention packed": (
        [f(2, 5, 128), None, None, None, None, whole([4, 4]), whole(5), COS8, SIN8],
        {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1, "softcap": 2.0},
        [0, 1, 2],
    ),
    "GroupQueryAttention with past": (
        [
            *[f(2, 1, 64), f(2, 1, 32), f(2, 1, 32), f(2, 2, 6, 16), f(2, 2, 6, 16)],
            *[whole([6, 6]), whole(7), COS8, SIN8],
        ],
        {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1, "rotary_interleaved": 1},
        [0, 1, 2],
    ),
    "GroupQueryAttention with positions and past": (
        [
            *[f(2, 1, 64), f(2, 1, 32), f(2, 1, 32), f(2, 2, 6, 16), f(2, 2, 6, 16)],
            *[whole([6, 6]), whole(7), COS8, SIN8, whole([[3], [5]], np.int64)],
        ],
        {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1},
        [0, 1, 2],
    ),
    "GroupQueryAttention in a second prompt": (
        [
            *[f(1, 3, 64), f(1, 3, 32), f(1, 3, 32), f(1, 2, 6, 16), f(1, 2, 6, 16)],
            *[whole([8]), whole(9), COS8, SIN8],
        ],
        {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1, "local_window_size": 4},
        [0, 1, 2],
    ),
    "GroupQueryAttention window": (
        [f(2, 5, 64), f(2, 5, 32), f(2, 5, 32), None, None, whole([4, 4]), whole(5)],
        {"num_heads": 4, "kv_num_heads": 2, "local_window_size": 2},
        [0, 1, 2],
    ),
    "RotaryEmbedding": ([f(2, 5, 8), whole([3], np.int64), COS, SIN], {}),
    "RotaryEmbedding of heads": (
        [f(2, 3, 5, 4), whole([[0, 1, 2, 3, 4], [2, 3, 4, 5, 6]], np.int64), COS, SIN],
        {"interleaved": 1},
    ),
    "RotaryEmbedding in part": (
        [f(2, 5, 12), whole([0], np.int64), COS, SIN],
        {"num_heads": 2, "rotary_embedding_dim": 4},
    ),
    "ScaledSiLU": ([X3], {"alpha": 1.3}),
    "ScaledSiLU by an input": ([X3, np.float32(0.7)], {}),
    "GatedAdd": ([X3, f(2, 5, 8), f(2, 5, 1)], {}),
    "GatedRMSNorm": ([X3, f(4), f(2, 5, 8)], {"epsilon": 1e-3}),
    "GatedRMSNorm sigmoid": ([X3, f(8), f(2, 5, 8)], {"activation": "sigmoid"}),
    "BranchwiseRMSNorm": ([f(2, 3, 4, 6), f(4, 6)], {"epsilon": 1e-3}),
    "BranchwiseRMSNorm flat": ([X3, f(8)], {"num_branches": 2}),
    "HyperConnectionPreMix": ([f(2, 3, 4, 6), f(2, 3, 4)], {"reduction_scale": 0.5}),
    "HyperConnectionPreMix flat": ([X3, f(2, 5, 8)], {"num_branches": 2}),
    "HyperConnectionPostMix": ([f(2, 3, 4, 6), f(2, 3, 6), f(2, 3, 4, 1), f(2, 3, 4, 4)], {}),
    "HyperConnectionPostMix plain": ([f(2, 3, 4, 6), f(2, 3, 6), f(2, 3, 4)], {}),
    "EngramGate": (
        [f(2, 3, 2, 8), f(2, 3, 2, 8), f(2, 3, 8), f(2, 8), f(2, 8), f(2, 8)],
        {"epsilon": 1e-3},
        [0, 1],
    ),
    "LinearAttentionGate": ([X3, f(8), f(8), f(2, 5, 8)], {}, [0, 1]),
    "CausalConvWithState": (
        [f(2, 4, 6), f(4, 1, 3), f(4), f(2, 4, 4)],
        {"dilation": 2, "activation": "silu"},
        [0, 1],
    ),
    "CausalConvWithState without past": ([f(2, 4, 6), f(4, 1, 3)], {}, [0, 1]),
    "MoE": (
        [X3, f(10, 4), f(4, 6, 8), f(4, 6), f(4, 8, 6), f(4, 8)],
        {"k": 2, "activation_type": "gelu", "normalize_routing_weights": 1},
    ),
    "MoE swiglu": (
        [X3, f(10, 4), f(4, 12, 8), f(4, 12), f(4, 8, 6), f(4, 8)],
        {
            "k": 2,
            "activation_type": "swiglu",
            "swiglu_fusion": 1,
            "activation_alpha": 1.3,
            "activation_beta": 1.0,
            "swiglu_limit": 2.0,
        },
    ),
    "LinearAttention": (
        [f(2, 5, 12), f(2, 5, 6), f(2, 5, 8), f(2, 2, 3, 4), -np.abs(f(2, 5, 2)), f(2, 5, 2)],
        {"q_num_heads": 4, "kv_num_heads": 2},
        [0, 1],
    ),
    "LinearAttention linear": (
        [f(2, 5, 6), f(2, 5, 6), f(2, 5, 8)],
        {"q_num_heads": 2, "kv_num_heads": 2, "update_rule": "linear", "scale": 0.7},
        [0, 1],
    ),
    "LinearAttention gated": (
        [f(2, 5, 6), f(2, 5, 6), f(2, 5, 8), None, -np.abs(f(2, 5, 6))],
        {"q_num_heads": 2, "kv_num_heads": 2, "update_rule": "gated"},
        [0, 1],
    ),
    "LinearAttention delta": (
        [f(2, 5, 3), f(2, 5, 6), f(2, 5, 8), None, None, f(2, 5, 1)],
        {"q_num_heads": 1, "kv_num_heads": 2, "update_rule": "delta"},
        [0, 1],
    ),
    "UnfoldTensor": ([X4], {"dim": 2, "size": 3, "step": 2}),
    "UnfoldTensor last": ([X3], {"dim": -1, "size": 2}),
    "CropAndResize": (
        [X4, BOXES, whole([0, 1, 1]), whole([4, 3])],
        {"mode": "bilinear", "extrapolation_value": 0.5},
    ),
    "CropAndResize to the nearest": (
        [X4, BOXES, whole([0, 1, 1]), whole([4, 3])],
        {"mode": "nearest"},
    ),
    "CropAndResize to a point": ([X4, BOXES, whole([0, 1, 1]), whole([1, 3])], {}),
    "MRotaryEmbedding": (
        [f(2, 5, 24), whole(rng.integers(0, 16, (3, 2, 5)), np.int64), COS6, SIN6],
        {"mrope_section": [3, 2, 1], "num_heads": 2},
    ),
    "MRotaryEmbedding interleaved": (
        [f(2, 2, 5, 12), whole(rng.integers(0, 16, (3, 2, 5)), np.int64), COS6, SIN6],
        {"mrope_section": [2, 2, 2], "mrope_layout": 1, "interleaved": 1},
    ),
    "DecoderMaskedMultiHeadAttention": (
        [
            *[f(2, 1, 8), f(2, 1, 8), f(2, 1, 8), None, None, f(2, 2, 7, 4), f(2, 2, 7, 4)],
            *[whole([4])],
        ],
        {"num_heads": 2, "past_present_share_buffer": 1},
        [0, 1, 2],
    ),
    "DecoderMaskedMultiHeadAttention of another sequence": (
        [f(2, 1, 8), f(2, 2, 6, 4), f(2, 2, 6, 4)],
        {"num_heads": 2},
    ),
    "GroupQueryAttention with positions": (
        [
            *[f(2, 5, 64), f(2, 5, 32), f(2, 5, 32), None, None, whole([4, 4]), whole(5)],
            *[COS8, SIN8, whole([[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]], np.int64)],
        ],
        {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1},
        [0, 1, 2],
    ),
    "GridSample": ([X4, np.clip(f(2, 3, 3, 2, scale=0.5), -0.9, 0.9)], {"align_corners": 1}),
    "Pad": ([X3, whole([0, 1, 0, 0, 0, 2], np.int64), f(1)], {}),
    "Trilu": ([f(2, 5, 5)], {"upper": 0}),
    "ExpandDims": ([X3, whole(1)], {}),
    "GatherND": ([X3, whole([[0, 1], [1, 4]])], {}),
    "ConvTransposeWithDynamicPads": (
        [X4, f(4, 3, 3, 3), whole([1, 1, 1, 1], np.int64)],
        {"strides": [2, 2]},
    ),
}

UNLISTED = {
    "Affine": ([X3], {"alpha": 2.0, "beta": -1.0}),
    "ImageScaler": ([f(2, 3, 4, 4)], {"scale": 0.5, "bias": [0.1, 0.2, 0.3]}),
    "ParametricSoftplus": ([X3], {"alpha": 0.5, "beta": 2.0}),
    "Scale": ([X3], {"scale": 3.0}),
    "ScaledTanh": ([X3], {"alpha": 0.5, "beta": 2.0}),
    "SimplifiedLayerNormalization": ([X3, f(8)], {"epsilon": 1e-3, "axis": -1, "stash_type": 1}),
}


def agree(model, arrays, fed, outputs):
    """Lowered model against vendor kernel: values, and gradient against central differences."""
    feeds = {f"i{i}": arrays[i] for i in fed}
    kernel = session(model)
    lowered = normalize(model)
    assert standard(lowered)
    names = [f"o{i}" for i in outputs]
    expected = kernel.run(names, feeds)
    for got, want in zip(session(lowered).run(names, feeds), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=_FORWARD, atol=_FORWARD * np.abs(want).max())
    noise = np.random.default_rng(3)
    for name, value in zip(names, expected, strict=True):
        ct = noise.standard_normal(value.shape).astype(np.float32)
        augmented = session(igrt.augment(model, of=name))
        made = [o.name for o in augmented.get_outputs() if o.name.startswith("igrt/grad/")]
        found = augmented.run(made, feeds | {f"igrt/cotangent/{name}": ct})
        wrt = [n.removeprefix("igrt/grad/") for n in made]
        assert wrt
        for n, gradient in zip(wrt, found, strict=True):
            step = noise.standard_normal(feeds[n].shape).astype(np.float32)
            ends = [
                kernel.run([name], feeds | {n: (feeds[n] + s * _STEP * step).astype(np.float32)})[0]
                for s in (1, -1)
            ]
            difference = float((ct * (ends[0].astype(np.float64) - ends[1])).sum() / (2 * _STEP))
            scale = max(1.0, float(np.linalg.norm(gradient * step)))
            assert abs(float((gradient * step).sum()) - difference) <= _DIFFERENCE * scale, n


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_lowered_as_the_kernel_computes(case, symbolic):
    if symbolic and case == "Attention lengths":
        pytest.skip("lengths and starts differ in the batch size only, which has to be known")
    if symbolic and case.startswith("CausalConvWithState"):
        pytest.skip("its weight is fed here, and the size of a kernel has to be known")
    arrays, given, *rest = CASES[case]
    outputs = rest[0] if rest else [0]
    fed = [i for i, a in enumerate(arrays) if a is not None and a.dtype.kind == "f" and a.ndim > 2]
    fed = fed or [0]
    model = build(case.split()[0], arrays, fed, outputs, symbolic=symbolic, **given)
    agree(model, arrays, fed, outputs)


@pytest.mark.parametrize("case", UNLISTED)
def test_operators_of_no_opset_in_the_default_domain(case):
    arrays, given = UNLISTED[case]
    opset = 18 if case.startswith("Simplified") else 9  # onnxruntime keeps the others up to 9
    model = build(case, arrays, [0], opset=opset, domain="", **given)
    agree(model, arrays, [0], [0])


# -- what onnxruntime has no kernel for on a CPU ---------------------------------------------------


def lowered(op_type, arrays, fed, outputs=(0,), **given):
    model = normalize(build(op_type, arrays, fed, outputs, **given))
    assert standard(model)
    feeds = {f"i{i}": arrays[i] for i in fed}
    return session(model).run([f"o{i}" for i in outputs], feeds)


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=_FORWARD, atol=_FORWARD * np.abs(want).max())


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def gelu(x):
    import math

    return 0.5 * x * (1 + np.vectorize(math.erf)(x / np.sqrt(2)))


def test_bias_add():
    x, bias, skip = X3, f(8), f(2, 5, 8)
    close(lowered("BiasAdd", [x, bias, skip], [0])[0], x + bias + skip)


def test_bias_dropout_in_inference():
    x, bias, residual = X3, f(8), f(2, 5, 8)
    close(lowered("BiasDropout", [x, bias, residual], [0, 2])[0], x + bias + residual)


def test_bias_softmax():
    x, bias = f(2, 3, 4, 5), f(1, 3, 1, 5)
    got = lowered("BiasSoftmax", [x, bias], [0], axis=3, is_inner_broadcast=0)[0]
    close(got, softmax(x + bias))
    flat = softmax((x + bias).reshape(6, 20)).reshape(x.shape)
    close(lowered("BiasSoftmax", [x, bias], [0], axis=2, is_inner_broadcast=0)[0], flat)


def test_bias_split_gelu():
    x, bias = f(2, 5, 16), f(16)
    u, v = np.split(x + bias, 2, axis=-1)
    close(lowered("BiasSplitGelu", [x, bias], [0])[0], u * gelu(v))


def test_fused_matmul_activation():
    a, b = f(2, 3, 4), f(2, 5, 4)
    want = np.maximum(0.5 * a @ b.transpose(0, 2, 1), 0)
    given = {"alpha": 0.5, "transB": 1, "activation": "Relu"}
    close(lowered("FusedMatMulActivation", [a, b], [0, 1], **given)[0], want)
    given["activation"] = "Softmax"
    want = softmax(0.5 * a @ b.transpose(0, 2, 1))
    close(lowered("FusedMatMulActivation", [a, b], [0, 1], activation_axis=-1, **given)[0], want)


def test_gemm_fast_gelu():
    x, w, bias = f(2, 4), f(4, 3), f(3)
    y = x @ w + bias
    want = 0.5 * y * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)))
    close(lowered("GemmFastGelu", [x, w, bias], [0])[0], want)


@pytest.mark.parametrize("last", [0, 1])
def test_group_norm(last):
    x, gamma, beta = f(2, 6, 3, 4), f(6), f(6)
    parts = x.reshape(2, 3, -1)
    normal = (parts - parts.mean(-1, keepdims=True)) / np.sqrt(parts.var(-1, keepdims=True) + 1e-3)
    y = normal.reshape(x.shape) * gamma[:, None, None] + beta[:, None, None]
    want = y / (1 + np.exp(-y))
    fed, want = (t.transpose(0, 2, 3, 1) if last else t for t in (x, want))
    given = {"groups": 3, "epsilon": 1e-3, "activation": 1, "channels_last": last}
    close(lowered("GroupNorm", [fed, gamma, beta], [0], **given)[0], want)


def test_skip_group_norm_is_group_norm_of_the_sum():
    x, gamma, beta, skip, bias = f(2, 3, 4, 6), f(6), f(6), f(2, 6), f(6)
    given = {"groups": 3, "activation": 0}
    total = x + skip[:, None, None] + bias
    y, s = lowered("SkipGroupNorm", [x, gamma, beta, skip, bias], [0], (0, 1), **given)
    close(s, total)
    close(y, lowered("GroupNorm", [total, gamma, beta], [0], **given)[0])


def test_nhwc():
    x, w, b = f(1, 6, 6, 4), f(3, 3, 3, 4), f(3)
    given = {"activation": "Relu", "pads": [1, 1, 1, 1]}
    first = [t.transpose(0, 3, 1, 2) for t in (x, w)]
    want = session(build("FusedConv", [*first, b], [0], **given)).run(None, {"i0": first[0]})[0]
    close(lowered("NhwcFusedConv", [x, w, b], [0], **given)[0], want.transpose(0, 2, 3, 1))
    del given["activation"]
    want = lowered("FusedConv", [*first, b], [0], **given)[0].transpose(0, 2, 3, 1)
    close(lowered("NhwcConv", [x, w, b], [0], **given)[0], want)
    want = x.reshape(1, 3, 2, 3, 2, 4).max(axis=(2, 4))
    close(lowered("NhwcMaxPool", [x], [0], kernel_shape=[2, 2], strides=[2, 2])[0], want)


def test_attention_of_packed_operands():
    q, k, v = f(2, 5, 8), f(2, 5, 8), f(2, 5, 8)
    bias = f(24)
    plain = lowered("MultiHeadAttention", [q, k, v, bias], [0, 1, 2], num_heads=2)[0]
    together = np.stack([t.reshape(2, 5, 2, 4) for t in (q, k, v)], axis=3)
    close(lowered("MultiHeadAttention", [together, None, None, bias], [0], num_heads=2)[0], plain)
    unbiased = lowered("MultiHeadAttention", [q, k, v], [0, 1, 2], num_heads=2)[0]
    pair = np.stack([t.reshape(2, 5, 2, 4) for t in (k, v)], axis=3)
    close(lowered("MultiHeadAttention", [q, pair], [0, 1], num_heads=2)[0], unbiased)


@pytest.mark.parametrize("both", [0, 1])
def test_relative_position_bias(both):
    table, count = f(8, 3), 12
    ahead = np.arange(count)[None] - np.arange(count)[:, None]
    buckets = 4 if both else 8
    start = np.where(ahead > 0, buckets, 0) if both else 0
    n = np.abs(ahead) if both else np.maximum(-ahead, 0)
    half = buckets // 2
    far = half + np.log(np.maximum(n, 1) / half) / np.log(10 / half) * (buckets - half)
    bucket = start + np.where(n < half, n, np.minimum(far.astype(int), buckets - 1))
    lengths = [whole(count, np.int64)] * 2
    got = lowered(
        "RelativePositionBias", [table, *lengths], [0], max_distance=10, is_bidirectional=both
    )[0]
    close(got, table[bucket].transpose(2, 0, 1)[None])


def test_embed_layer_normalization():
    ids = whole([[1, 2, 3], [4, 0, 0]])
    arrays = [ids, whole([[0, 0, 1], [1, 1, 0]]), f(5, 8), f(6, 8), f(2, 8), f(8), f(8)]
    arrays.append(whole([[1, 1, 1], [1, 0, 0]]))
    for count in (7, 8):
        model = build("EmbedLayerNormalization", arrays[:count], [0], (0, 1, 2))
        model.graph.output[1].type.tensor_type.elem_type = TensorProto.INT32
        normal = normalize(model)
        assert standard(normal)
        kernel = session(model).run(None, {"i0": ids})
        for got, want in zip(session(normal).run(None, {"i0": ids}), kernel, strict=True):
            close(got, want)
    # attributed to the sum of the lookups, which is the operator's third output
    gradient = session(igrt.augment(model, wrt=["o2"], of="o0")).run(
        ["igrt/grad/o2"], {"i0": ids, "igrt/cotangent/o0": f(2, 3, 8)}
    )[0]
    np.testing.assert_allclose(gradient.sum(-1), 0, atol=1e-4)  # the mean is taken away


def test_gated_relative_position_bias():
    query, bias, places = f(2, 3, 8), f(8), f(1, 2, 3, 3)
    weight, shift, eco = f(4, 6), f(6), f(1, 2, 1, 1)
    heads = (query + bias).reshape(2, 3, 2, 4).transpose(0, 2, 1, 3)
    # Chi et al. 2022, equation 5, as WavLM computes it
    gates = (heads @ weight + shift).reshape(2, 2, 3, 2, 3).sum(-1)
    u, r = np.moveaxis(1 / (1 + np.exp(-gates)), -1, 0)
    want = (u * (r * eco[..., 0] - 1) + 2)[..., None] * places
    arrays = [query, bias, places, weight, shift, eco]
    close(lowered("GatedRelativePositionBias", arrays, [0, 2], num_heads=2)[0], want)


def test_range():
    ends = [np.float32([0.5]), np.float32([3.1]), np.float32([0.7])]
    model = build("Range", ends, [])
    want = session(model).run(None, {})[0]
    close(session(normalize(model)).run(None, {})[0], want)
    np.testing.assert_allclose(want, np.arange(0.5, 3.1, 0.7), rtol=1e-6)


@pytest.mark.parametrize("ids", [[[0, 1, 2, 3, 4]] * 2, [[3, 4, 5, 6, 7], [6, 9, 1, 2, 0]]])
def test_positions_of_a_first_prompt_are_taken_as_the_kernel_takes_them(ids):
    arrays = [f(2, 5, 64), f(2, 5, 32), f(2, 5, 32), None, None, whole([4, 4]), whole(5)]
    arrays += [COS8, SIN8, whole(ids, np.int64)]
    given = {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1}
    agree(
        build("GroupQueryAttention", arrays, [0, 1, 2], [0, 1, 2], **given), arrays, [0, 1, 2], [0]
    )


def test_a_first_prompt_that_is_padded():
    arrays = [f(2, 5, 64), f(2, 5, 32), f(2, 5, 32), None, None, whole([4, 2]), whole(5)]
    model = build("GroupQueryAttention", arrays, [0, 1, 2], num_heads=4, kv_num_heads=2)
    feeds = {f"i{i}": arrays[i] for i in range(3)}
    got, want = (session(m).run(None, feeds)[0] for m in (normalize(model), model))
    close(got[0], want[0])
    close(got[1, :3], want[1, :3])  # what the padding asks is not specified


def test_a_cache_with_room_for_more():
    """Each example has its own length, and the cache keeps its size."""
    arrays = [f(2, 1, 64), f(2, 1, 32), f(2, 1, 32), f(2, 2, 9, 16), f(2, 2, 9, 16)]
    arrays += [whole([6, 4]), whole(7), COS8, SIN8]
    given = {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1}
    fed = [0, 1, 2, 3, 4]
    # onnxruntime 1.32 reads memory that it has not written unless the caches are outputs
    model = build("GroupQueryAttention", arrays, fed, [0, 1, 2], **given)
    agree(model, arrays, fed, [0])
    feeds = {f"i{i}": arrays[i] for i in fed}
    for got, want in zip(
        *(session(m).run(None, feeds) for m in (normalize(model), model)), strict=True
    ):
        assert got.shape == want.shape
        if got.ndim == 4:  # what lies behind the last key is not specified
            close(got[0, :, :7], want[0, :, :7])
            close(got[1, :, :5], want[1, :, :5])


@pytest.mark.parametrize("size", [[11, 11], [6, 6], [4, 7]])
@pytest.mark.parametrize("box", [[0, 0, 1, 1], [0.1, 0.1, 0.9, 0.9], [0.25, 0.25, 0.75, 0.75]])
def test_points_half_way_between_two_pixels(box, size):
    arrays = [X4, np.float32([box]), whole([1]), whole(size)]
    model = build("CropAndResize", arrays, [0], mode="nearest")
    got, want = (session(m).run(None, {"i0": X4})[0] for m in (normalize(model), model))
    np.testing.assert_array_equal(got, want)


def test_inverse_keeps_its_kernel():
    x = f(2, 3, 3) + 3 * np.eye(3, dtype=np.float32)
    ct = f(2, 3, 3)
    model = build("Inverse", [x], [0])
    augmented = session(igrt.augment(model, wrt=["i0"], of="o0"))
    gradient = augmented.run(["igrt/grad/i0"], {"i0": x, "igrt/cotangent/o0": ct})[0]
    y = np.linalg.inv(x.astype(np.float64)).transpose(0, 2, 1)
    close(gradient, -y @ ct @ y)


def test_layer_normalization_before_opset_17():
    arrays = [X3, f(8), f(8)]
    model = build("LayerNormalization", arrays, [0], opset=12, domain="", epsilon=1e-3)
    agree(model, arrays, [0], [0])


# -- refusals --------------------------------------------------------------------------------------

REASONS = {
    "its attribute scale": (
        "RotaryEmbedding",
        [X3, whole([0], np.int64), COS, SIN],
        {"scale": 0.5},
    ),
    "its attribute transB": (
        "MatMulBnb4",
        [f(4, 5), whole(np.zeros(100), np.uint8), np.abs(f(13))],
        {"K": 40, "N": 5, "block_size": 16, "quant_type": 1, "transB": 0},
    ),
    "packed for one kind of GPU": (
        "MatMulNBits",
        [f(4, 32), whole(np.zeros((5, 1, 16)), np.uint8), f(5)],
        {"K": 32, "N": 5, "block_size": 32, "weight_prepacked": 1},
    ),
    "its attribute do_rotary": ("Attention", [X3, *QKV], {"num_heads": 2, "do_rotary": 1}),
    "its attribute is_packed_batching": (
        "RotaryEmbedding",
        [X3, whole([0], np.int64), COS, SIN],
        {"is_packed_batching": 1},
    ),
    "its attribute smooth_softmax": (
        "GroupQueryAttention",
        [*CASES["GroupQueryAttention"][0]],
        {"num_heads": 4, "kv_num_heads": 2, "smooth_softmax": 1},
    ),
    "packs the tokens": ("PackedAttention", [X3, *QKV], {"num_heads": 2}),
    "does not know": ("NotThereYet", [X3], {}),
}


@pytest.mark.parametrize("reason", REASONS)
def test_refused_for_a_named_reason(reason):
    op_type, arrays, given = REASONS[reason]
    with pytest.raises(UnsupportedOperator, match=f"(?s)com.microsoft.{op_type}.*{reason}"):
        igrt.augment(build(op_type, arrays, [0], **given), wrt=["i0"], of="o0")


def test_the_vendor_layout_is_refused_with_the_way_out():
    model = build("Conv", [X4, f(8, 4, 1, 1)], [0], domain="com.microsoft.nchwc")
    model.opset_import.append(helper.make_opsetid("com.microsoft.nchwc", 1))
    with pytest.raises(UnsupportedOperator, match="before onnxruntime optimised it"):
        igrt.augment(model, wrt=["i0"], of="o0")


def test_what_is_not_on_the_way_stays():
    model = build("PackedAttention", [X3, *QKV], [0], num_heads=2)
    model.graph.node.append(helper.make_node("Relu", ["i0"], ["y"]))
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))
    augmented = igrt.augment(model, wrt=["i0"], of="y")
    assert any(n.op_type == "PackedAttention" for n in augmented.graph.node)


def test_every_lowering_has_a_case():
    files = [*Path(__file__).parent.glob("test_*.py"), _RULES]
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    missing = [op for op in lowerings() if f'"{op}"' not in text and f'"{op} ' not in text]
    assert missing == []


def test_every_kernel_of_onnxruntime_is_lowered_or_refused_for_a_reason():
    """What stock onnxruntime runs on a CPU with a float input, by its own list of kernels."""
    state = pytest.importorskip("onnxruntime.capi.onnxruntime_pybind11_state")
    if not hasattr(state, "get_all_opkernel_def"):
        pytest.skip("this onnxruntime does not list its kernels")
    kernels = {
        (k.domain, k.op_name)
        for k in state.get_all_opkernel_def()
        if k.provider == "CPUExecutionProvider" and k.domain.startswith("com.")
    }
    assert len(kernels) > 50
    known = {(VENDOR, op) for op in (*lowerings(), *REFUSED, *WITH_RULE, *WHOLE)}
    missing = {(d, op) for d, op in kernels - known if d not in LAID_OUT}
    assert missing == set()
    assert not set(lowerings()) & set(REFUSED)


def test_every_attribute_of_a_lowered_operator_is_looked_at():
    """An attribute that onnxruntime adds would be passed over, and the numbers wrong."""
    state = pytest.importorskip("onnxruntime.capi.onnxruntime_pybind11_state")
    if not hasattr(state, "get_all_operator_schema"):
        pytest.skip("this onnxruntime does not list its operators")
    packages = [Path(vendor.__file__).parent, Path(quantised.__file__).parent]
    code = "".join(f.read_text(encoding="utf-8") for p in packages for f in p.glob("*.py"))
    passed_over = {
        f"{s.name}.{a}"
        for s in state.get_all_operator_schema()
        if s.domain == VENDOR and s.name in lowerings()
        for a in s.attributes
        if f'"{a}"' not in code and a not in WITHOUT_EFFECT
    }
    assert passed_over == set()


WITHOUT_EFFECT = {
    "accuracy_level",  # how far onnxruntime may round on the way
    "chunk_size",  # of how the same is computed
    "mask_index_type",  # of an output of whole numbers
    "output_qk",  # of an output that is refused where it is used
    "seed",
    "training_mode",
    *("q_norm_epsilon", "k_norm_epsilon", "qk_norm_epsilon"),  # of inputs that are refused
    "rotary_embedding_dim",
}

WITH_RULE = {"Inverse"}
WHOLE = {
    # these have no float input
    *("BifurcationDetector", "DynamicTimeWarping", "MatMulInteger16", "MurmurHash3"),
    *("NGramHashMapping", "Tokenizer", "VarlenNGramHashMapping"),
}


_RULES = Path(__file__).parents[2] / "vjp" / "rules" / "test_quantise.py"


BROKEN = {
    "no attributes": ("Attention", [X3, *QKV], {}),
    "no inputs": ("FusedConv", [X4], {}),
    "a matrix where there is none": ("MultiHeadAttention", [f(3)], {"num_heads": 2}),
    "shapes that do not fit": ("FusedMatMul", [f(2, 3), f(2, 3)], {}),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_damaged_node_is_refused_by_name(case):
    op_type, arrays, given = BROKEN[case]
    with pytest.raises(UnsupportedOperator, match=f"com.microsoft.{op_type}"):
        igrt.augment(build(op_type, arrays, [0], **given), wrt=["i0"], of="o0")
