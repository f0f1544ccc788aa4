"""Operators of transformers."""

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from igrt.vjp.augment import augment


def gradients(op_type, inputs, operands, opset=24, outputs=("y",), **attributes):
    """Gradients of the first output in onnxruntime, and the cotangent that they belong to."""
    names = [n if n in inputs else "" for n in operands]
    graph = helper.make_graph(
        [helper.make_node(op_type, names, list(outputs), **attributes)],
        "g",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in inputs.items()
        ],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    wrt = [n for n, a in inputs.items() if a.dtype.kind == "f"]
    y = onnxruntime.InferenceSession(model.SerializeToString()).run(["y"], inputs)[0]
    ct = np.random.default_rng(7).standard_normal(y.shape).astype(np.float32)
    session = onnxruntime.InferenceSession(augment(model, wrt=wrt, of="y").SerializeToString())
    results = session.run([f"igrt/grad/{n}" for n in wrt], inputs | {"igrt/cotangent/y": ct})
    return dict(zip(wrt, results, strict=True)), ct


def doubles(inputs):
    """The same as torch tensors in float64."""
    return {
        n: torch.tensor(a, dtype=torch.float64, requires_grad=True)
        if a.dtype.kind == "f"
        else torch.tensor(a)
        for n, a in inputs.items()
    }


def compare(got, given):
    assert set(got) == {n for n, t in given.items() if t.requires_grad}
    for n, value in got.items():
        # float32: some dozens of operations on numbers of order one
        np.testing.assert_allclose(value, given[n].grad.numpy(), rtol=2e-4, atol=2e-5, err_msg=n)


def single(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


# -- RotaryEmbedding ------------------------------------------------------------------------------


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("with_positions", [True, False])
@pytest.mark.parametrize("dim", [0, 4])
@pytest.mark.parametrize("rank", [3, 4])
def test_rotary_embedding(rng, interleaved, with_positions, dim, rank):
    batch, heads, length, size = 2, 3, 4, 8
    shape = (batch, heads, length, size) if rank == 4 else (batch, length, heads * size)
    pairs = (dim or size) // 2
    cache = (6, pairs) if with_positions else (batch, length, pairs)
    inputs = {"x": single(rng, *shape), "cos": single(rng, *cache), "sin": single(rng, *cache)}
    if with_positions:
        inputs["positions"] = np.array([[0, 1, 2, 2], [5, 4, 1, 0]])
    attributes = {"interleaved": interleaved, "rotary_embedding_dim": dim}
    if rank == 3 or dim:
        attributes["num_heads"] = heads
    got, ct = gradients("RotaryEmbedding", inputs, ["x", "cos", "sin", "positions"], **attributes)
    given = doubles(inputs)
    x, cos, sin = given["x"], given["cos"], given["sin"]
    if rank == 3:
        x = x.reshape(batch, length, heads, size).transpose(1, 2)
    if with_positions:
        cos, sin = cos[given["positions"]], sin[given["positions"]]
    cos, sin = cos[:, None], sin[:, None]
    turned, rest = x[..., : 2 * pairs], x[..., 2 * pairs :]
    if interleaved:
        a, b = turned[..., ::2], turned[..., 1::2]
        y = torch.stack([cos * a - sin * b, sin * a + cos * b], dim=-1).flatten(-2)
    else:
        a, b = turned.chunk(2, dim=-1)
        y = torch.cat([cos * a - sin * b, sin * a + cos * b], dim=-1)
    y = torch.cat([y, rest], dim=-1)
    if rank == 3:
        y = y.transpose(1, 2).flatten(2)
    y.backward(torch.tensor(ct, dtype=torch.float64))
    compare(got, given)


# -- TensorScatter --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode, starts", [("linear", [1, 3]), ("circular", [4, 2])])
@pytest.mark.parametrize("axis", [None, 1, -1])
def test_tensor_scatter(check_vjp, rng, mode, starts, axis):
    past, update = [2, 5, 5, 5], [2, 5, 5, 5]
    update[-2 if axis is None else axis] = 2
    check_vjp(
        "TensorScatter",
        rng.standard_normal(past),
        rng.standard_normal(update),
        np.array(starts),
        opset=24,
        mode=mode,
        axis=axis,
    )


def test_tensor_scatter_from_the_start(check_vjp, rng):
    check_vjp(
        "TensorScatter",
        rng.standard_normal((2, 3, 5, 4)),
        rng.standard_normal((2, 3, 2, 4)),
        opset=24,
    )


# -- Attention ------------------------------------------------------------------------------------


def attention(given, *, scale=None, causal=False, softcap=0.0):
    """By torch, with 0 for a row that is all masked."""
    q, k, v = given["q"], given["k"], given["v"]
    if "past_k" in given:
        k = torch.cat([given["past_k"], k], dim=2)
        v = torch.cat([given["past_v"], v], dim=2)
    groups = q.shape[1] // k.shape[1]
    k, v = (t.repeat_interleave(groups, dim=1) for t in (k, v))
    scores = q @ k.transpose(-1, -2) * (scale or q.shape[-1] ** -0.5)
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    mask = given.get("mask")
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, -torch.inf)
    elif mask is not None:
        scores = scores + mask
    if causal:
        past = k.shape[2] - q.shape[2]
        lower = torch.ones(scores.shape[-2:], dtype=torch.bool).tril(past)
        scores = scores.masked_fill(~lower, -torch.inf)
    alive = torch.isfinite(scores).any(-1, keepdim=True)
    return torch.softmax(scores.masked_fill(~alive, 0.0), -1).masked_fill(~alive, 0.0) @ v


BOOL = np.array([[1, 1, 0, 1, 1], [0, 0, 0, 0, 0], [1, 0, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=bool)

CASES = {
    "plain": ({}, {}, {}),
    "scale": ({}, {"scale": 0.3}, {"scale": 0.3}),
    "causal": ({}, {"is_causal": 1}, {"causal": True}),
    "bool mask with a row that is all masked": ({"mask": BOOL}, {}, {}),
    "float mask": ({"mask": np.linspace(-1, 1, 20, dtype=np.float32).reshape(4, 5)}, {}, {}),
    "float mask with a row at minus infinity": (
        {"mask": np.where(BOOL, 0.5, -np.inf).astype(np.float32)},
        {},
        {},
    ),
    "softcap": ({}, {"softcap": 0.7}, {"softcap": 0.7}),
    "cache": ({"past": 3}, {}, {}),
    "causal with cache": ({"past": 3}, {"is_causal": 1}, {"causal": True}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("heads", [2, 4])
def test_attention(rng, name, heads):
    more, attributes, oracle = CASES[name]
    inputs = {"q": single(rng, 2, heads, 4, 6)} | {n: single(rng, 2, 2, 5, 6) for n in "kv"}
    if "mask" in more:
        inputs["mask"] = more["mask"]
    outputs = ["y"]
    if "past" in more:
        inputs |= {f"past_{n}": single(rng, 2, 2, more["past"], 6) for n in "kv"}
        outputs = ["y", "present_k", "present_v"]
    if oracle.get("causal"):
        inputs["k"], inputs["v"] = inputs["k"][:, :, :4], inputs["v"][:, :, :4]
    names = ["q", "k", "v", "mask", "past_k", "past_v"]
    got, ct = gradients("Attention", inputs, names, outputs=outputs, **attributes)
    given = doubles(inputs)
    attention(given, **oracle).backward(torch.tensor(ct, dtype=torch.float64))
    compare(got, given)
