"""Who is to blame when something fails: a model that is not valid ONNX, or igrt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import onnx

from igrt.errors import IgrtError, InternalError, ModelLoadError


@contextmanager
def blamed(model: onnx.ModelProto) -> Iterator[None]:
    """Whatever goes wrong inside is an error of the model if ONNX refuses it, else of igrt.

    The model is looked at only then: ONNX's checker takes as long as everything else together, and
    refuses models that run well in onnxruntime.

    Raises:
        ModelLoadError: If the model is not valid.
        InternalError: If it is.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, IgrtError) and not isinstance(error, InternalError):
            raise
        reason = why_invalid(model)
        if reason:
            raise ModelLoadError(
                f"the model is not valid ONNX: {reason}",
                hint="the file is damaged or its exporter at fault; export it again",
            ) from None
        text = (
            error.message
            if isinstance(error, InternalError)
            else f"{type(error).__name__}: {error}"
        )
        raise InternalError(
            text, hint="if onnxruntime runs the model, please report this, with the model"
        ) from error


def why_invalid(model: onnx.ModelProto) -> str:
    """What ONNX's checker or its strict shape inference has against a model; empty if nothing."""
    try:
        onnx.checker.check_model(model)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:  # C++ errors of several kinds, and protobuf's own
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return " ".join(lines[:2])[:300] if lines else type(error).__name__
    return ""


def why_unknown(node: onnx.NodeProto, opsets: Mapping[str, int]) -> str:
    """Why ONNX has no such operator at the opset of its domain; empty if it has.

    Exporters that fail to raise a model's opset leave newer operators behind in it, others those
    of their framework.
    """
    domain = "" if node.domain == "ai.onnx" else node.domain
    opset = opsets.get(domain, 1)
    if onnx.defs.has(node.op_type, opset, domain):
        return ""
    if not onnx.defs.has(node.op_type, domain):
        return "" if domain else f"ONNX has no operator {node.op_type}: its exporter is at fault"
    first = min(
        s.since_version
        for s in onnx.defs.get_all_schemas_with_history()
        if (s.name, s.domain) == (node.op_type, domain)
    )
    return (
        f"ONNX has {node.op_type} from opset {first} on, and the file says {opset}: "
        "its exporter is at fault; ask it for another opset"
    )


__all__ = ["blamed", "why_invalid", "why_unknown"]
