"""Small models of every kind, and seeded damage to their bytes and structure."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper, parser

ROOT = Path(__file__).parents[2]

TEXTS = [
    # a convolutional network with the operators that make and undo shapes
    """<ir_version: 8, opset_import: ["": 17]>
    g (float[N, 2, 8, 8] x) => (float[N, 3] y)
{
        a = Conv <pads = [1, 1, 1, 1]> (x, kernel)
        b = BatchNormalization (a, scale, scale, scale, scale)
        d = Relu (b)
        e = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (d)
        f = Flatten (e)
        h = Gemm (f, dense)
        y = Softmax <axis = -1> (h)
    }""",
    # shapes computed at run time, indices, broadcasting, several outputs
    """<ir_version: 8, opset_import: ["": 13]>
    g (float[N, T, 6] x, int64[K] at) => (float[N, T, 3] y, float[N, K, 6] picked)
    <int64[2] parts = {3, 3}> {
        two = Constant <value = int64[1] {2}> ()
        m = MatMul (x, square)
        p, q = Split <axis = 2> (m, parts)
        s = Sigmoid (p)
        r = Mul (s, q)
        mean = ReduceMean <axes = [1], keepdims = 1> (r)
        z = Sub (r, mean)
        shape = Shape (z)
        flat = Constant <value = int64[2] {-1, 3}> ()
        w = Reshape (z, flat)
        y = Reshape (w, shape)
        picked = Gather <axis = 1> (x, at)
    }""",
    # an old file: attributes that became inputs, and a stored tensor listed as an input
    """<ir_version: 3, opset_import: ["": 7]>
    g (float[2, 3, 4] x, float[4, 5] oblong) => (float[2, 3, 5] y) {
        a = Clip <min = -1.0, max = 1.0> (x)
        u = Unsqueeze <axes = [0]> (a)
        s = Squeeze <axes = [0]> (u)
        p = Pad <pads = [0, 0, 1, 0, 0, 1]> (s)
        q = Slice <axes = [2], starts = [1], ends = [5]> (p)
        m = MatMul (q, oblong)
        y = Upsample <mode = "nearest", scales = [1.0, 1.0, 1.0]> (m)
    }""",
    # bodies and a local function
    """<ir_version: 8, opset_import: ["": 17, "local": 1]>
    g (float[N, 4] x, bool flag) => (float[N, 4] y) {
        a = If (flag) <
            then_branch = yes () => (float[N, 4] b) { b = Exp (x) },
            else_branch = no () => (float[N, 4] c) { c = Tanh (x) }
        >
        y = local.twice (a)
    }
    <domain: "local", opset_import: ["": 17]>
    twice (v) => (w) { u = Add (v, v)  w = Softplus (u) }""",
    # recurrence and a sequence of smooth operators
    """<ir_version: 8, opset_import: ["": 18]>
    g (float[5, N, 3] x) => (float[5, 1, N, 4] y)
    {
        a = LayerNormalization <axis = -1> (x, gain)
        y, h, c = LSTM <hidden_size = 4> (a, gates, again)
    }""",
]


WEIGHTS = {
    "kernel": (4, 2, 3, 3),
    "scale": (4,),
    "dense": (64, 3),
    "square": (6, 6),
    "oblong": (4, 5),
    "gain": (3,),
    "gates": (1, 16, 3),
    "again": (1, 16, 4),
}


def originals() -> list[onnx.ModelProto]:
    """Small models of every kind that the loader knows."""
    rng = np.random.default_rng(0)
    models = []
    for text in TEXTS:
        model = parser.parse_model(text)
        for name, dims in WEIGHTS.items():
            if any(name in n.input for n in model.graph.node):
                array = np.abs(rng.standard_normal(dims)).astype(np.float32)
                model.graph.initializer.append(numpy_helper.from_array(array, name))
        models.append(model)
    # by name, so that another model in the folder does not change what a seed damages
    models += [
        onnx.load(ROOT / "models" / name / f"{name}.onnx")
        for name in ("breast_cancer_mlp", "digits_cnn")
    ]
    return models


def damaged_bytes(data: bytes, rng: random.Random) -> bytes:
    """The file with bytes flipped, cut, doubled, moved or blanked."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at = rng.randrange(max(1, len(out)))
        match rng.randrange(6):
            case 0 | 1:
                out[at : at + 1] = bytes([rng.randrange(256)])
            case 2:
                out[at : at + 1] = bytes([out[at] ^ (1 << rng.randrange(8))]) if out else b""
            case 3:
                del out[at : at + rng.choice([1, 1, 8, 100])]
            case 4:
                out[at:at] = out[at : at + rng.choice([1, 8, 64])]
            case 5:
                out = out[:at] if rng.random() < 0.3 else out
    return bytes(out)


