"""Attributes and forms of fused operators, each against onnxruntime's own kernel: the values.

That the gradients follow is shown once per operator in `test_vendor` and `test_quantised`: they
come from the rules of the standard operators that these are written in.
"""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from igrt.graph.normalize import normalize

rng = np.random.default_rng(31)


def f(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def whole(low, high, *shape, dtype=np.int32):
    return rng.integers(low, high, shape).astype(dtype)


def packed_zeros(width, size, bits):
    blocks = (width + size - 1) // size
    return whole(0, 256, 5 * ((blocks * bits + 7) // 8), dtype=np.uint8)


X3, X4, QKV = f(2, 5, 8), f(2, 4, 6, 6), [f(8, 24), f(24)]
EXPERTS = [f(10, 4), f(4, 6, 8), f(4, 6), f(4, 8, 6), f(4, 8)]
ROTARY = [f(16, 6), f(16, 6)]

CASES = [
    *(
        ("MoE", [X3, *EXPERTS], {"k": k, "activation_type": a, "normalize_routing_weights": n})
        for a in ("relu", "silu", "identity", "gelu")
        for k, n in ((1, 0), (2, 1), (3, 0))
    ),
    *(
        (
            "GridSample",
            [X4, f(2, 3, 3, 2)],
            {"mode": m, "padding_mode": p, "align_corners": c},
        )
        for m in ("bilinear", "nearest", "bicubic")
        for p in ("zeros", "border", "reflection")
        for c in (0, 1)
    ),
    *(
        ("Pad", [X3, np.array([0, 1, 0, 0, 0, 2])], {"mode": m})
        for m in ("reflect", "edge", "constant")
    ),
    *(("BranchwiseRMSNorm", [f(3, 2, 4), f(*s)], {}) for s in ((8,), (2, 4), (4,))),
    ("BranchwiseRMSNorm", [f(3, 2, 4)], {}),
    *(("BranchwiseRMSNorm", [f(3, 8), f(*s)], {"num_branches": 2}) for s in ((8,), (2, 4), (4,))),
    *(("HyperConnectionPreMix", [f(2, 3, 4, 6), f(2, 3, *s)], {}) for s in ((4,), (4, 1), (4, 6))),
    *(
        ("HyperConnectionPreMix", [f(2, 3, 24), f(2, 3, *s)], {"num_branches": 4})
        for s in ((4,), (4, 1), (4, 6), (24,))
    ),
    *(
        (
            "HyperConnectionPostMix",
            [f(2, 3, 24), f(2, 3, 6), f(2, 3, *s), f(2, 3, 4, 4)],
            {"num_branches": 4},
        )
        for s in ((4,), (4, 1), (4, 6))
    ),
    *(
        ("FusedGemm", [f(3, 4), f(4, 5), f(5)], {"activation": name} | given)
        for name, given in {
            "Elu": {"activation_alpha": 0.7},
            "HardSigmoid": {"activation_alpha": 0.3, "activation_beta": 0.4},
            "Relu": {},
            "Selu": {"activation_alpha": 1.2, "activation_gamma": 1.1},
            "Softplus": {},
            "Softsign": {},
            "Tanh": {},
            "ThresholdedRelu": {"activation_alpha": 0.3},
        }.items()
    ),
    *(("FusedConv", [X4, f(3, 4, 1, 1)], {"activation": a}) for a in ("Sigmoid", "HardSwish")),
    *(
        ("Attention", [X3, *QKV, mask], {"num_heads": 2, "unidirectional": u})
        for mask in (np.int32([5, 3]), whole(0, 2, 2, 5), whole(0, 2, 2, 5, 5))
        for u in (0, 1)
    ),
    *(
        (
            "MultiHeadAttention",
            [X3, f(2, 5, 8), f(2, 5, 8), None, mask],
            {"num_heads": 2, "unidirectional": u},
        )
        for mask in (whole(0, 2, 2, 5), whole(0, 2, 2, 5, 5))
        for u in (0, 1)
    ),
    ("Attention", [X3, *QKV, np.zeros((2, 5), np.int32)], {"num_heads": 2}),
    *(
        (
            "MRotaryEmbedding",
            [f(2, 2, 5, 12), whole(0, 16, 3, 2, 5, dtype=np.int64), *ROTARY],
            {"mrope_section": s, "mrope_layout": at, "scale": 1.5},
        )
        for s in ([3, 2, 1], [1, 2, 3], [6, 0, 0], [2, 2, 2])
        for at in (0, 1)
    ),
    ("EngramGate", [f(2, 3, 2, 8), f(2, 3, 2, 8), f(2, 3, 8), f(2, 8), f(2, 8)], {}),
    *(
        (
            "MatMulNBits",
            [
                f(4, k),
                whole(0, 256, 5, -(-k // size), size * bits // 8, dtype=np.uint8),
                f(5 * -(-k // size)),
                *([packed_zeros(k, size, bits)] * zeros),
            ],
            {"K": k, "N": 5, "bits": bits, "block_size": size},
        )
        for bits in (2, 4, 8)
        for k, size in ((40, 16), (96, 32), (200, 128))
        for zeros in (0, 1)
    ),
]


def session(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


@pytest.mark.parametrize(
    ("op_type", "arrays", "given"), CASES, ids=[f"{o}{i}" for i, (o, *_) in enumerate(CASES)]
)
def test_as_the_kernel_computes(op_type, arrays, given):
    names = [f"i{i}" if a is not None else "" for i, a in enumerate(arrays)]
    node = helper.make_node(op_type, names, ["y"], name="n", domain="com.microsoft", **given)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("i0", TensorProto.FLOAT, arrays[0].shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(np.asarray(a), n)
            for n, a in zip(names[1:], arrays[1:], strict=True)
            if a is not None
        ],
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports)
    model.ir_version = 10
    lowered = normalize(model)
    assert all(n.domain == "" for n in lowered.graph.node)
    got, want = (session(m).run(None, {"i0": arrays[0]})[0] for m in (lowered, model))
    # the same formula in another order, in float32, of sums of at most 200 terms
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())
