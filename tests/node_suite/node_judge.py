"""igrt's gradients of the node tests in onnxruntime, held against the stored oracle."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from node_cases import Case, clamped, expanded, run, session
from node_oracle import DIRECTIONS, Oracle, cotangent, direction
from onnx import helper, numpy_helper

from igrt.errors import IgrtError, NoGradientPath
from igrt.vjp.augment import augment

# What 1 − y² of a saturated y is good to: the rounding of 1, times what it is multiplied with.
_ROUNDING = {"float64": 2e-16, "float32": 1e-7, "float16": 1e-3}
# Rounding of the element type, times some hundred operations and their cancellation; the scale
# is the sum of magnitudes |g·v|, which is what rounding errors are proportional to.
_TOLERANCE = {"float64": 1e-6, "float32": 5e-4, "float16": 2e-2}
KINDS = ("plain", "expanded", "symbolic")
DIFFERS = "onnxruntime computes something else"


@dataclass
class Outcome:
    """What became of one node test.

    Args:
        case: Its name.
        operator: The operator it is about.
        kind: "plain" for an operator, "expanded" for the function body in its place, "symbolic"
            for an operator on inputs whose sizes are symbols.
        forward: "plain" or "body" where onnxruntime runs the forward, else why it does not.
        slots: By (output, input): "right", "wrong: …", "refused: …" or "broken: …".
    """

    case: str
    operator: str
    kind: str
    forward: str
    slots: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The case, and whether its sizes are symbols."""
        return f"{self.case} (symbolic)" if self.kind == "symbolic" else self.case

    @property
    def runs(self) -> bool:
        """Whether stock onnxruntime can run the forward."""
        return self.forward in ("plain", "body")

    @property
    def primary(self) -> bool:
        """Whether the gradient of the first smooth input is right."""
        first = next((i for _, i in self.slots), None)
        return all(s == "right" for (_, i), s in self.slots.items() if i == first)

    @property
    def all(self) -> bool:
        """Whether the gradients of all smooth inputs are right."""
        return all(s == "right" for s in self.slots.values())

    @property
    def silent(self) -> list[str]:
        """Gradients that are wrong without an error."""
        return [f"{o}/{i}: {s}" for (o, i), s in self.slots.items() if s.startswith("wrong")]

    @property
    def broken(self) -> list[str]:
        """Errors that are not igrt's own."""
        return [f"{o}/{i}: {s}" for (o, i), s in self.slots.items() if s.startswith("broken")]


def smooth(found: Oracle | str) -> bool:
    """Whether any output has a smooth derivative in any input."""
    return isinstance(found, dict) and any(
        isinstance(d, list) for row in found.values() for d in row.values()
    )


def judge(case: Case, found: Oracle) -> Outcome:
    """Differentiate a node test with igrt, run it in onnxruntime, and compare."""
    model, forward = runnable(case)
    outcome = Outcome(case.name, case.operator, KINDS[case.expanded], forward)
    inputs = [i for i in case.floats() if any(isinstance(r.get(i), list) for r in found.values())]
    for output, row in found.items():
        wanted = [i for i in inputs if isinstance(row.get(i), list)]
        # in the order of the inputs, so that the first one is the primary one
        if not wanted:
            continue
        answers = answers_of(case, model, output, wanted, outcome.runs)
        for name in wanted:
            answer = answers[name]
            outcome.slots[output, name] = (
                answer
                if isinstance(answer, str)
                else compare(case, output, name, answer, row[name])
            )
    order = {n: k for k, n in enumerate(inputs)}
    outcome.slots = dict(sorted(outcome.slots.items(), key=lambda s: order[s[0][1]]))
    return outcome


def runnable(case: Case) -> tuple[onnx.ModelProto, str]:
    """A model of the case that onnxruntime runs, and "plain", "body", or why there is none.

    The operator if onnxruntime runs it, else its body, or the body of that.
    """
    model, whole, reason = case.model, case.original, ""
    for state in ("plain", "body", "body"):
        try:
            results = run(session(model), case.float_outputs(), case.feeds)
        except Exception as error:  # onnxruntime has no common base class for its errors
            reason = reason or _short(error)
            whole = expanded(whole)
            model = clamped(_copy(whole))
        else:
            return model, _disagreement(case, results) or state
    return case.model, reason


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _disagreement(case: Case, results: list[np.ndarray]) -> str:
    """What is different where onnxruntime's forward is not the one that the test expects."""
    for name, got in zip(case.float_outputs(), results, strict=True):
        want = np.asarray(case.expected[name])
        rough = 10 * _TOLERANCE.get(want.dtype.name, 5e-2)
        want = want.astype(np.float64)
        if got.shape != want.shape:
            return f"{DIFFERS}: shape {got.shape}, expected {want.shape}"
        got = got.astype(np.float64)
        largest = np.abs(want[np.isfinite(want)]).max(initial=0)
        same = np.isclose(got, want, rough, rough * largest, equal_nan=True)
        if not same.all():
            k = int(np.argmin(same))
            return f"{DIFFERS}: {got.flat[k]:.6g}, expected {want.flat[k]:.6g}"
    return ""