OPERATORS = [
    *("Abs", "Add", "ArgMax", "AveragePool", "Cast", "Clip", "Concat", "Conv", "ConvTranspose"),
    *("CumSum", "Einsum", "Exp", "Expand", "Flatten", "GRU", "Gather", "GatherND", "Gemm", "If"),
    *("LSTM", "LayerNormalization", "Loop", "MatMul", "MaxPool", "Mod", "Mul", "NonZero", "OneHot"),
    *("Pad", "Pow", "QuantizeLinear", "ReduceMax", "ReduceSum", "Reshape", "Resize", "Scan"),
    *("ScatterND", "SequenceAt", "Slice", "Softmax", "Split", "Squeeze", "Tile", "TopK"),
    *("Transpose", "Unsqueeze", "Upsample", "Where", "Nonsense", "FusedMatMul", ""),
]


def damaged_structure(model: onnx.ModelProto, rng: random.Random) -> onnx.ModelProto:
    """The model with one to three parts of its graph changed."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for _ in range(rng.choice([1, 1, 2, 3])):
        rng.choice(DAMAGES)(copy, rng)
    return copy


def _node(model: onnx.ModelProto, rng: random.Random) -> onnx.NodeProto:
    nodes = [*model.graph.node, *(n for f in model.functions for n in f.node)]
    bodies = [a.g for n in nodes for a in n.attribute if a.HasField("g")]
    nodes += [n for g in bodies for n in g.node]
    return rng.choice(nodes) if nodes else model.graph.node.add()


def _tensor_names(model: onnx.ModelProto) -> list[str]:
    names = [i.name for i in model.graph.input] + [t.name for t in model.graph.initializer]
    return [*names, *(o for n in model.graph.node for o in n.output), "nowhere", ""]


def change_operator(model: onnx.ModelProto, rng: random.Random) -> None:
    _node(model, rng).op_type = rng.choice(OPERATORS)


def change_domain(model: onnx.ModelProto, rng: random.Random) -> None:
    _node(model, rng).domain = rng.choice(["ai.onnx", "com.microsoft", "ai.onnx.ml", "local", "x"])


def change_input(model: onnx.ModelProto, rng: random.Random) -> None:
    """Also makes circles."""
    node, name = _node(model, rng), rng.choice(_tensor_names(model))
    match rng.randrange(3):
        case 0:
            node.input.append(name)
        case 1 if node.input:
            del node.input[rng.randrange(len(node.input)) :]
        case _ if node.input:
            node.input[rng.randrange(len(node.input))] = name


def change_output(model: onnx.ModelProto, rng: random.Random) -> None:
    node, name = _node(model, rng), rng.choice(_tensor_names(model))
    match rng.randrange(3):
        case 0:
            node.output.append(name)
        case 1:
            del node.output[:]
        case _ if node.output:
            node.output[rng.randrange(len(node.output))] = name


def change_attribute(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    if node.attribute and rng.random() < 0.8:
        attribute = rng.choice(node.attribute)
        match rng.randrange(6):
            case 0:
                attribute.i = rng.choice([-1, 0, 1, 2, 7, 1 << 40, -(1 << 62)])
            case 1:
                attribute.ints[:] = [rng.choice([-1, 0, 1, 3, 1 << 33]) for _ in range(3)]
            case 2:
                attribute.type = rng.randrange(15)
            case 3:
                attribute.name = rng.choice(["axis", "axes", "to", "pads", "mode", ""])
            case 4:
                attribute.s = rng.choice([b"", b"\xff\xfe", b"SAME_UPPER", b"linear"])
            case 5:
                attribute.f = rng.choice([float("nan"), float("inf"), -1.0, 0.0])
    elif rng.random() < 0.5:
        name = rng.choice(["axis", "axes", "keepdims", "perm", "to", "pads", "group", "equation"])
        value = rng.choice([0, -1, 5, [0], [-9], [1 << 40], "text", 1.5])
        node.attribute.append(onnx.helper.make_attribute(name, value))
    else:
        del node.attribute[:]


def change_shape(model: onnx.ModelProto, rng: random.Random) -> None:
    infos = [*model.graph.input, *model.graph.output]
    if not infos:
        return
    shape = rng.choice(infos).type.tensor_type.shape
    match rng.randrange(4):
        case 0 if shape.dim:
            rng.choice(shape.dim).dim_value = rng.choice([-1, 0, 1, 3, 1 << 40])
        case 1 if shape.dim:
            rng.choice(shape.dim).dim_param = rng.choice(["", "N", "T", "é", "a b"])
        case 2:
            shape.dim.add().dim_value = 2
        case 3:
            del shape.dim[:]


def change_type(model: onnx.ModelProto, rng: random.Random) -> None:
    infos = [*model.graph.input, *model.graph.output]
    if not infos:
        return
    info = rng.choice(infos)
    if rng.random() < 0.8:
        info.type.tensor_type.elem_type = rng.randrange(28)
    else:
        rng.choice([info.type.sequence_type.elem_type, info.type.optional_type.elem_type])
        info.type.sequence_type.elem_type.tensor_type.elem_type = 1


def change_stored(model: onnx.ModelProto, rng: random.Random) -> None:
    if not model.graph.initializer:
        return
    tensor = rng.choice(model.graph.initializer)
    match rng.randrange(7):
        case 0:
            tensor.data_type = rng.randrange(28)
        case 1:
            tensor.dims[:] = [rng.choice([0, 1, 2, -1, 1 << 40]) for _ in range(rng.randrange(4))]
        case 2:
            tensor.raw_data = tensor.raw_data[: len(tensor.raw_data) // 2]
        case 3:
            tensor.name = rng.choice(_tensor_names(model))
        case 4:
            tensor.data_location = TensorProto.EXTERNAL
            entry = tensor.external_data.add()
            entry.key, entry.value = "location", rng.choice(["../x", "/etc/passwd", "x", ""])
        case 5:
            model.graph.initializer.remove(tensor)
        case 6:
            model.graph.initializer.append(tensor)


def change_graph(model: onnx.ModelProto, rng: random.Random) -> None:
    graph = model.graph
    match rng.randrange(6):
        case 0 if graph.node:
            graph.node.remove(rng.choice(graph.node))
        case 1 if graph.node:
            graph.node.add().CopyFrom(rng.choice(graph.node))
        case 2 if graph.input:
            graph.input.remove(rng.choice(graph.input))
        case 3:
            graph.output.add().name = rng.choice(_tensor_names(model))
        case 4 if graph.output:
            graph.output.remove(rng.choice(graph.output))
        case 5 if graph.input or graph.output:
            graph.input.add().CopyFrom(rng.choice([*graph.input, *graph.output]))


def change_version(model: onnx.ModelProto, rng: random.Random) -> None:
    if rng.random() < 0.7:
        rng.choice(model.opset_import).version = rng.choice([-1, 0, 1, 5, 9, 12, 20, 23, 26, 99])
    elif rng.random() < 0.5:
        model.ir_version = rng.choice([0, 1, 3, 9, 13, 99])
    else:
        model.opset_import.add().domain = rng.choice(["", "ai.onnx.ml", "com.microsoft"])


def change_name(model: onnx.ModelProto, rng: random.Random) -> None:
    name = rng.choice(["", "igrt/grad/x", "igrt/1_Add", "é" * 40, "a/b:0", "x"])
    match rng.randrange(3):
        case 0:
            _node(model, rng).name = name
        case 1 if model.graph.output:
            model.graph.output[0].name = name
        case 2 if model.graph.input:
            model.graph.input[0].name = name


def change_function(model: onnx.ModelProto, rng: random.Random) -> None:
    """A function that calls itself, has no body, or takes other inputs."""
    if not model.functions:
        return
    function = model.functions[0]
    match rng.randrange(4):
        case 0:
            call = onnx.helper.make_node(function.name, list(function.input), ["r"], domain="local")
            function.node.append(call)
        case 1:
            del function.node[:]
        case 2:
            function.input.append("more")
        case 3:
            del function.opset_import[:]


DAMAGES: list[Callable[[onnx.ModelProto, random.Random], None]] = [
    *(change_operator, change_domain, change_input, change_output, change_attribute),
    *(change_attribute, change_shape, change_type, change_stored, change_stored, change_graph),
    *(change_version, change_name, change_function),
]


def mutant(number: int, models: list[onnx.ModelProto]) -> bytes | onnx.ModelProto:
    """One damaged model, the same for the same number."""
    rng = random.Random(number)
    model = rng.choice(models)
    if number % 2:
        return damaged_bytes(model.SerializeToString(), rng)
    return damaged_structure(model, rng)
