"""The emitter: naming, sharing, constants, type inference, and what rules need again and again."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import parser

from igrt.errors import InternalError
from igrt.graph import Emitter, Graph
from igrt.specs import TensorSpec

MODEL = """
    <ir_version: 8, opset_import: ["": 18]>
    g (float[N, 3, 4] x, float16[2, 3] h, int64[N] i, float[a, b] free) => (float[N, 3, 4] y)
    <int64[2] sizes = {12, -1}, float[3, 1] weight = {1, 2, 3}>
    { y = Mul (x, weight) }
"""


@pytest.fixture
def emit():
    return Emitter(Graph(parser.parse_model(MODEL)))


def emitted(emit):
    return [n.op_type for n in emit.nodes]


# -- nodes ----------------------------------------------------------------------------------------


def test_the_type_of_a_result_is_inferred(emit):
    y = emit.Transpose(emit.value("x"), perm=[2, 0, 1])
    assert (y.dtype, y.shape) == ("float32", (4, "N", 3))


def test_inference_uses_constants(emit):
    y = emit.Reshape(emit.value("h"), emit.constant([3, -1]))
    assert y.shape == (3, 2)


def test_identical_nodes_are_one(emit):
    x = emit.value("x")
    assert emit.Exp(x) is emit.Exp(x)
    assert emit.ReduceSum(x, [1], keepdims=0) is emit.ReduceSum(x, [1], keepdims=0)
    assert emitted(emit) == ["Exp", "ReduceSum"]
    assert len(emit.initializers) == 1


def test_other_attributes_operands_or_outputs_make_another_node(emit):
    x, w = emit.value("x"), emit.value("weight")
    assert emit.Softmax(x, axis=1) is not emit.Softmax(x, axis=2)
    assert emit.Sub(x, w) is not emit.Sub(w, x)
    assert len(emit.node("Split", [x, [1, 2]], {"axis": 1}, outputs=2)) == 2
    assert emitted(emit) == ["Softmax", "Softmax", "Sub", "Sub", "Split"]


def test_names_are_new_and_start_with_igrt():
    text = MODEL.replace("y =", "igrt-0_Exp = Exp (x) y =").replace("igrt-", "igrt_")
    model = parser.parse_model(text)
    for node in model.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = name.replace("igrt_", "igrt/")
    emit = Emitter(Graph(model))
    first = emit.Exp(emit.value("x"))
    assert first.name == "igrt/1_Exp"
    assert emit.nodes[0].name == first.name


def test_an_omitted_operand_keeps_its_place_and_trailing_ones_vanish(emit):
    emit.Clip(emit.value("x"), None, 1.0)
    emit.Clip(emit.value("x"), None, None)
    assert list(emit.nodes[0].input)[1] == ""
    assert list(emit.nodes[1].input) == ["x"]


def test_attributes_that_are_none_are_left_out(emit):
    emit.Transpose(emit.value("x"), perm=None)
    assert not emit.nodes[0].attribute


def test_only_capitalised_names_are_operators(emit):
    with pytest.raises(AttributeError, match="exp"):
        emit.exp(emit.value("x"))


def test_an_operator_of_a_later_opset_is_a_mistake(emit):
    with pytest.raises(InternalError, match="Attention does not exist at opset 18"):
        emit.Attention(emit.value("x"), emit.value("x"), emit.value("x"))


def test_operands_that_do_not_fit_are_a_mistake_that_names_them(emit):
    with pytest.raises(InternalError, match=r"MatMul\(x: float32\[N, 3, 4\], h"):
        emit.MatMul(emit.value("x"), emit.value("h"))


def test_an_input_needs_a_name_of_its_own(emit):
    value = emit.input(TensorSpec("igrt/cotangent/y", "float32", ("N", 3)))
    assert emit.Neg(value).shape == ("N", 3)
    for name in ("x", "igrt/cotangent/y"):
        with pytest.raises(InternalError, match=name):
            emit.input(TensorSpec(name, "float32", ()))


def test_named_gives_the_same_elements_under_the_name(emit):
    named = emit.named(emit.value("x"), "igrt/grad/x")
    assert (named.name, named.shape) == ("igrt/grad/x", ("N", 3, 4))
    assert emitted(emit) == ["Identity"]


def test_the_graph_is_not_changed():
    model = parser.parse_model(MODEL)
    before = model.SerializeToString()
    emit = Emitter(Graph(model))
    emit.full_like(emit.value("x") * 2.0 + 1.0, 3.0)
    assert model.SerializeToString() == before


# -- constants ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, dtype, shape",
    [
        (1, "int64", ()),
        (1.0, "float32", ()),
        ([1, 2], "int64", (2,)),
        ([], "int64", (0,)),
        ([0.5], "float32", (1,)),
        ([True, False], "bool", (2,)),
        (np.float64(1), "float64", ()),
        (np.zeros((2, 0), np.float16), "float16", (2, 0)),
    ],
)
def test_constant(emit, given, dtype, shape):
    value = emit.constant(given)
    assert (value.dtype, value.shape) == (dtype, shape)
    assert emit.constant(given) is value
    stored = onnx.numpy_helper.to_array(emit.initializers[0])
    np.testing.assert_array_equal(stored, np.asarray(given))


def test_equal_numbers_of_other_types_are_other_constants(emit):
    assert emit.constant(np.float32(0)) is not emit.constant(np.float64(0))
    assert emit.constant([0]) is not emit.constant(0)
    assert emit.constant(0.0) is not emit.constant(-0.0)


def test_a_number_takes_the_type_of_the_operand_beside_it(emit):
    assert (emit.value("h") * 2.0).dtype == "float16"
    assert (1.0 - emit.value("x")).dtype == "float32"
    assert (emit.value("i") + 1).dtype == "int64"
    condition = emit.Greater(emit.value("h"), 0.0)
    assert emit.Where(condition, emit.value("h"), 0.0).dtype == "float16"


def test_elements_are_known_of_small_constants_only():
    big = onnx.helper.make_tensor("big", 1, [70000], np.zeros(70000, np.float32))
    model = parser.parse_model(MODEL)
    model.graph.initializer.append(big)
    emit = Emitter(Graph(model))
    np.testing.assert_array_equal(emit.value("sizes").constant, [12, -1])
    assert emit.value("big").constant is None
    assert emit.value("x").constant is None
    assert emit.Exp(emit.value("weight")).constant is None


def test_arithmetic_on_sizes_is_done_at_once(emit):
    a = emit.constant([2, -3])
    cases = {
        "Add": (emit.Add(a, 1), [3, -2]),
        "Sub": (1 - a, [-1, 4]),
        "Mul": (a * a, [4, 9]),
        "Neg": (-a, [-2, 3]),
        "Max": (emit.Max(a, 0), [2, 0]),
        "Min": (emit.Min(a, 0), [0, -3]),
        "Equal": (emit.Equal(a, 2), [True, False]),
        "Where": (emit.Where(emit.Less(a, 0), a, 7), [7, -3]),
        "Concat": (emit.Concat(a, [5], axis=0), [2, -3, 5]),
        "Gather": (emit.Gather(a, [-1]), [-3]),
        "Squeeze": (emit.Squeeze(emit.Gather(a, [0]), [0]), 2),
        "Unsqueeze": (emit.Unsqueeze(a, [0]), [[2, -3]]),
        "Cast": (emit.cast(a, "int32"), [2, -3]),
    }
    for op_type, (value, want) in cases.items():
        np.testing.assert_array_equal(value.constant, want, err_msg=op_type)
        assert value.shape == np.shape(want), op_type
    assert cases["Cast"][0].dtype == "int32"
    assert not emit.nodes


def test_arithmetic_on_floats_and_unknown_sizes_is_left_to_the_runtime(emit):
    emit.Add(emit.constant([0.5]), 1.0)
    emit.Add(emit.value("i"), 1)
    emit.cast(emit.constant([1]), "float32")
    assert emitted(emit) == ["Add", "Add", "Cast"]


def test_what_cannot_be_computed_is_left_to_inference(emit):
    with pytest.raises(InternalError, match="Concat"):
        emit.Concat(emit.constant([1]), emit.constant([[1]]), axis=0)


# -- shapes ---------------------------------------------------------------------------------------


def test_shapes_are_constants_where_sizes_are_fixed(emit):
    x, h = emit.value("x"), emit.value("h")
    np.testing.assert_array_equal(emit.shape(h).constant, [2, 3])
    np.testing.assert_array_equal(emit.dims(x, 1).constant, [3, 4])
    np.testing.assert_array_equal(emit.dims(x, -1).constant, [4])
    np.testing.assert_array_equal(emit.sizes(x, [2, -2]).constant, [4, 3])
    assert emit.shape(x).constant is None
    assert emit.dims(x, 0, 1).static_shape == (1,)
    assert emit.sizes(x, [0, 1]).static_shape == (2,)


def test_vector_joins_sizes(emit):
    x = emit.value("x")
    np.testing.assert_array_equal(emit.vector(1, emit.dims(x, 1), 5).constant, [1, 3, 4, 5])
    np.testing.assert_array_equal(emit.vector().constant, [])
    assert emit.vector(1, emit.dims(x, 0, 1), 2, 3).static_shape == (4,)
    assert emitted(emit) == ["Shape", "Concat"]


def run(emit, value, feeds):
    model = onnx.ModelProto()
    model.CopyFrom(emit.graph.model)
    model.graph.node.extend(emit.nodes)
    model.graph.initializer.extend(emit.initializers)
    model.graph.output.add().name = value.name
    defaults = {
        "x": np.zeros((1, 3, 4), np.float32),
        "h": np.zeros((2, 3), np.float16),
        "i": np.zeros(1, np.int64),
        "free": np.zeros((1, 1), np.float32),
    }
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run([value.name], defaults | feeds)[0]


@pytest.mark.parametrize("batch", [0, 1, 5])
def test_reshape_infers_one_unknown_size(emit, batch):
    x = emit.value("x")
    flat = emit.reshape(x, [emit.dims(x, 0, 1), 12])
    assert [o for o in emitted(emit) if o != "Shape"] == ["Reshape"]
    data = np.zeros((batch, 3, 4), np.float32)
    assert run(emit, flat, {"x": data, "i": np.zeros(batch, np.int64)}).shape == (batch, 12)


@pytest.mark.parametrize("shape", [(2, 6), (0, 6), (6, 0)])
def test_reshape_of_unknown_sizes_keeps_empty_axes(emit, shape):
    free = emit.value("free")
    turned = emit.reshape(free, [emit.dims(free, 1), emit.dims(free, 0, 1)])
    assert run(emit, turned, {"free": np.zeros(shape, np.float32)}).shape == shape[::-1]


def test_reshape_to_a_known_empty_shape(emit):
    empty = emit.reshape(emit.constant(np.zeros((0, 3), np.float32)), [3, 0])
    assert empty.shape == (3, 0)
    assert run(emit, empty, {}).shape == (3, 0)


def test_reshape_like_adds_nothing_where_shapes_agree(emit):
    x, free = emit.value("x"), emit.value("free")
    assert emit.reshape_like(emit.Exp(x), x).name == emit.Exp(x).name
    assert emit.reshape_like(emit.Exp(free), free).name == emit.Exp(free).name
    assert emitted(emit) == ["Exp", "Exp"]


def test_reshape_like_of_an_unknown_batch_needs_no_shape(emit):
    x = emit.value("x")
    back = emit.reshape_like(emit.Flatten(x), x)
    assert back.shape == ("N", 3, 4)
    assert "Shape" not in {n.op_type for n in emit.nodes if n.output[0] in emit.nodes[-1].input}
    data = np.ones((2, 3, 4), np.float32)
    got = run(emit, back, {"x": data, "i": np.zeros(2, np.int64)})
    np.testing.assert_array_equal(got, data)


def test_cast_to_the_same_type_adds_nothing(emit):
    x = emit.value("x")
    assert emit.cast(x, "float32") is x
    assert emit.cast(x, "float64").dtype == "float64"


def test_full_like(emit):
    data = np.zeros((2, 3, 4), np.float32)
    value = emit.full_like(emit.value("x"), 2.5)
    got = run(emit, value, {"x": data, "i": np.zeros(2, np.int64)})
    np.testing.assert_array_equal(got, np.full_like(data, 2.5))
    assert emit.zeros_like(emit.value("h")).dtype == "float16"


def test_typed_only_sharpens(emit):
    x = emit.value("x")
    assert emit.typed(x, (5, 3, None)).shape == (5, 3, 4)
    assert emit.typed(x, None) is x
    for shape in [(1, 3), (None, 2, 4)]:
        with pytest.raises(InternalError, match="cannot have the shape"):
            emit.typed(x, shape)


def test_axis_counts_from_the_front(emit):
    assert [emit.axis(a, emit.value("x")) for a in (0, 2, -1, -3)] == [0, 2, 2, 0]
