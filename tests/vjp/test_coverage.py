"""What `igrt ops` says is what happens."""

import onnx
import pytest
from onnx import TensorProto, helper, parser

from igrt.errors import UnsupportedOperator
from igrt.graph import Graph
from igrt.graph.normalize import normalize
from igrt.vjp.augment import augment
from igrt.vjp.coverage import STATUSES, coverage
from igrt.vjp.pullback import reach

RECORDS = coverage()


def of(status):
    return [r for r in RECORDS if r["status"] == status]


def named(record):
    return f"{record['domain']}.{record['operator']}"


def single(record):
    """A model with one node of an operator, its input fed with floats."""
    outputs = ["label", "h"] if record["operator"] == "SVMClassifier" else ["h"]
    node = helper.make_node(record["operator"], ["x"], outputs, "node", domain=record["domain"])
    last = helper.make_node("Cast", ["h"], ["y"], to=TensorProto.FLOAT)
    graph = helper.make_graph(
        [node, last],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    versions = {"": 18, record["domain"]: 18 if record["domain"] == "" else 1}
    imports = [helper.make_opsetid(d, v) for d, v in versions.items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def test_every_operator_is_there_once():
    listed = [(r["domain"], r["operator"]) for r in RECORDS]
    assert len(set(listed)) == len(listed)
    assert {(s.domain, s.name) for s in onnx.defs.get_all_schemas()} <= set(listed)
    assert {r["status"] for r in RECORDS} == set(STATUSES)
    assert all(bool(r["reason"]) == (r["status"] == "refused") for r in RECORDS)
    assert all(bool(r["lowered_to"]) == (r["status"] == "lowered") for r in RECORDS)


def test_what_is_listed_of_the_vendor_is_what_onnxruntime_has():
    state = pytest.importorskip("onnxruntime.capi.onnxruntime_pybind11_state")
    if not hasattr(state, "get_all_operator_schema"):
        pytest.skip("this build of onnxruntime does not list its operators")
    known = {s.name for s in state.get_all_operator_schema() if s.domain == "com.microsoft"}
    listed = {r["operator"] for r in RECORDS if r["domain"] == "com.microsoft"}
    assert listed - known <= {"ATen", "PythonOp"}, "those two are of training builds"


@pytest.mark.parametrize("record", of("refused"), ids=named)
def test_the_refused_are_refused_for_that_reason(record):
    with pytest.raises(UnsupportedOperator) as caught:
        augment(single(record))
    assert record["operator"] in caught.value.message
    assert record["reason"] in caught.value.message


FLOATS = [r for r in of("zero") if r["inputs"]]


@pytest.mark.parametrize("record", FLOATS, ids=named)
def test_paths_end_at_the_locally_constant(record):
    graph = Graph(single(record))
    found = reach(graph, "y", ["x"])
    assert list(found.blocked) == [0]
    assert not found.reached and not found.missing


SEQUENCES = """{
    p, q = Split<num_outputs = 2>(x)
    zero = Constant<value = int64 {0}>()
    e = SequenceEmpty()
    s = SequenceConstruct(p, q)
    t = SequenceInsert(s, x)
    u = SequenceErase(t, zero)
    a = SequenceAt(u, zero)
    v = SplitToSequence<keepdims = 1>(x)
    b = SequenceAt(v, zero)
    o = Optional(b)
    c = OptionalGetElement(o)
    d = ConcatFromSequence<axis = 0>(u)
    k = Tanh(c)
    y = Concat<axis = 0>(a, k, d)
}"""


def lowered_models():
    def model(text, opset=18):
        head = f'<ir_version: 8, opset_import: ["": {opset}]> g '
        return parser.parse_model(head + text)

    return {
        "Upsample": model(
            "(float[1,1,2,2] x) => (float[1,1,4,4] y) <float[4] s = {1, 1, 2, 2}>"
            " { y = Upsample(x, s) }",
            9,
        ),
        "Scatter": model(
            "(float[2,2] x, float[1,2] u) => (float[2,2] y) <int64[1,2] i = {1, 0}>"
            " { y = Scatter(x, i, u) }",
            10,
        ),
        **dict.fromkeys(
            [r["operator"] for r in of("lowered") if "Sequence" in r["operator"]] + ["Optional"],
            model("(float[4,2] x) => (float[9,2] y) " + SEQUENCES),
        ),
        **{
            name: model(
                f"(float[{shape}] x) => (float y) <uint8[{shape}] w = {{{stored}}}> {{"
                f" q, s, z = DynamicQuantizeLinear(x) m = {name}(q, w, z)"
                " f = Cast<to = 1>(m) g = Mul(f, s) y = ReduceSum<keepdims = 0>(g) }"
            )
            for name, shape, stored in (
                ("MatMulInteger", "2,2", "1, 2, 3, 4"),
                ("ConvInteger", "1,1,2,2", "1, 2, 3, 4"),
            )
        },
    }


LOWERED = lowered_models()


@pytest.mark.parametrize("name", LOWERED)
def test_the_lowered_are_gone_after_normalisation(name):
    model = LOWERED[name]
    assert name in {n.op_type for n in model.graph.node}
    assert (name, "") not in {(n.op_type, n.domain) for n in normalize(model).graph.node}
    assert any(o.name == "igrt/grad/x" for o in augment(model).graph.output)


def test_every_lowering_of_a_standard_operator_is_shown():
    # those of vendors, and QLinear ones: tests/graph/normalize, held to their table there
    assert {r["operator"] for r in of("lowered") if r["domain"] == ""} <= {
        *LOWERED,
        *("QLinearConv", "QLinearMatMul"),
        *("Affine", "Crop", "ImageScaler", "ParametricSoftplus", "Scale", "ScaledTanh"),
        "SimplifiedLayerNormalization",
    }


def test_what_classifiers_need_has_rules():
    status = {r["operator"]: r["status"] for r in RECORDS}
    for op_type in ("Add", "Gemm", "MatMul", "Mul", "ReduceMean", "Relu", "Sigmoid", "Softmax"):
        assert status[op_type] == "rule"
