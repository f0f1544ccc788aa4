"""The declarations of locally constant operators, against the schemas and against evaluation."""

import ast
import inspect

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from igrt.errors import IgrtError
from igrt.vjp import registry
from igrt.vjp.augment import augment
from igrt.vjp.rules import constant

# float to float, and constant between steps
STEPS = ["Ceil", "Floor", "Hardmax", "Round", "Sign"]
# float to float, but only the shape counts, or chance, or (Mel) edges that no model computes
INDEPENDENT = ["Bernoulli", "EyeLike", "RandomNormalLike", "RandomUniformLike", "MelWeightMatrix"]
# their float results follow the float input in a way that the sweep must not follow
QUANTISED = ["BitCast", "QLinearMatMul"]


def _declared():
    """Operator and domain of each call of `zero` in the module."""
    calls = [
        n.value
        for n in ast.parse(inspect.getsource(constant)).body
        if isinstance(n, ast.Expr) and isinstance(n.value, ast.Call)
    ]
    domains = [next((k.value.value for k in c.keywords if k.arg == "domain"), "") for c in calls]
    return [(c.args[0].value, d) for c, d in zip(calls, domains, strict=True)]


def _floats(schema, parameters):
    types = {t.type_param_str: t.allowed_type_strs for t in schema.type_constraints}
    return [
        p.name
        for p in parameters
        if any("float" in t or "double" in t for t in types.get(p.type_str, [p.type_str]))
    ]


@pytest.mark.parametrize(("op_type", "domain"), _declared())
def test_a_declaration_has_a_reason(op_type, domain):
    schema = onnx.defs.get_schema(op_type, domain)
    carries = _floats(schema, schema.inputs) and _floats(schema, schema.outputs)
    if carries and domain == "":
        assert op_type in STEPS + INDEPENDENT + QUANTISED


def test_what_has_no_float_path_is_declared():
    # structure: what carries values, runs a body, or is described by another file
    elsewhere = {"If", "Loop", "Scan", "SequenceMap", "SequenceEmpty"}
    declared = {o for o, d in _declared() if d == ""}
    for schema in onnx.defs.get_all_schemas():
        if schema.domain == "" and schema.name not in elsewhere and not schema.deprecated:
            carries = _floats(schema, schema.inputs) and _floats(schema, schema.outputs)
            assert carries or schema.name in declared, schema.name


@pytest.mark.parametrize("op_type", STEPS)
def test_steps_are_locally_constant(op_type, rng):
    x = helper.make_tensor_value_info("x", TensorProto.DOUBLE, [3, 4])
    y = helper.make_tensor_value_info("y", TensorProto.DOUBLE, [3, 4])
    graph = helper.make_graph([helper.make_node(op_type, ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    # 1e-6 is less than the distance to the next step
    data = rng.permutation(12).reshape(3, 4) * 0.7 + 0.13
    run = ReferenceEvaluator(model).run
    near = run(None, {"x": data + 1e-6 * rng.standard_normal(data.shape)})[0]
    np.testing.assert_array_equal(run(None, {"x": data})[0], near)


@pytest.mark.parametrize("op_type", STEPS)
def test_a_path_that_ends_at_a_step_is_refused(op_type):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 4])
    graph = helper.make_graph([helper.make_node(op_type, ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    with pytest.raises(IgrtError, match=op_type):
        augment(model)


def test_declarations_are_found():
    for op_type, domain in _declared():
        entry = registry.lookup(domain, op_type, "any input", 26)
        assert isinstance(entry, registry.Zero), op_type
