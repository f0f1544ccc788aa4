"""The pullback of an iteration: the body's own pullback, run backwards over what was saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import onnx
from onnx import helper

from igrt.graph import Emitter, Graph, Value
from igrt.graph.body import needed_nodes, own_inputs, pack
from igrt.graph.onnx_types import value_info
from igrt.specs import Dim, TensorSpec
from igrt.vjp.lean import at_once, element_shape, fuse
from igrt.vjp.pullback import pullback, reach


@final
@dataclass(frozen=True)
class State:
    """A tensor that one iteration hands to the next.

    Args:
        enters: Its name as an input of the body.
        leaves: Its name as an output of the body.
        first: What it is before the first iteration.
        ct: Cotangent of what it is after the last one; None where that is not used.
    """

    enters: str
    leaves: str
    first: Value
    ct: Value | None


@final
@dataclass(frozen=True)
class Stack:
    """A tensor of the body, stacked over the iterations.

    Args:
        name: Its name in the body.
        value: The stack, or the cotangent of the stack.
        axis: The axis that counts the iterations.
        backwards: Whether the first iteration's element is the last one of the stack.
    """

    name: str
    value: Value
    axis: int = 0
    backwards: bool = False


def reverse(
    emit: Emitter,
    body: Graph,
    original: onnx.GraphProto,
    *,
    states: Sequence[State],
    reads: Sequence[Stack],
    writes: Sequence[Stack],
    wrt: Sequence[str],
    saved: Callable[[list[str]], list[Stack]],
    cheap: Sequence[str] = (),
    counted: bool = False,
    stacked: Mapping[str, Value] | None = None,
) -> dict[str, Value]:
    """Gradients of an iteration s, y = body(s, x, c).

    In iteration t, from the last to the first, with what the body read in the forward pass:
    s‾, x‾ₜ, Δc‾ = pullback of the body at (sₜ, xₜ, c), of (s‾, y‾ₜ); and c‾ += Δc‾.

    Args:
        emit: Where the reversed Scan goes.
        body: The body as a graph.
        original: The body as it stands in the model.
        states: The states that vary.
        reads: What the body reads one element of per iteration.
        writes: Cotangents of what it writes one element of per iteration.
        wrt: Names in `reads`, and captured tensors, to differentiate with respect to.
        saved: Gives stacks of the tensors of the body with these names; asked once, for what the
            pullback needs and for nothing else.
        cheap: Names of inner tensors of the body that `saved` has, so that they need not be
            computed a second time.
        stacked: Stacks of the tensors in `reads` and `cheap`, where all of them count the
            iterations along axis 0 in the same direction: what is computed from nothing else, one
            element at a time, is then computed for all iterations at once.
        counted: Whether there may be no iteration at all; all stacks go forwards along axis 0 then.

    Returns:
        Gradients by name in the body: of a state's first value, of stacks, of captured tensors.
    """
    inner = Emitter(body, outer=emit)
    stacks = {r.name: r for r in reads}
    outside = [n for n in wrt if n not in stacks]
    entering = [s.enters for s in states]
    cts: dict[str, Value] = {}
    bars, written = [], []
    for state in states:
        first = state.first.spec
        bar = inner.feed("ct", first.dtype, _known(inner, state))
        bars.append(bar)
        add_ct(cts, state.leaves, bar)
    for write in writes:
        spec = body.spec(write.name)
        shape = spec.shape if spec.shape is not None else element_shape(write.value, write.axis)
        written.append(inner.feed("ct", write.value.dtype, shape))
        add_ct(cts, write.name, written[-1])
    everything = [*entering, *wrt]
    gradients = pullback(inner, cts, everything, reach(body, list(cts), everything))
    sums = [(n, _like(inner, n)) for n in outside if n in gradients]
    outputs = [
        gradients[s.enters] if s.enters in gradients else inner.zeros_like(inner.value(s.enters))
        for s in states
    ]
    outputs += [total + gradients[name] for name, total in sums]
    returned = [n for n in wrt if n in stacks and n in gradients]
    outputs += [gradients[n] for n in returned]

    early = at_once(emit, inner, stacked or {}, {o.name for o in outputs})
    fuse(inner, outputs)
    cheap = [*cheap, *early]
    _, needed = needed_nodes(inner, {o.name for o in outputs}, cheap)
    inputs = [n for n in own_inputs(original) if n in needed and n not in stacks]
    inputs += [n for n in dict.fromkeys(cheap) if n in needed]
    read = [stacks[n] for n in stacks if n in needed]
    if not (inputs or read or writes):
        read = list(reads[:1])  # nothing but the number of iterations is of interest
        inputs = [] if read else own_inputs(original)[:1]
    tapes = saved([n for n in inputs if n not in early])
    if early:
        tapes += [Stack(n, early[n], 0, reads[0].backwards) for n in inputs if n in early]
    feeds = [*tapes, *read]
    given = [s.ct if s.ct is not None else emit.zeros_like(s.first) for s in states]
    given += [emit.zeros_like(emit.value(n)) for n, _ in sums]
    cells = [*bars, *(total for _, total in sums)]
    specs = [v.spec for v in cells] + [_element_spec(inner, f) for f in feeds]
    specs += [v.spec for v in written]
    made = [stacks[n] for n in returned]
    names = [*entering, *(n for n, _ in sums), *returned]
    for name, output in zip(names, outputs, strict=True):
        if output.shape is None:  # onnxruntime runs no body that leaves it open
            _ = inner.value(name).rank
    if counted:
        results = _loop(emit, inner, original, given, specs, [*feeds, *writes], outputs, cheap)
        return dict(zip(names, results, strict=True))
    axes = [f.axis for f in feeds] + [w.axis for w in writes]
    attributes = {
        "body": pack(inner, original, specs, outputs, cheap),
        "num_scan_inputs": len(axes),
        "scan_input_axes": axes if any(axes) else None,
        "scan_input_directions": [int(not f.backwards) for f in (*feeds, *writes)],
        "scan_output_axes": [m.axis for m in made] if any(m.axis for m in made) else None,
        "scan_output_directions": [int(not m.backwards) for m in made] or None,
    }
    types = [(v.dtype, v.shape) for v in given] + [(m.value.dtype, m.value.shape) for m in made]
    operands = [*given, *(f.value for f in feeds), *(w.value for w in writes)]
    results = emit.outputs(
        "Scan", operands, {n: a for n, a in attributes.items() if a is not None}, types
    )
    return dict(zip(names, results, strict=True))


def _loop(
    emit: Emitter,
    inner: Emitter,
    original: onnx.GraphProto,
    given: Sequence[Value],
    specs: Sequence[TensorSpec],
    stacks: Sequence[Stack],
    outputs: Sequence[Value],
    cheap: Sequence[str],
) -> Sequence[Value]:
    """The same as a Loop, which may have no iteration at all, where onnxruntime refuses a Scan."""
    count = emit.Squeeze(emit.dims(stacks[0].value, 0, 1), [0])
    last = emit.Sub(count, 1)
    iteration, go = inner.feed("iteration", "int64", ()), inner.feed("go", "bool", ())
    place = inner.fresh("place")
    ahead = [helper.make_node("Sub", [last.name, iteration.name], [place])]
    ahead += [
        helper.make_node("Gather", [stack.value.name, place], [spec.name], axis=0)
        for stack, spec in zip(stacks, specs[len(given) :], strict=True)
    ]
    cells = specs[: len(given)]
    inputs = [iteration.spec, go.spec, *cells]
    body = pack(inner, original, inputs, [inner.Identity(go), *outputs], cheap, ahead)
    operands = [count, emit.constant(np.asarray(True)), *given]
    return emit.outputs("Loop", operands, {"body": body}, [(v.dtype, v.shape) for v in given])


def once(
    emit: Emitter,
    body: Graph,
    original: onnx.GraphProto,
    *,
    states: Sequence[State],
    reads: Sequence[Stack],
    writes: Sequence[Stack],
    wrt: Sequence[str],
    saved: Callable[[list[str]], list[Stack]],
    cheap: Sequence[str] = (),
) -> dict[str, Value]:
    """What `reverse` gives, for stacks of one element and a body that is nowhere in the model.

    No Scan is needed then, which would cost more than what it computes.
    """
    inner = Emitter(body, outer=emit)
    stacks = {r.name: r for r in reads}
    cts: dict[str, Value] = {}
    for state in states:
        if state.ct is not None:
            add_ct(cts, state.leaves, inner.value(state.ct.name))
    for write in writes:
        add_ct(cts, write.name, inner.value(emit.Squeeze(write.value, [write.axis]).name))
    everything = [*(s.enters for s in states), *wrt]
    gradients = pullback(inner, cts, everything, reach(body, list(cts), everything))
    nodes, needed = needed_nodes(inner, {g.name for g in gradients.values()}, cheap)
    inputs = [n for n in own_inputs(original) if n in needed and n not in stacks]
    inputs += [n for n in dict.fromkeys(cheap) if n in needed]
    feeds = [*saved(inputs), *(s for n, s in stacks.items() if n in needed)]
    for feed in feeds:
        axis = emit.constant([feed.axis])
        emit.nodes.append(helper.make_node("Squeeze", [feed.value.name, axis.name], [feed.name]))
    stored = [*original.initializer, *inner.initializers]
    emit.initializers.extend(t for t in stored if t.name in needed)
    emit.nodes.extend(nodes)
    results = {n: emit.known(g.spec) for n, g in gradients.items()}
    for state in states:
        if state.enters not in results:
            results[state.enters] = emit.zeros_like(state.first)
    return {
        n: emit.Unsqueeze(g, [stacks[n].axis]) if n in stacks else g for n, g in results.items()
    }


def tape(
    emit: Emitter,
    index: int,
    body: Graph,
    names: Sequence[str],
    steps: Dim,
    attribute: str = "body",
) -> list[Stack]:
    """Stacks of inner tensors of a forward Scan or Loop, written by giving it more outputs."""
    if not names:
        return []
    proto = emit.extend(index)
    graph = next(a.g for a in proto.attribute if a.name == attribute)
    stacks = []
    for name in names:
        spec = body.spec(name)
        inside, outside = emit.fresh("Identity"), emit.fresh("tape")
        graph.node.append(helper.make_node("Identity", [name], [inside], name=inside))
        shape = spec.shape
        graph.output.append(value_info(TensorSpec(inside, spec.dtype, shape)))
        proto.output.append(outside)
        for option in proto.attribute:
            if option.name in ("scan_output_axes", "scan_output_directions"):
                option.ints.append(0)
        full = None if shape is None else (steps, *shape)
        stacks.append(Stack(name, emit.known(TensorSpec(outside, spec.dtype, full))))
    return stacks


def _known(inner: Emitter, state: State) -> tuple[Dim, ...] | None:
    shape = inner.value(state.enters).shape
    return shape if shape is not None else state.first.shape


def _like(inner: Emitter, name: str) -> Value:
    """A sum so far, which an input of the body brings in."""
    spec = inner.value(name).spec
    return inner.feed("sum", spec.dtype, spec.shape)


def _element_spec(inner: Emitter, stack: Stack) -> TensorSpec:
    shape = inner.value(stack.name).shape
    return TensorSpec(
        stack.name,
        stack.value.dtype,
        shape if shape is not None else element_shape(stack.value, stack.axis),
    )


def add_ct(cts: dict[str, Value], name: str, ct: Value) -> None:
    """Add a cotangent to those gathered by name."""
    cts[name] = cts[name] + ct if name in cts else ct


__all__ = ["Stack", "State", "add_ct", "once", "reverse", "tape"]
