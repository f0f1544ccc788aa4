"""The gradient graph in the form that onnxruntime runs fastest, for the runtime's own sessions.

What `igrt augment` and `igrt export` write stays as the rules make it, for any runtime. Every
rewrite keeps results to float32 rounding and says why it is one.
"""

from __future__ import annotations

import onnx

from igrt.graph.prune import needed_names, prune
from igrt.stage.lower.clip import widen_clips
from igrt.stage.lower.depthwise import fill_depthwise
from igrt.stage.lower.factor import factor_out
from igrt.stage.lower.recurrent import keep_gates


def lower(model: onnx.ModelProto) -> onnx.ModelProto:
    """An equal model for onnxruntime.

    Args:
        model: A gradient graph, nodes in topological order; not changed.
    """
    outputs = [o.name for o in model.graph.output]
    lowered = prune(model, outputs)
    for rewrite in (keep_gates, widen_clips, fill_depthwise, factor_out):
        rewrite(lowered)
    graph = lowered.graph
    needed = needed_names(graph.node, outputs)
    kept = [n for n in graph.node if needed.intersection(n.output)]
    del graph.node[:]
    graph.node.extend(kept)
    return lowered


__all__ = ["lower"]
