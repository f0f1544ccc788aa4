"""What is known of every operator: how it is differentiated, or why not."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import onnx

from igrt.graph.normalize.vendor.lower import UNLISTED
from igrt.graph.normalize.vendor.table import REFUSED, VENDOR, find, lowerings
from igrt.vjp.registry import CAPTURED, Rule, entries, has_body, lookup, refused_because

STATUSES = {
    "rule": "differentiated by a rule",
    "body": "no rule, but differentiated through its ONNX function body",
    "lowered": "written in other operators first",
    "zero": "locally constant: its gradient is zero",
    "refused": "refused, with the reason",
}
"""How an operator is treated, and what that means."""

_RAISED = {
    "Scatter": "ScatterElements, as its opset is raised",
    "Upsample": "Resize, as its opset is raised",
}

_SEQUENCE = "{}, where the number of elements and the position are known"
_UNPACKED = {
    "ConcatFromSequence": _SEQUENCE.format("Concat"),
    "Optional": "its element",
    "SequenceAt": _SEQUENCE.format("the element"),
    "SequenceConstruct": "its elements",
    "SequenceEmpty": "its elements: none",
    "SequenceErase": _SEQUENCE.format("the elements that stay"),
    "SequenceInsert": _SEQUENCE.format("the elements and the new one"),
    "SplitToSequence": _SEQUENCE.format("Split"),
}
"""What the pass `unpack_sequences` puts in the place of operators on sequences."""

_WHOLE = {
    "ConvInteger": "Conv on what its whole numbers stand for, with the Cast behind it",
    "MatMulInteger": "MatMul on what its whole numbers stand for, with the Cast behind it",
}


_NEWEST = 1000
"""Newer than every opset: the newest rule is the one to show."""


def coverage() -> list[dict[str, Any]]:
    """One record per operator of ONNX and of onnxruntime's own domain, in alphabetical order.

    A record has the ``operator``, its ``domain``, the ``status``, by the name of each input that
    may hold floats whether there is a ``rule``, a ``zero`` or nothing (``-``), the first ``opset``,
    and, by its status, what it is ``lowered_to`` or the ``reason`` of its refusal.
    """
    newest = {(s.domain, s.name): s for s in onnx.defs.get_all_schemas()}
    first: dict[tuple[str, str], int] = {}
    for s in onnx.defs.get_all_schemas_with_history():
        key = (s.domain, s.name)
        first[key] = min(first.get(key, s.since_version), s.since_version)
    records = [_standard(schema, first[key]) for key, schema in newest.items()]
    own = {op for domain, op, _ in entries() if domain == VENDOR}
    # onnxruntime writes some into the default domain, before ONNX had them or without it
    records += [
        _vendor("" if op_type in UNLISTED else VENDOR, op_type)
        for op_type in {*lowerings(), *REFUSED, *own}
        if op_type not in UNLISTED or ("", op_type) not in newest
    ]
    return sorted(records, key=lambda r: (r["operator"], r["domain"]))


def _standard(schema: Any, first: int) -> dict[str, Any]:
    domain, op_type = schema.domain, schema.name
    inputs = _inputs(schema)
    lowered = _lowered_to(domain, op_type)
    reason = refused_because(domain, op_type)
    known = {n: lookup(d, o, n, _NEWEST) for d, o, n in entries() if (d, o) == (domain, op_type)}
    if lowered:
        status = "lowered"
    elif any(isinstance(e, Rule) for e in known.values()):
        status = "rule"
    elif known:
        status = "zero"
    elif has_body(schema):
        status = "body"
    else:
        status = "refused"
        reason = reason or "it has no rule"
    record = {
        "operator": op_type,
        "domain": domain,
        "status": status,
        "opset": first,
        "inputs": inputs if status in ("rule", "zero") else {},
        "lowered_to": lowered,
        "reason": reason if status == "refused" else "",
    }
    if schema.deprecated:
        record["removed"] = schema.since_version
    return record


def _vendor(domain: str, op_type: str) -> dict[str, Any]:
    rule = any((d, o) == (VENDOR, op_type) for d, o, _ in entries())
    lowered = _lowered_to(VENDOR, op_type)
    reason = "" if rule or lowered else REFUSED[op_type]
    return {
        "operator": op_type,
        "domain": domain,
        "status": "rule" if rule else "lowered" if lowered else "refused",
        "opset": 1,
        "inputs": {},
        "lowered_to": lowered,
        "reason": reason,
    }


def _lowered_to(domain: str, op_type: str) -> str:
    """What is put in the place of an operator, empty where it stays."""
    if domain == "":
        for table in (_RAISED, _UNPACKED, _WHOLE):
            if op_type in table:
                return table[op_type]
    function = find(domain, op_type)
    return "" if function is None else first_paragraph(function)


def formulas(domain: str, op_type: str) -> dict[str, str]:
    """What the rule of each input says: the first paragraph of its docstring."""
    said = {}
    for d, o, formal in entries():
        rule = lookup(d, o, formal, _NEWEST) if (d, o) == (domain, op_type) else None
        if isinstance(rule, Rule):
            since = f" (since opset {rule.since})" if rule.since > 1 else ""
            said[formal] = first_paragraph(rule.function) + since
    return said


def first_paragraph(function: Any) -> str:
    """The first paragraph of a docstring, which says the formula."""
    return " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())


def _inputs(schema: Any) -> dict[str, str]:
    """By the name of each input that may hold floats: rule, zero or -."""
    kinds: dict[str, str] = {}
    for formal in schema.inputs:
        if not _may_be_float(formal.types):
            continue
        entry = lookup(schema.domain, schema.name, formal.name, _NEWEST)
        kinds[formal.name] = "-" if entry is None else "rule" if isinstance(entry, Rule) else "zero"
    if isinstance(lookup(schema.domain, schema.name, CAPTURED, _NEWEST), Rule):
        kinds[CAPTURED] = "rule"
    return kinds


def _may_be_float(types: Iterable[str]) -> bool:
    return any("float" in t or "double" in t for t in types)


__all__ = ["STATUSES", "coverage", "first_paragraph", "formulas"]
