"""The gradients of the node tests of the `onnx` package, held to what is recorded of them.

`make_oracle.py` made the derivatives, `record.py` what igrt is expected to get right.
"""

import json
import random

import numpy as np
import onnx
import pytest
from node_cases import cases
from node_judge import judge, judge_all, smooth
from node_oracle import oracle
from record import EXPECTED, KINDS, stored, summary

pytestmark = pytest.mark.xdist_group("node_suite")


@pytest.fixture(scope="module")
def truth():
    return stored()


@pytest.fixture(scope="module")
def every():
    return list(cases())


@pytest.fixture(scope="module")
def outcomes(truth, every):
    return judge_all(truth, every)


@pytest.fixture(scope="module")
def expected():
    return json.loads(EXPECTED.read_text(encoding="utf-8"))


def test_no_gradient_is_wrong(outcomes):
    """None at all, in any element type, whatever else is refused."""
    assert len(outcomes) > 500, "the node tests of this version of onnx are others altogether"
    assert {o.name: o.silent for o in outcomes if o.runs and o.silent} == {}


def test_nothing_breaks(outcomes):
    """What igrt does not refuse, onnxruntime runs."""
    assert {o.name: o.broken for o in outcomes if o.broken} == {}


def test_what_was_right_stays_right(outcomes, expected, truth, capsys):
    counts = summary(outcomes)["counts"]
    with capsys.disabled():
        for kind in KINDS:
            c = counts[kind]
            print(
                f"\nnode tests, {kind}: {c['primary']} of {c['runs']} right in the first input, "
                f"{c['all']} in all"
            )
    known = {*expected["left"], *expected["not run"]}
    assert [o.name for o in outcomes if o.runs and not o.all and o.name not in known] == []
    if onnx.__version__ == truth["onnx"]:
        for kind in KINDS:
            for count in ("smooth", "runs", "primary", "all"):
                assert counts[kind][count] >= expected["counts"][kind][count], (kind, count)


def test_refusals_name_node_and_operator(outcomes):
    """An error about an operator says which node it is and what it is called."""
    nameless = []
    for o in outcomes:
        for state in o.slots.values():
            if o.runs and state.startswith(("refused", "no path")) and "model" not in state:
                nameless += [o.name] * (o.operator not in state and "node" not in state)
    assert nameless == []


def test_a_gradient_off_by_one_percent_is_seen(truth, every):
    """The suite would be worth little if its tolerance hid what it is for."""
    case = next(c for c in every if c.name == "test_tanh")
    found = truth["cases"][case.name]["oracle"]
    assert judge(case, found).all
    off = {o: {i: [1.01 * d for d in v] for i, v in row.items()} for o, row in found.items()}
    assert judge(case, off).silent


def test_stored_derivatives_are_those_of_today(truth, every):
    """A sample of the oracle, computed again: the file is not just what igrt once gave."""
    chosen = [
        c
        for c in every
        if truth["cases"].get(c.name, {}).get("digest") == c.digest
        and smooth(truth["cases"][c.name]["oracle"])
        and sum(np.size(c.feeds[i]) for i in c.floats()) < 500
    ]
    assert len(chosen) > 100
    for case in random.Random(onnx.__version__).sample(chosen, 30):
        found = oracle(case)
        for output, row in truth["cases"][case.name]["oracle"].items():
            for name, values in row.items():
                if isinstance(values, list):
                    # both are good to about 1e-6; the best step may be another one
                    np.testing.assert_allclose(
                        found[output][name], values, rtol=1e-4, atol=1e-7, err_msg=case.name
                    )
