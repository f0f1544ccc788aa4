"""The table of rules: lookup by opset ranges, names that exist, one rule per input and opset."""

import inspect

import onnx
import pytest

from igrt.vjp import registry
from igrt.vjp.registry import ANY, CAPTURED, Rule, Zero, lookup, vjp, zero


@pytest.fixture
def empty_table(monkeypatch):
    registry._load_rules()
    monkeypatch.setattr(registry, "_TABLE", {})


def entries():
    registry._load_rules()
    return [e for group in registry._TABLE.values() for e in group]


def named(entry):
    return f"{entry.domain}.{entry.op_type}.{entry.input}-{entry.since}"


def _schema(entry, opset):
    try:
        return onnx.defs.get_schema(entry.op_type, opset, entry.domain)
    except onnx.defs.SchemaError:
        return None


STANDARD = ("", "ai.onnx.ml")


@pytest.mark.parametrize("entry", entries(), ids=named)
def test_operators_and_inputs_exist(entry):
    if entry.domain not in STANDARD:
        pytest.skip("no schema in onnx")
    versions = {
        s.since_version
        for s in onnx.defs.get_all_schemas_with_history()
        if s.name == entry.op_type and s.domain == entry.domain
    }
    assert versions, f"onnx has no operator {entry.op_type}"
    # what the rule first meets: the models are raised to opset 18 before
    first = max(18 if entry.domain == "" else 1, entry.since, min(versions))
    schema = _schema(entry, first)
    assert schema is not None
    if entry.input in (ANY, CAPTURED):
        return
    names = [i.name for i in schema.inputs]
    assert entry.input in names, f"{entry.op_type}-{first} has the inputs {names}"
    if isinstance(entry, Rule):
        formal = schema.inputs[names.index(entry.input)]
        repeats = formal.option == onnx.defs.OpSchema.FormalParameterOption.Variadic
        assert entry.variadic == repeats


@pytest.mark.parametrize("entry", [e for e in entries() if e.domain == ""], ids=named)
def test_input_names_hold_up_to_the_newest_opset(entry):
    schema = _schema(entry, 26)
    if schema is not None and entry.input not in (ANY, CAPTURED):
        newest = lookup("", entry.op_type, entry.input, 26)
        if newest is entry:
            assert entry.input in [i.name for i in schema.inputs]


@pytest.mark.parametrize("entry", [e for e in entries() if isinstance(e, Rule)], ids=named)
def test_rules_take_what_the_sweep_passes(entry):
    parameters = [
        p for p in inspect.signature(entry.function).parameters.values() if p.default is p.empty
    ]
    assert len(parameters) == (4 if entry.variadic or entry.joint else 3)
    assert inspect.getdoc(entry.function), "a rule says its formula"


def _rule(emit, node, ct):
    return ct


@pytest.mark.usefixtures("empty_table")
class TestLookup:
    def test_the_newest_that_is_not_newer_than_the_opset(self):
        vjp("Foo", "X", since=20)(_rule)
        vjp("Foo", "X", since=13)(_rule)
        assert lookup("", "Foo", "X", 12) is None
        assert [lookup("", "Foo", "X", o).since for o in (13, 19, 20, 26)] == [13, 13, 20, 20]

    def test_the_named_input_goes_before_any(self):
        zero("Foo")
        vjp("Foo", "X")(_rule)
        assert isinstance(lookup("", "Foo", "X", 18), Rule)
        assert isinstance(lookup("", "Foo", "Y", 18), Zero)

    def test_domains_are_apart(self):
        vjp("Foo", "X", domain="com.example")(_rule)
        assert lookup("", "Foo", "X", 18) is None
        assert lookup("com.example", "Foo", "X", 1) is not None

    def test_several_inputs_share_a_rule(self):
        vjp("Foo", "A", "B", broadcast=True)(_rule)
        assert lookup("", "Foo", "A", 18).function is lookup("", "Foo", "B", 18).function
        assert lookup("", "Foo", "B", 18).broadcast

    def test_the_decorator_returns_the_function(self):
        assert vjp("Foo", "X")(_rule) is _rule

    def test_a_second_registration_is_refused(self):
        vjp("Foo", "X", since=13)(_rule)
        with pytest.raises(ValueError, match=r"two rules for Foo\.X since 13"):
            vjp("Foo", "X", since=13)(_rule)
        with pytest.raises(ValueError, match=r"two rules for Foo\.X since 13"):
            zero("Foo", "X", since=13)
