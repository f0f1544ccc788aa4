"""Quantised ONNX models in PyTorch: an oracle that knows nothing of igrt's lowering.

A tensor of whole numbers is a float tensor of the same numbers. Rounding passes its gradient
straight through, and cutting off at the ends of the range masks it, as in
`torch.fake_quantize_per_tensor_affine` (Krishnamoorthi 2018). Every operator on whole numbers is
then the operator on floats, whether or not it is one of the quantised ones.
"""

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper

RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "uint16": (0, 65535)}

ROUNDS = [True]
"""Whether quantisers round, or only cut off at the ends of their range; the last one holds."""


def run(model, feeds):
    """Outputs by name; `feeds` and they are float tensors that carry gradients."""
    return _run(model.graph, dict(feeds), {})


def _run(graph, env, kinds):
    kinds = dict(kinds)
    for tensor in graph.initializer:
        env[tensor.name] = _tensor(tensor)
        kinds[tensor.name] = helper.tensor_dtype_to_np_dtype(tensor.data_type).name
    for node in graph.node:
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        operands = [env[n] if n else None for n in node.input]
        names = [kinds.get(n, "") for n in node.input]
        if node.op_type == "Scan":
            results = _scan(given, operands, env, kinds)
        elif node.op_type == "Constant":
            results = [_tensor(given["value"])]
            kinds[node.output[0]] = helper.tensor_dtype_to_np_dtype(given["value"].data_type).name
        else:
            results = OPS[node.op_type](given, names, *operands)
        results = results if isinstance(results, (list, tuple)) else [results]
        env.update(zip(node.output, results, strict=False))
    return {o.name: env[o.name] for o in graph.output}


def _tensor(tensor):
    array = numpy_helper.to_array(tensor)
    return torch.tensor(array if array.dtype == np.int64 else array.astype(np.float32))


def _scan(given, operands, env, kinds):
    body, reads = given["body"], given["num_scan_inputs"]
    states, stacks = operands[:-reads], operands[-reads:]
    axes = given.get("scan_input_axes", [0] * reads)
    names = [i.name for i in body.input]
    written = None
    for t in range(stacks[0].shape[axes[0]]):
        parts = [s.select(a, t) for s, a in zip(stacks, axes, strict=True)]
        inner = _run(body, env | dict(zip(names, [*states, *parts], strict=True)), kinds)
        results = [inner[o.name] for o in body.output]
        states, rest = results[: len(states)], results[len(states) :]
        written = written or [[] for _ in rest]
        for kept, value in zip(written, rest, strict=True):
            kept.append(value)
    to = given.get("scan_output_axes", [0] * len(written))
    return [*states, *(torch.stack(w, a) for w, a in zip(written, to, strict=True))]


def _along(value, like, axis):
    if value is None or value.numel() == 1:
        return value if value is None else value.reshape(())
    shape = [1] * like.ndim
    shape[axis] = -1
    return value.reshape(shape)


def quantise(given, names, x, scale, zero=None, axis=1):
    axis = given.get("axis", axis)
    low, high = RANGES[names[2] if len(names) > 2 and names[2] else "uint8"]
    count = x / _along(scale, x, axis)
    if ROUNDS[-1]:  # the kernel rounds, then adds the zero
        count = count + (torch.round(count) - count).detach()
    count = count if zero is None else count + _along(zero, x, axis)
    return torch.clamp(count, low, high)


def real(given, names, q, scale, zero=None, axis=1):
    axis = given.get("axis", axis)
    count = q if zero is None else q - _along(zero, q, axis)
    return count * _along(scale, q, axis)


def dynamic(given, names, x):
    low, high = x.min().clamp(max=0), x.max().clamp(min=0)
    scale = ((high - low) / 255).detach()
    zero = torch.round(torch.clamp(-low / scale, 0, 255)).detach()
    count = x / scale
    if not ROUNDS[-1]:
        return count + zero, scale, zero
    count = count + (torch.round(count) - count).detach()
    return torch.clamp(count + zero, 0, 255), scale, zero


def conv(given, x, w, b=None):
    before, after = np.split(np.array(given.get("pads", [0] * 2 * (w.ndim - 2))), 2)
    pads = [int(p) for pair in zip(before[::-1], after[::-1], strict=True) for p in pair]
    function = {3: F.conv1d, 4: F.conv2d}[x.ndim]
    return function(F.pad(x, pads), w, b, stride=given.get("strides", 1))


def qlinear_conv(given, names, x, xs, xz, w, ws, wz, ys, yz, b=None):
    bias = None if b is None else b * (xs * ws)
    y = conv(given, real({}, (), x, xs, xz), real({}, (), w, ws, wz, axis=0), bias)
    return quantise({}, names[5:8], y, ys, yz)


def qlinear_matmul(given, names, a, a_s, az, b, b_s, bz, ys, yz):
    y = real({}, (), a, a_s, az) @ real({}, (), b, b_s, bz, axis=-1)
    return quantise({}, names[5:8], y, ys, yz)


def qgemm(given, names, a, a_s, az, b, b_s, bz, c=None, ys=None, yz=None):
    right = real({}, (), b, b_s, bz, axis=0 if given.get("transB") else 1)
    right = right.T if given.get("transB") else right
    y = given.get("alpha", 1.0) * real({}, (), a, a_s, az) @ right
    y = y if c is None else y + c * (a_s * b_s)
    return y if ys is None else quantise({}, ["", "", names[8]], y, ys, yz)


