"""`Case`: a random model, the same for the same seed, with inputs for it."""

from __future__ import annotations

import numpy as np
import onnx
from control import ANYWHERE, grow
from maker import OPSET, Maker
from onnx import TensorProto, helper, numpy_helper


class Case:
    """A random model with inputs for it.

    Args:
        seed: What it is made from.
    """

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        m = Maker(rng)
        shapes = [
            (2, 3),
            (3, 4),
            (2, 3, 4),
            (1, 2, 3),
            (2, 2, 3, 3),
            (4,),
            (3, 1),
            (),
            (1, 1, 4, 4),
        ]
        for i in range(int(rng.integers(1, 4))):
            m.own[f"x{i}"] = rng.uniform(-1.5, 1.5, m.choose(shapes))
        self.feeds = dict(m.own)
        grow(m, ANYWHERE, int(rng.integers(3, 16)))
        made = [n for n, a in m.own.items() if n[0] == "t" and a.dtype.kind == "f" and a.size]
        if not made:
            made = [str(m.add("Sin", ["x0"]))]
        self.of = made[-1]
        self.more = [n for n in made[:-1] if rng.random() < 0.2]
        self.nodes, self.stored = m.nodes, m.stored
        self.ranks = {n: a.ndim for n, a in m.own.items() if a.dtype.kind == "f"}
        self.symbolic, self.typed = bool(rng.random() < 0.5), bool(rng.random() < 0.7)
        self.open = {n: [bool(rng.random() < 0.5) for _ in a.shape] for n, a in self.feeds.items()}

    @property
    def operators(self) -> list[str]:
        """Operators in it, those of bodies included."""
        found, todo = [], list(self.nodes)
        while todo:
            node = todo.pop()
            found.append(node.op_type)
            todo += [n for a in node.attribute if a.HasField("g") for n in a.g.node]
        return found

    def model(self, dtype: type) -> onnx.ModelProto:
        """The model with all floats in one type."""
        inputs = []
        for name, array in self.feeds.items():
            shape = [
                f"{name}_{i}" if self.symbolic and free else d
                for i, (d, free) in enumerate(zip(array.shape, self.open[name], strict=True))
            ]
            inputs.append(helper.make_tensor_value_info(name, TensorProto.DOUBLE, shape))
        outputs = [
            helper.make_tensor_value_info(n, TensorProto.DOUBLE, [None] * self.ranks[n])
            for n in [self.of, *self.more]
        ]
        stored = [numpy_helper.from_array(a, n) for n, a in self.stored.items()]
        known = [n for n in self.ranks if self.typed and n[0] == "t"]
        infos = [
            helper.make_tensor_value_info(n, TensorProto.DOUBLE, [None] * self.ranks[n])
            for n in known
            if n not in (self.of, *self.more)
        ]
        graph = helper.make_graph(self.nodes, "random", inputs, outputs, stored, value_info=infos)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        if dtype is np.float32:
            _narrow(model.graph)
        return model


def _narrow(graph: onnx.GraphProto) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.DOUBLE:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    stored = [a.t for n in graph.node for a in n.attribute if a.HasField("t")]
    for tensor in (*graph.initializer, *stored):
        if tensor.data_type == TensorProto.DOUBLE:
            array = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _narrow(attribute.g)
