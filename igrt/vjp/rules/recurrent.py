"""VJP rules of RNN, GRU and LSTM: the pullback of the iteration of their cell.

The forward node stays as it is. Its output Y holds every hidden state, so what the cell computes
from one is computed for all steps at once; only the cell states of an LSTM need a Scan of their
own. The pullback is one Scan per direction, over what is saved. What is computed a second time here
is noted in the node; the runtime does without (`igrt.stage.lower.recurrent`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from igrt.graph import Emitter, Graph, Node, Value
from igrt.graph.body import body_graph, pack
from igrt.graph.prune import empty
from igrt.vjp.directions import Direction, Steps, directions, element, inside, note
from igrt.vjp.iterate import Stack, State, once, reverse
from igrt.vjp.recurrence import GruCell
from igrt.vjp.registry import Edge, vjp


@vjp("RNN", "X", "W", "R", "B", "initial_h", joint=True)
@vjp("GRU", "X", "W", "R", "B", "initial_h", joint=True)
@vjp("LSTM", "X", "W", "R", "B", "initial_h", "initial_c", "P", joint=True)
def recurrent(
    emit: Emitter, node: Node, cts: list[Value | None], edges: Sequence[Edge]
) -> dict[Edge, Value]:
    """h, c = cell(p, h, c), p = x·Wᵀ + b, hence x‾ = p‾·W, W‾ = Σ p‾ᵀ·x, b‾ = Σ p‾."""
    wanted = {node.formals[e] for e in edges if isinstance(e, int)}
    steps: list[Steps] = []
    parts = [_pullback(emit, d, wanted, steps) for d in directions(emit, node, cts)]
    if steps:
        note(emit, node, steps)
    gradients: dict[Edge, Value] = {}
    for edge in edges:
        formal = node.formals[int(edge)]
        pieces = [p[formal] for p in parts]
        if formal == "X":
            total = pieces[0]
            for piece in pieces[1:]:
                total = total + piece
        else:
            rows = [emit.Unsqueeze(p, [0]) for p in pieces]
            total = rows[0] if len(rows) == 1 else emit.Concat(*rows, axis=0)
        if node.attr("layout", 0) and formal in ("X", "initial_h", "initial_c"):
            total = emit.Transpose(total, perm=[1, 0, 2])
        gradients[edge] = total
    return gradients


def _pullback(
    emit: Emitter, along: Direction, wanted: set[str], steps: list[Steps]
) -> dict[str, Value]:
    """What one direction contributes, by the input's name in the schema.

    What it saves of the cell goes into `steps`, where there is more than one.
    """
    cell, backwards = along.cell, along.backwards
    inner = Emitter(Graph(empty(emit.graph.model)), outer=emit)
    product = element(inner, along.product, 1)
    enters = [element(inner, v, 0) for v in along.first]
    masks = along.within(emit, 0)
    mask = None if masks is None else element(inner, masks, 1)
    within: list[Value] = []
    leaves, y = cell.step(inner, product, enters, inside(inner, along.weights), mask, within)
    read = [product, *enters, *([] if mask is None else [mask])]
    original = pack(inner, onnx.GraphProto(), [v.spec for v in read], [*leaves, y])
    body = body_graph(
        emit.graph, original, spec=lambda n: emit.value(n).spec, constant=emit.constant_of
    )
    names = [o.name for o in original.output]

    hidden = along.hidden(emit)
    before = [hidden, *along.cells(emit, hidden)]
    stacks: list[Value] = []
    cell.step(emit, along.product, before, along.weights, masks, stacks)
    if not along.single:
        steps.append(
            Steps(
                along.product.name,
                {n: v.name for n, v in along.weights.items()},
                [v.name for v in along.first],
                None if masks is None else masks.name,
                along.backwards,
                [v.name for v in (*stacks, *before)],
            )
        )
    tapes = dict(zip([v.name for v in (*within, *enters)], [*stacks, *before], strict=True))

    reads = [Stack(product.name, along.product, 0, backwards)]
    if mask is not None and masks is not None:
        reads.append(Stack(mask.name, masks, 0, backwards))
    sources = {"R": "R", "R_zr": "R", "R_h": "R", "Rb": "B", "P_i": "P", "P_f": "P", "P_o": "P"}
    captured = [v.name for n, v in along.weights.items() if sources[n] in wanted]
    common: dict[str, Any] = {
        "states": [
            State(v.name, leaf, first, end)
            for v, leaf, first, end in zip(enters, names, along.first, along.ends, strict=False)
        ],
        "reads": reads,
        "writes": [] if along.ct is None else [Stack(names[-1], along.ct, 0, backwards)],
        "wrt": [*([product.name] if {"X", "W", "B"} & wanted else []), *captured],
        "saved": lambda wanted: [Stack(n, tapes[n], 0, backwards) for n in wanted],
        "cheap": [v.name for v in within],
    }
    if along.single:
        found = once(emit, body, original, **common)
    else:
        everything = tapes | {r.name: r.value for r in reads}
        found = reverse(emit, body, original, **common, stacked=everything)
    given = {n: found.get(v.name) for n, v in along.weights.items()}
    gradients = {n: found[v.name] for n, v in zip(("initial_h", "initial_c"), enters, strict=False)}
    return gradients | _of_weights(emit, along, found.get(product.name), given, wanted)


def _of_weights(
    emit: Emitter,
    along: Direction,
    product: Value | None,
    given: Mapping[str, Value | None],
    wanted: set[str],
) -> dict[str, Value]:
    """Gradients of x and of the weights, from those of the product and of the cell's weights."""

    def weight(name: str) -> Value:
        value = given.get(name)
        return emit.zeros_like(along.weights[name]) if value is None else value

    gradients = {}
    product = emit.zeros_like(along.product) if product is None else product
    if "X" in wanted:
        gradients["X"] = emit.MatMul(product, along.w)
    if "W" in wanted:
        rows = [emit.reshape(v, [-1, emit.dims(v, 2, 3)]) for v in (product, along.x)]
        gradients["W"] = emit.Gemm(*rows, transA=1)
    if "B" in wanted:
        total = emit.ReduceSum(product, [0, 1], keepdims=0)
        behind = total
        if "Rb" in along.weights and isinstance(along.cell, GruCell):
            behind = emit.Concat(
                emit.Slice(total, [0], [2 * along.cell.size], [0]), weight("Rb"), axis=0
            )
        gradients["B"] = emit.Concat(total, behind, axis=0)
    if "R" in wanted:
        names = ["R"] if "R" in along.weights else ["R_zr", "R_h"]
        pieces = [weight(n) for n in names]
        whole = pieces[0] if len(pieces) == 1 else emit.Concat(*pieces, axis=1)
        gradients["R"] = emit.Transpose(whole, perm=[1, 0])
    if "P" in wanted:
        gradients["P"] = emit.Concat(*(weight(f"P_{g}") for g in "iof"), axis=0)
    return gradients