def qlinear_binary(function):
    def apply(given, names, a, a_s, az, b, b_s, bz, ys, yz):
        y = function(real({}, (), a, a_s, az), real({}, (), b, b_s, bz))
        return quantise({}, names[5:8], y, ys, yz)

    return apply


def qlinear_unary(function):
    def apply(given, names, x, xs, xz, ys, yz):
        return quantise({}, names[2:5], function(given, real({}, (), x, xs, xz)), ys, yz)

    return apply


def qlinear_concat(given, names, scale, zero, *rest):
    parts = [real({}, (), *rest[i : i + 3]) for i in range(0, len(rest), 3)]
    return quantise({}, ["", "", names[1]], torch.cat(parts, given["axis"]), scale, zero)


def average(given, x):
    return F.avg_pool2d(x, given["kernel_shape"], given["strides"])


def axes_of(given, axes):
    return given["axes"] if axes is None else axes.tolist()


def unsqueeze(given, names, x, axes=None):
    for a in sorted(axes_of(given, axes)):
        x = x.unsqueeze(a)
    return x


def squeeze(given, names, x, axes=None):
    for a in sorted(axes_of(given, axes), reverse=True):
        x = x.squeeze(a)
    return x


def cut(given, names, x, starts, ends):
    for axis, (start, end) in enumerate(zip(starts.long(), ends.long(), strict=True)):
        x = x.narrow(axis, int(start), int(end - start))
    return x


def gemm(given, names, a, b, c=None):
    a, b = (a.T if given.get("transA") else a), (b.T if given.get("transB") else b)
    y = given.get("alpha", 1.0) * a @ b
    return y if c is None else y + given.get("beta", 1.0) * c


def largest(given, x):
    top, left, bottom, right = given.get("pads", [0] * 4)
    whole = F.pad(x, (left, right, top, bottom), value=-torch.inf)
    return F.max_pool2d(
        whole,
        given["kernel_shape"],
        given.get("strides", 1),
        ceil_mode=bool(given.get("ceil_mode")),
    )


def response(given, names, x):
    size, alpha, beta = given["size"], given.get("alpha", 1e-4), given.get("beta", 0.75)
    return F.local_response_norm(x, size, alpha, beta, given.get("bias", 1.0))


OPS = {
    "Div": lambda g, n, a, b: a / b,
    "MaxPool": lambda g, n, x: largest(g, x),
    "QLinearSoftmax": qlinear_unary(lambda g, x: torch.softmax(x, g.get("axis", -1))),
    "Softmax": lambda g, n, x: torch.softmax(x, g.get("axis", -1)),
    "Sub": lambda g, n, a, b: a - b,
    "Add": lambda g, n, a, b: a + b,
    "AveragePool": lambda g, n, x: average(g, x),
    "Cast": lambda g, n, x: x,
    "Concat": lambda g, n, *x: torch.cat(x, g["axis"]),
    "Conv": lambda g, n, *x: conv(g, *x),
    "ConvInteger": lambda g, n, x, w, xz=0, wz=0: conv(g, x - xz, w - wz),
    "DequantizeLinear": real,
    "DynamicQuantizeLinear": dynamic,
    "Flatten": lambda g, n, x: x.flatten(g.get("axis", 1)),
    "Gemm": gemm,
    "GlobalAveragePool": lambda g, n, x: x.mean((2, 3), keepdim=True),
    "Identity": lambda g, n, x: x,
    "LRN": response,
    "MatMul": lambda g, n, a, b: a @ b,
    "MatMulInteger": lambda g, n, a, b, az=0, bz=0: (a - az) @ (b - bz),
    "Mul": lambda g, n, a, b: a * b,
    "QGemm": qgemm,
    "QLinearAdd": qlinear_binary(lambda a, b: a + b),
    "QLinearAveragePool": qlinear_unary(average),
    "QLinearConcat": qlinear_concat,
    "QLinearConv": qlinear_conv,
    "QLinearGlobalAveragePool": qlinear_unary(lambda g, x: x.mean((2, 3), keepdim=True)),
    "QLinearMatMul": qlinear_matmul,
    "QLinearMul": qlinear_binary(lambda a, b: a * b),
    "QLinearSigmoid": qlinear_unary(lambda g, x: torch.sigmoid(x)),
    "QuantizeLinear": quantise,
    "Relu": lambda g, n, x: torch.relu(x),
    "Reshape": lambda g, n, x, s: x.reshape([d or x.shape[i] for i, d in enumerate(s.tolist())]),
    "Sigmoid": lambda g, n, x: torch.sigmoid(x),
    "Slice": cut,
    "Split": lambda g, n, x: x.split(g["split"], g["axis"]),
    "Squeeze": squeeze,
    "Tanh": lambda g, n, x: torch.tanh(x),
    "Transpose": lambda g, n, x: x.permute(g["perm"]),
    "Unsqueeze": unsqueeze,
}


def gradient(model: onnx.ModelProto, x, ct, of="y", wrt="x", rounds=True):
    """The output, and the gradient of ⟨ct, output⟩, straight through or of no rounding at all."""
    leaf = torch.tensor(x, requires_grad=True)
    ROUNDS.append(rounds)
    try:
        y = run(model, {wrt: leaf})[of]
    finally:
        ROUNDS.pop()
    (y * torch.tensor(ct)).sum().backward()
    return y.detach().numpy(), leaf.grad.numpy()
