"""One operator set range for the gradient rules: at least 18, at most what onnxruntime accepts."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import version_converter

from igrt.errors import ModelLoadError
from igrt.graph.normalize.ancient import modernise
from igrt.graph.normalize.meaning import keep_meaning
from igrt.graph.normalize.newest import lower_opset
from igrt.graph.view import subgraphs

OLDEST_READ = 1
MODERN = 7
"""Before opset 7 broadcasting was an attribute and BatchNormalization had another meaning."""

OLDEST = 18
"""From here reductions take their axes as an input and ScatterElements can add: what rules emit."""

NEWEST = 26
"""The newest opset that onnxruntime accepts (1.31 and 1.32, `kMaxOpset`)."""

NEWEST_IR = 13


def raise_opset(model: onnx.ModelProto, oldest: int = OLDEST) -> onnx.ModelProto:
    """The model with an opset from `oldest` to 26; one of these is left as it is.

    Raises:
        ModelLoadError: If the opset is older than 7 or cannot be converted.
    """
    version = opset_of(model)
    if model.ir_version > onnx.IR_VERSION:
        raise ModelLoadError(
            f"the model is written in IR version {model.ir_version}; the installed onnx package "
            f"knows up to {onnx.IR_VERSION}",
            hint="upgrade onnx, or export the model with an older one",
        )
    if version > NEWEST:
        return lower_opset(model, NEWEST)
    if version < OLDEST_READ:
        raise ModelLoadError(
            f"the model uses opset {version}; igrt reads {OLDEST_READ} and newer",
            hint="export it again, or raise it with onnx.version_converter",
        )
    if version >= oldest:
        return model
    _refuse_unknown(model, version)
    _refuse_inconvertible(model.graph, version)
    if version < MODERN:
        model = modernise(model)
    # below IR version 4 the converter insists on stored tensors being listed as inputs as well
    model.ir_version = max(4, model.ir_version)
    try:
        raised = version_converter.convert_version(model, oldest)
    except Exception as error:  # the C++ converter raises RuntimeError and its own kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelLoadError(
            f"opset {version} cannot be raised to {oldest}: {reason}",
            hint="it uses operators that no runtime for ONNX knows; export it in standard ones"
            if "No opset import for domain" in reason
            else f"export the model with opset {oldest} or newer",
        ) from None
    keep_meaning(raised, version)
    if not raised.metadata_props:  # dropped by the converter of some versions of onnx
        raised.metadata_props.extend(model.metadata_props)
    return raised


def _refuse_unknown(model: onnx.ModelProto, version: int) -> None:
    """The converter stops at an operator that it does not know, with no word on where it is."""
    unknown: dict[str, str] = {}
    for node in model.graph.node:
        if node.domain in ("", "ai.onnx") and not onnx.defs.has(node.op_type, version, ""):
            unknown.setdefault(node.op_type, node.name or node.output[0])
    if unknown:
        listed = ", ".join(f"{o} (`{n}`)" for o, n in sorted(unknown.items()))
        raise ModelLoadError(
            f"ONNX opset {version} defines no operator {listed}",
            hint="the model uses operators of another domain or is damaged; export it again",
        )


def _refuse_inconvertible(graph: onnx.GraphProto, version: int) -> None:
    """The converter ends the process at an attribute of another type, or one given twice.

    And it changes what is fed to a Scan of opset 8.
    """
    for node in graph.node:
        for body in subgraphs(node):
            _refuse_inconvertible(body, version)
        if node.domain not in ("", "ai.onnx") or not onnx.defs.has(node.op_type, version, ""):
            continue
        where, given = f"{node.op_type} (`{node.name or ', '.join(node.output)}`)", set[str]()
        if node.op_type == "Scan" and version == 8:
            raise ModelLoadError(
                f"{where} at opset 8 has a batch axis, which ONNX's converter takes from the "
                "model's inputs",
                hint="export the model with opset 9 or newer",
            )
        formal: dict[str, Any] = onnx.defs.get_schema(node.op_type, version, "").attributes
        for attribute in node.attribute:
            name, kind = attribute.name, attribute.type
            if name in given or (name in formal and int(formal[name].type) != kind):
                wrong = "twice" if name in given else f"as {_kind(kind)}"
                raise ModelLoadError(
                    f"{where} at opset {version} has its attribute `{name}` {wrong}",
                    hint="the file is damaged or its exporter at fault; export it again",
                )
            given.add(name)


def _kind(kind: int) -> str:
    known = onnx.AttributeProto.AttributeType
    return known.Name(kind) if kind in known.values() else f"type {kind}"


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the ``ai.onnx`` operators that the model imports."""
    return int(max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")))


def pin_ir_version(model: onnx.ModelProto) -> None:
    """Write the lowest IR version that the opset needs: older runtimes refuse newer ones.

    IR 10 is what opsets up to 21 go with; the ONNX helper's default is newer than onnxruntime
    accepts.
    """
    model.ir_version = min(NEWEST_IR, max(10, _IR_OF_OPSET.get(opset_of(model), 10)))


_IR_OF_OPSET = {22: 10, 23: 11, 24: 12, 25: 13, 26: 13}


__all__ = ["NEWEST", "OLDEST", "opset_of", "pin_ir_version", "raise_opset"]
