"""From an explainer and inputs to the `Case` that checks look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from igrt import targets
from igrt.apart import agree
from igrt.baselines import as_list
from igrt.derived import Derived
from igrt.engine import Engine
from igrt.errors import IgrtError, InputError
from igrt.explainer import Explainer
from igrt.graph.load import Source, external_files
from igrt.graph.onnx_types import value_info
from igrt.source import Bytes
from igrt.specs import STRAIGHT_THROUGH
from igrt.targets import Target
from igrt.verify.case import Case, Explain, flat
from igrt.weights import Weights

_LARGEST = 1_500_000_000
"""Bytes of weights up to which external files are read: rewrites need the model in one piece."""


def make_case(
    explainer: Explainer,
    inputs: Any,
    *,
    target: Target,
    baseline: Any,
    explain: Explain,
    tolerance: float,
    seed: int,
    layouts: Mapping[str, str] | None = None,
    times_displacement: bool = True,
    equals: Mapping[str, onnx.ModelProto] | None = None,
) -> Case:
    """The case of an explainer and some inputs.

    Raises:
        InputError: If an argument is not usable, or several baselines were given.
    """
    given = as_list(baseline)
    if len(given) > 1:
        raise InputError(
            f"{len(given)} baselines: checks are made with one", hint="verify them one by one"
        )
    placed = explainer._placing.place(inputs, given[0])
    ends, engine = placed.ends, placed.engine
    picked = targets.resolve(target, placed.outputs)
    example, names = picked.example, [s.name for s in explainer.wrt]
    x = {n: ends.inputs[n][example] for n in names}
    b = {n: ends.baselines[n][example] for n in names}
    notes = [*_caveats(explainer)]
    model = _whole(explainer, notes)
    forward = Engine(
        Derived.of(model),
        engine.of,
        engine.wrt,
        explainer._sessions.open,
        engine.note,
        batched=engine.batched,
        output_batched=engine.output_batched,
        most_rows=1 if placed.layout.fixed else engine.most_rows,
    )
    try:
        made = forward.forward(ends.inputs, ends.others, ends.shared, np.arange(ends.count))
        same = agree(made, placed.outputs)
    except IgrtError:
        same = False
    if not same:
        notes.append("the model as given does not run like this: its normal form was checked")
        model, forward = embedded(explainer._given, engine.part.proto, explainer._weights), engine
    return Case(
        model=model,
        of=engine.of,
        wrt=tuple(names),
        x=flat(x),
        b=flat(b),
        shapes={n: a.shape[1:] for n, a in x.items()},
        dtypes={n: a.dtype for n, a in x.items()},
        others={n: a[example] for n, a in ends.others.items()},
        shared=ends.shared,
        picked=picked,
        forward=forward,
        engine=engine,
        explain=explain,
        tolerance=tolerance,
        seed=seed,
        notes=tuple(notes),
        layouts={n: layout for n, layout in (layouts or {}).items() if n in names},
        times_displacement=times_displacement,
        equals=equals or {},
    )


def _caveats(explainer: Explainer) -> list[str]:
    """Why gradients and completeness need not hold on this model, where igrt knows it."""
    notes = []
    if explainer._quantised == STRAIGHT_THROUGH:
        notes.append(
            "quantised: gradients pass straight through the rounding, so they are not the slopes "
            "of this model and need not add up"
        )
    if explainer._subject.cut:
        notes.append(
            f"gradients end at the locally constant {', '.join(explainer._subject.cut[:3])}"
        )
    return notes


def _whole(explainer: Explainer, notes: list[str]) -> onnx.ModelProto:
    """The model from the attributed tensors to the explained output, in one piece.

    As the user gave it, so that what igrt makes of it is checked as well; but for inner tensors,
    where it is the part behind them.
    """
    given = explainer._given
    if explainer._subject.inner:
        notes.append("the model behind the inner tensors was checked, in its normal form")
        return embedded(given, explainer._subject.part.proto, explainer._weights)
    model = onnx.ModelProto()
    model.CopyFrom(explainer._loaded.proto)
    declared = [o for o in model.graph.output if o.name == explainer.of.name]
    del model.graph.output[:]
    model.graph.output.extend(declared or [value_info(explainer.of)])
    return embedded(given, model, explainer._weights)


def embedded(
    source: Bytes | Source, model: onnx.ModelProto, weights: Weights | None = None
) -> onnx.ModelProto:
    """A model made of a source, with weights from other files in it.

    Raises:
        InputError: If they are larger than one file can be.
    """
    files = external_files(model)
    folder = source.folder if weights is None else weights.folder
    if folder is None or not (files or weights):
        return model
    size = sum((folder / f).stat().st_size for f in files) if weights is None else weights.size
    if size > _LARGEST:
        raise InputError(
            f"{source.name} has {size / 1e9:.1f} GB of weights: checks rewrite the model, which "
            f"must fit one file",
            hint="verify a smaller variant of the model",
        )
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    onnx.load_external_data_for_model(copy, str(folder))
    return copy


__all__ = ["embedded", "make_case"]
