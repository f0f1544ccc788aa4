"""Strided depthwise ConvTranspose as a Conv."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from igrt.graph import Graph
from igrt.graph.emit import PREFIX

_PREFIX = f"{PREFIX}lower/depthwise/"

_BLOCK = 16
"""Channels that onnxruntime convolves at once with AVX-512; 8 with AVX2."""

_MOST = 2**18
"""Places of a channel up to which an index of each is stored: 2 MiB."""

_TO_THE_FRONT = int(np.iinfo(np.int64).min)


def fill_depthwise(model: onnx.ModelProto) -> None:
    """ConvTranspose(y, w), a kernel per channel and stride s → Conv(z, w reversed), z[s·p] = y[p].

    The rest of z is zero, and y comes there by a Gather in rows of all channels. Right to the order
    of a sum. onnxruntime runs such a ConvTranspose channel by channel, on one thread, and has
    kernels for a depthwise Conv, on all of them. Forward nodes stay as they are.

    Args:
        model: Changed in place.
    """
    graph = Graph(model)
    nodes: list[onnx.NodeProto] = []
    for node in graph.nodes:
        spread = _spread(graph, node)
        nodes.extend([node] if spread is None else spread.nodes(model, node))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


@final
@dataclass(frozen=True)
class _Spread:
    """A ConvTranspose that a Conv can take the place of.

    Args:
        channels: Number of channels, and of kernels.
        counts: Spatial sizes of y.
        strides: s for each spatial axis.
        dilations: Steps inside a kernel.
        pads: Padding of the Conv, in front of all axes, then behind.
    """

    channels: int
    counts: list[int]
    strides: list[int]
    dilations: list[int]
    pads: list[int]

    @property
    def sizes(self) -> list[int]:
        """Spatial sizes of z."""
        return [s * (n - 1) + 1 for s, n in zip(self.strides, self.counts, strict=True)]

    def nodes(self, model: onnx.ModelProto, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """The nodes of the Conv, which ends in the output of `node`."""
        made: list[onnx.NodeProto] = []

        def stored(array: Any, name: str) -> str:
            full = f"{_PREFIX}{node.output[0]}/{name}"
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), full))
            return full

        def apply(op_type: str, *inputs: str, **attributes: Any) -> str:
            name = f"{_PREFIX}{node.output[0]}/{len(made)}"
            made.append(helper.make_node(op_type, inputs, [name], name, **attributes))
            return name

        rank = len(self.counts)
        nothing = prod(self.counts)
        place = np.full(self.sizes, nothing)
        place[tuple(slice(None, None, s) for s in self.strides)] = np.arange(nothing).reshape(
            self.counts
        )
        rows = apply("Transpose", node.input[0], perm=[0, *range(2, 2 + rank), 1])
        rows = apply("Reshape", rows, stored([0, nothing, self.channels], "rows"))
        rows = apply("Pad", rows, stored([0, 0, 0, 0, 1, 0], "pads"))
        rows = apply("Gather", rows, stored(place.ravel(), "place"), axis=1)
        rows = apply("Reshape", rows, stored([0, *self.sizes, self.channels], "sizes"))
        spread = apply("Transpose", rows, perm=[0, rank + 1, *range(1, rank + 1)])
        axes = stored(range(2, 2 + rank), "axes")
        back, front = stored([-1] * rank, "back"), stored([_TO_THE_FRONT] * rank, "front")
        kernel = apply("Slice", node.input[1], back, front, axes, back)
        window = {"dilations": self.dilations, "pads": self.pads, "group": self.channels}
        apply("Conv", spread, kernel, **window)
        made[-1].name, made[-1].output[0] = node.name, node.output[0]
        return made


def _spread(graph: Graph, node: onnx.NodeProto) -> _Spread | None:
    """What a node is as a Conv; None where it stays."""
    if node.op_type != "ConvTranspose" or node.domain or not node.output[0].startswith(PREFIX):
        return None
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    (_, *y), w = (_known(graph, n) for n in node.input[:2])
    if 0 in (*y, *w) or not y[0] == w[0] == given.get("group") or w[1] != 1 or y[0] % _BLOCK:
        return None
    strides, dilations = given["strides"], given["dilations"]
    reach = [d * (k - 1) for d, k in zip(dilations, w[2:], strict=True)]
    extra = [0] * len(reach) + list(given["output_padding"])
    pads = [r - p + e for r, p, e in zip([*reach, *reach], given["pads"], extra, strict=True)]
    spread = _Spread(y[0], y[1:], strides, dilations, pads)
    fits = max(strides) > 1 and min(pads) >= 0 and prod(spread.sizes) <= _MOST
    return spread if fits else None


def _known(graph: Graph, name: str) -> list[int]:
    """The shape of a tensor; 0 for a size that is not known."""
    return [d if isinstance(d, int) else 0 for d in graph.spec(name).shape or (0, 0)]


__all__ = ["fill_depthwise"]
