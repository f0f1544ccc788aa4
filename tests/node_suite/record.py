"""Write what igrt gets right: python tests/node_suite/record.py.

`expected.json` is what the test holds igrt to; docs/reference/node-tests.md is that to be read.
Counts must not fall: look at the difference before committing it.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from node_cases import cases
from node_judge import KINDS, Outcome, judge_all, smooth

HERE = Path(__file__).parent
EXPECTED = HERE / "expected.json"
PAGE = HERE.parents[1] / "docs" / "reference" / "node-tests.md"

_HEAD = """\
<!-- made by `python tests/node_suite/record.py`: change the code, not this page -->

# Node tests

The `onnx` package tests every operator with small models, its node tests. Those with a path of
smooth float operators from an input to an output make a suite for gradients that nobody wrote with
igrt in mind. Each gradient is computed in stock onnxruntime on the CPU, in the element type of the
test, and is held against central differences of ONNX's reference implementation in float64 along
four random directions, for a random cotangent of every output. All inputs of a test are fed at run
time, except integers (an axis) that igrt has to know when it builds the graph.

- *right*: the gradient of the first smooth input is right, for every output;
- *all*: those of all smooth inputs are;
- *refused*: igrt raises an error that says why, and gives no gradient.

No gradient of the suite is wrong without an error. The test recomputes the gradients and fails when
a number of this page falls.
"""


def stored() -> dict[str, Any]:
    """The oracle, as `make_oracle.py` wrote it."""
    path = HERE / "oracle.json.gz"
    return dict(json.loads(gzip.decompress(path.read_bytes())))


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """Counts per kind, and the reasons of what is not right."""
    counts = {}
    for kind in KINDS:
        runs = [o for o in outcomes if o.kind == kind and o.runs]
        counts[kind] = {
            "smooth": sum(o.kind == kind for o in outcomes),
            "runs": len(runs),
            "primary": sum(o.primary for o in runs),
            "all": sum(o.all for o in runs),
        }
    left = {
        o.name: {" of ".join((i, n)): s for (n, i), s in o.slots.items() if s != "right"}
        for o in outcomes
        if o.runs and not o.all
    }
    return {
        "counts": counts,
        "left": left,
        "not run": {o.name: o.forward for o in outcomes if not o.runs},
    }


def page(outcomes: list[Outcome], oracle: dict[str, Any]) -> str:
    """The report as Markdown."""
    found = summary(outcomes)
    lines = [_HEAD, f"With onnx {oracle['onnx']}:", ""]
    lines += [
        "| tests of | smooth | run in onnxruntime | right | all | refused |",
        "|---|---|---|---|---|---|",
    ]
    titles = ("operators", "their function bodies", "operators, sizes as symbols")
    for kind, title in zip(KINDS, titles, strict=True):
        c = found["counts"][kind]
        share = f"{c['primary']} ({100 * c['primary'] / c['runs']:.1f} %)"
        lines.append(
            f"| {title} | {c['smooth']} | {c['runs']} | {share} | {c['all']} "
            f"| {c['runs'] - c['primary']} |"
        )
    lines += ["", "## Not right", "", "| test | input | cause |", "|---|---|---|"]
    for o in outcomes:
        if o.runs and not o.all:
            groups = defaultdict(list)
            for (_, name), state in o.slots.items():
                if state != "right" and name not in groups[_cell(state)]:
                    groups[_cell(state)].append(name)
            for cause, names in groups.items():
                inputs = ", ".join(f"`{n}`" for n in names)
                lines.append(f"| {o.name.removeprefix('test_')} | {inputs} | {cause} |")
    lines += [
        "",
        "## Not run",
        "",
        "Tests whose forward stock onnxruntime cannot run on the CPU,",
        "",
    ]
    lines[-2] += " or computes differently from what the test expects, as operators or as bodies:"
    lines += ["| operator | tests | why |", "|---|---|---|"]
    reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
    for o in outcomes:
        if not o.runs and o.kind != "symbolic":
            reasons[o.operator, _cell(o.forward)[:120]].append(o.case)
    for (operator, why), names in sorted(reasons.items()):
        lines.append(f"| {operator} | {len(names)} | {why} |")
    lines += ["", "## Not smooth", ""]
    lines.append("Tests with float inputs and outputs that the suite leaves out:")
    lines += ["", "| why | tests |", "|---|---|"]
    why = Counter(
        _left_out(e["oracle"]) for e in oracle["cases"].values() if not smooth(e["oracle"])
    )
    lines += [f"| {reason} | {count} |" for reason, count in sorted(why.items())]
    lines += ["", "## By operator", ""]
    lines += ["| operator | run | right | all |", "|---|---|---|---|"]
    table: dict[str, list[Outcome]] = defaultdict(list)
    for o in outcomes:
        if o.runs and o.kind != "symbolic":
            table[o.operator].append(o)
    for operator, some in sorted(table.items()):
        right, every = sum(o.primary for o in some), sum(o.all for o in some)
        lines.append(f"| {operator} | {len(some)} | {right} | {every} |")
    return "\n".join([*lines, ""])


def _left_out(found: Any) -> str:
    if isinstance(found, str):
        return found.partition(":")[0]
    kinds = {d for row in found.values() for d in row.values()}
    for kind in ("kink", "noise", "not finite", "the reference fails near the test point"):
        if kind in kinds:
            return {"kink": "kink at the test point", "noise": "differences too noisy"}.get(
                kind, kind
            )
    return "gradient zero" if kinds else "no elements"


def _cell(text: str) -> str:
    text = text.partition(" hint:")[0].replace("[ONNXRuntimeError] : ", "")
    return text.replace("|", "\\|").replace("<", "&lt;").strip()


def main() -> None:
    """Judge everything and write both files."""
    oracle = stored()
    outcomes = judge_all(oracle, list(cases()))
    found = summary(outcomes)
    bad = {o.name: (o.silent + o.broken)[0] for o in outcomes if o.runs and o.silent + o.broken}
    if bad:
        raise SystemExit(
            f"nothing written: wrong without an error, or broken: {list(bad.items())[:20]}"
        )
    EXPECTED.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(outcomes, oracle), encoding="utf-8")
    print(json.dumps(found["counts"], indent=1))


if __name__ == "__main__":
    main()