def answers_of(
    case: Case, model: onnx.ModelProto, output: str, wanted: list[str], runs: bool
) -> dict[str, Any]:
    """igrt's gradients of ⟨cotangent, output⟩ by input, or what it says instead.

    Args:
        case: The node test, for its feeds.
        model: The model to differentiate.
        output: Output to differentiate.
        wanted: Inputs to differentiate with respect to.
        runs: Whether onnxruntime runs the model.
    """
    answers: dict[str, Any] = {}
    try:
        augmented = augment(model, wrt=wanted, of=output)
    except IgrtError as error:
        if len(wanted) > 1:
            for name in wanted:
                answers |= answers_of(case, model, output, [name], runs)
            return answers
        if "known at run time" in str(error) and (stored := _store_integers(case, model)):
            return answers_of(case, stored, output, wanted, runs)
        kind = "no path" if isinstance(error, NoGradientPath) else "refused"
        return {wanted[0]: f"{kind}: {_short(error)}"}
    except Exception as error:
        return {n: f"broken: {type(error).__name__}: {_short(error)}" for n in wanted}
    if not runs:
        return dict.fromkeys(wanted, "augmented, but the forward does not run")
    names = [f"igrt/grad/{n}" for n in wanted]
    try:
        ready = session(augmented)
        feeds = case.feeds | _cotangent(model, case, output)
        return dict(zip(wanted, run(ready, names, feeds), strict=True))
    except Exception as error:
        return {n: f"broken: onnxruntime: {_short(error)}" for n in wanted}


def _store_integers(case: Case, model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The model with integer inputs as constants, as exporters write axes and the like."""
    copy = _copy(model)
    for info in list(copy.graph.input):
        value = case.feeds[info.name]
        if isinstance(value, np.ndarray) and value.dtype.kind in "iub":
            copy.graph.initializer.append(numpy_helper.from_array(value, info.name))
            copy.graph.input.remove(info)
    return copy if len(copy.graph.input) < len(model.graph.input) else None


def _cotangent(model: onnx.ModelProto, case: Case, output: str) -> dict[str, np.ndarray]:
    kind = next(o for o in model.graph.output if o.name == output).type.tensor_type.elem_type
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    return {f"igrt/cotangent/{output}": cotangent(case, output).astype(dtype)}


def compare(case: Case, output: str, name: str, gradient: np.ndarray, want: Any) -> str:
    """Hold a gradient against the derivatives along the directions."""
    x = case.feeds[name]
    if gradient.shape != x.shape:
        return f"wrong: shape {gradient.shape}, not {x.shape}"
    if gradient.dtype != x.dtype:
        return f"wrong: {gradient.dtype}, not {x.dtype}"
    types = [x.dtype, np.asarray(case.expected[output]).dtype]
    # bfloat16 keeps 8 bits, float8 3 or 4
    tolerance = max(_TOLERANCE.get(t.name, 5e-2) for t in types)
    floor = rounding(case, output, name)
    for k in range(DIRECTIONS):
        terms = gradient.astype(np.float64) * direction(case.name, name, k, x.shape)
        got = float(terms.sum())
        scale = float(np.abs(terms).sum()) + abs(want[k])
        if not abs(got - want[k]) <= tolerance * scale + floor:
            return f"wrong: {got:.6g} along direction {k}, expected {want[k]:.6g}"
    return "right"


def rounding(case: Case, output: str, name: str) -> float:
    """What a derivative may be off by because factors such as 1 − y² round."""
    types = [case.feeds[name].dtype, np.asarray(case.expected[output]).dtype]
    unit = max(_ROUNDING.get(t.name, 1e-2) for t in types)
    return unit * float(np.abs(cotangent(case, output)).sum()) * max(1.0, *_largest(case))


def _largest(case: Case) -> list[float]:
    arrays = [case.feeds[n].astype(np.float64) for n in case.floats()]
    return [float(np.abs(a[np.isfinite(a)]).max(initial=0.0)) for a in arrays]


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def judge_all(stored: dict[str, Any], every: list[Case]) -> list[Outcome]:
    """Outcomes of all node tests that have a smooth path, skipping what the oracle is not of.

    Those of operators are judged twice, the second time with symbols for sizes.
    """
    outcomes = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for case in every:
            entry = stored["cases"].get(case.name)
            if not entry or entry["digest"] != case.digest or not smooth(entry["oracle"]):
                continue
            outcomes.append(judge(case, entry["oracle"]))
            if not case.expanded and outcomes[-1].runs:
                again = judge(case.symbolic(), entry["oracle"])
                outcomes.append(replace(again, kind="symbolic"))
    return outcomes
