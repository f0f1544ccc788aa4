"""The augmented model: its names, its outputs, its versions; and augmenting it again."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from igrt.errors import InputError, ModelLoadError, NoGradientPath, UnsupportedOperator
from igrt.vjp.augment import augment, differentiate

MLP = """
    <ir_version: 8, opset_import: ["": {opset}]>
    g ({dtype}[N, 4] image) => ({dtype}[N, 3] logits, {dtype}[N, 3] scores)
    <{dtype}[4, 5] w = {{{w}}}, {dtype}[5] b = {{{b}}}, {dtype}[5, 3] v = {{{v}}}>
    {{
        h = Gemm (image, w, b)
        t = Tanh (h)
        logits = MatMul (t, v)
        s = Tanh (logits)
        scores = Mul (s, s)
    }}
"""


def mlp(dtype="float", opset=18):
    rng = np.random.default_rng(1703)
    numbers = {
        n: ", ".join(f"{x:.6f}" for x in rng.standard_normal(k))
        for n, k in (("w", 20), ("b", 5), ("v", 15))
    }
    return parser.parse_model(MLP.format(dtype=dtype, opset=opset, **numbers))


@pytest.fixture
def x(rng):
    return rng.standard_normal((6, 4)).astype(np.float32)


@pytest.fixture
def ct(rng):
    return rng.standard_normal((6, 3)).astype(np.float32)


def session(model, *, optimised=True):
    options = onnxruntime.SessionOptions()
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def names(items):
    return [i.name for i in items]


# -- names, types, versions -----------------------------------------------------------------------


def test_inputs_and_outputs():
    model = augment(mlp())
    assert names(model.graph.input) == ["image", "igrt/cotangent/logits"]
    assert names(model.graph.output) == ["logits", "scores", "igrt/grad/image"]
    ct, gradient = model.graph.input[1], model.graph.output[2]
    assert ct.type == mlp().graph.output[0].type
    assert gradient.type == mlp().graph.input[0].type


def test_another_output_and_inner_tensors():
    model = augment(mlp(), wrt=["t", "image"], of="scores")
    assert names(model.graph.input) == ["image", "igrt/cotangent/scores"]
    assert names(model.graph.output)[2:] == ["igrt/grad/t", "igrt/grad/image"]


def test_an_inner_tensor_explained_becomes_an_output(x):
    model = augment(mlp(), of="t")
    assert names(model.graph.output) == ["logits", "scores", "t", "igrt/grad/image"]
    feeds = {"image": x, "igrt/cotangent/t": np.ones((6, 5), np.float32)}
    t, _ = session(model).run(["t", "igrt/grad/image"], feeds)
    assert t.shape == (6, 5)


def test_everything_added_starts_with_igrt():
    model, plain = augment(mlp()), mlp()
    made = {o for n in model.graph.node for o in n.output} - {
        o for n in plain.graph.node for o in n.output
    }
    stored = set(names(model.graph.initializer)) - set(names(plain.graph.initializer))
    assert made and stored
    assert all(n.startswith("igrt/") for n in made | stored)


def test_differentiate_says_what_it_did():
    augmented = differentiate(mlp(), wrt=["image"], of="scores")
    assert augmented.of.name == "scores"
    assert names(augmented.wrt) == ["image"]
    assert augmented.cotangent == "igrt/cotangent/scores"
    assert augmented.gradients == {"image": "igrt/grad/image"}


@pytest.mark.parametrize("opset, raised", [(7, 18), (13, 18), (18, 18), (21, 21), (26, 26)])
def test_opset_and_ir_version(opset, raised):
    given = mlp(opset=opset)
    given.ir_version = 3
    model = augment(given)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", raised)]
    assert model.ir_version == (13 if raised == 26 else 10)
    onnx.checker.check_model(model, full_check=True)
    session(model)


def test_only_standard_operators():
    assert {n.domain for n in augment(mlp()).graph.node} <= {"", "ai.onnx"}


# -- the forward model stays ----------------------------------------------------------------------


@pytest.mark.parametrize("of", ["logits", "scores", "t"])
def test_outputs_are_the_same_bit_for_bit(x, of):
    model = augment(mlp(), of=of)
    plain = session(mlp(), optimised=False).run(["logits", "scores"], {"image": x})
    width = 5 if of == "t" else 3
    feeds = {"image": x, f"igrt/cotangent/{of}": np.ones((6, width), np.float32)}
    again = session(model, optimised=False).run(["logits", "scores"], feeds)
    for a, b in zip(plain, again, strict=True):
        np.testing.assert_array_equal(a, b)
    # optimisations fuse other groups of nodes where tensors in between are used twice, which
    # rounds differently: some units of 6e-8
    optimised = session(model).run(["logits", "scores"], feeds)
    for a, b in zip(plain, optimised, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_forward_nodes_and_weights_are_copied_unchanged():
    plain, model = mlp(), augment(mlp())
    count, stored = len(plain.graph.node), len(plain.graph.initializer)
    for a, b in zip(plain.graph.node, model.graph.node[:count], strict=True):
        assert (a.op_type, a.input, a.output, a.attribute) == (
            b.op_type,
            b.input,
            b.output,
            b.attribute,
        )
    assert model.graph.initializer[:stored] == plain.graph.initializer[:]


def test_the_model_given_is_not_changed():
    model = mlp()
    before = model.SerializeToString()
    augment(model)
    assert model.SerializeToString() == before


# -- the gradient ---------------------------------------------------------------------------------


def slope(model, x, v, ct, of, step=1e-5):
    """Central difference of ⟨ct, of⟩ along v, in float64."""
    evaluate = ReferenceEvaluator(model)
    plus, minus = (evaluate.run([of], {"image": x + s * v})[0] for s in (step, -step))
    return float((ct * (plus - minus)).sum()) / (2 * step)


@pytest.mark.parametrize("of", ["logits", "scores"])
def test_gradient_against_finite_differences(rng, of):
    model = mlp("double")
    x, v, ct = (rng.standard_normal(s) for s in ((6, 4), (6, 4), (6, 3)))
    feeds = {"image": x, f"igrt/cotangent/{of}": ct}
    (gradient,) = ReferenceEvaluator(augment(model, of=of)).run(["igrt/grad/image"], feeds)
    # h² truncates to about 1e-10 of functions of order ten
    assert (gradient * v).sum() == pytest.approx(slope(model, x, v, ct, of), abs=1e-7)


def test_rows_are_independent(x, ct):
    run = session(augment(mlp())).run
    (whole,) = run(["igrt/grad/image"], {"image": x, "igrt/cotangent/logits": ct})
    for i in range(len(x)):
        feeds = {"image": x[i : i + 1], "igrt/cotangent/logits": ct[i : i + 1]}
        (row,) = run(["igrt/grad/image"], feeds)
        # matrix products of other sizes add in another order: some units of 6e-8
        np.testing.assert_allclose(row[0], whole[i], rtol=1e-5, atol=1e-6)


def test_an_empty_batch(x, ct):
    feeds = {"image": x[:0], "igrt/cotangent/logits": ct[:0]}
    (gradient,) = session(augment(mlp())).run(["igrt/grad/image"], feeds)
    assert gradient.shape == (0, 4)


# -- twice ----------------------------------------------------------------------------------------


def twice():
    """⟨u, ∇_image ⟨ct, scores⟩⟩ differentiated again: a Hessian-vector product."""
    return augment(augment(mlp("double"), of="scores"), wrt=["image"], of="igrt/grad/image")


def test_names_of_the_second_time():
    model = twice()
    assert names(model.graph.input) == [
        "image",
        "igrt/cotangent/scores",
        "igrt/cotangent/igrt/grad/image",
    ]
    assert names(model.graph.output)[2:] == ["igrt/grad/image", "igrt/grad/image/2"]
    made = [o for n in model.graph.node for o in n.output]
    assert len(made) == len(set(made))
    onnx.checker.check_model(model, full_check=True)


def test_hessian_vector_product_against_finite_differences(rng):
    x, u, v, ct = (rng.standard_normal(s) for s in ((6, 4), (6, 4), (6, 4), (6, 3)))
    feeds = {"image": x, "igrt/cotangent/scores": ct, "igrt/cotangent/igrt/grad/image": u}
    (product,) = ReferenceEvaluator(twice()).run(["igrt/grad/image/2"], feeds)
    once = ReferenceEvaluator(augment(mlp("double"), of="scores"))

    def gradient(at):
        return once.run(["igrt/grad/image"], {"image": at, "igrt/cotangent/scores": ct})[0]

    step = 1e-5
    difference = ((gradient(x + step * v) - gradient(x - step * v)) * u).sum() / (2 * step)
    assert (product * v).sum() == pytest.approx(difference, abs=1e-7)  # as for the gradient


def test_the_hessian_is_symmetric(rng):
    x, u, v, ct = (rng.standard_normal(s) for s in ((6, 4), (6, 4), (6, 4), (6, 3)))
    evaluate = ReferenceEvaluator(twice())

    def product(direction):
        feeds = {"image": x, "igrt/cotangent/scores": ct}
        feeds["igrt/cotangent/igrt/grad/image"] = direction
        return evaluate.run(["igrt/grad/image/2"], feeds)[0]

    assert (product(u) * v).sum() == pytest.approx((product(v) * u).sum(), rel=1e-10)


# -- models of all kinds --------------------------------------------------------------------------


def test_from_a_path_bytes_and_memory(tmp_path):
    path = tmp_path / "mlp.onnx"
    path.write_bytes(mlp().SerializeToString())
    want = augment(mlp())
    for given in (path, str(path), path.read_bytes()):
        assert augment(given) == want


def test_weights_in_a_file_beside_the_model_stay_there(tmp_path):
    path = tmp_path / "mlp.onnx"
    model = mlp()
    for tensor in model.graph.initializer:  # only raw bytes go into files
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    onnx.save(model, path, save_as_external_data=True, location="mlp.bin", size_threshold=0)
    augmented = augment(path)
    weights = [t for t in augmented.graph.initializer if t.name in "wbv"]
    assert all(t.data_location == onnx.TensorProto.EXTERNAL and not t.raw_data for t in weights)


def test_stored_defaults_listed_as_inputs(x, ct):
    model = mlp()
    model.ir_version = 3
    for name, shape in (("w", [4, 5]), ("b", [5]), ("v", [5, 3])):
        model.graph.input.append(helper.make_tensor_value_info(name, 1, shape))
    augmented = augment(model)
    assert [n for n in names(augmented.graph.output) if "grad" in n] == ["igrt/grad/image"]
    feeds = {"image": x, "igrt/cotangent/logits": ct}
    (got,) = session(augmented).run(["igrt/grad/image"], feeds)
    (want,) = session(augment(mlp())).run(["igrt/grad/image"], feeds)
    np.testing.assert_array_equal(got, want)
    # IR version 3 lists all stored tensors, and onnxruntime lets none of them be fed
    assert names(augmented.graph.input) == ["image", "igrt/cotangent/logits"]
    # from 4 on they can be: a default that the caller replaces is not folded into the gradient
    model.ir_version = 8
    (other,) = session(augment(model)).run(
        ["igrt/grad/image"], feeds | {"w": np.zeros((4, 5), np.float32)}
    )
    np.testing.assert_array_equal(other, 0 * x)


def test_nodes_without_names_and_with_the_same_name():
    model = mlp()
    for node, name in zip(model.graph.node, ["", "a", "a", "", ""], strict=True):
        node.name = name
    augmented = augment(model)
    given = names(augmented.graph.node)
    assert all(given) and len(set(given)) == len(given)


def test_nodes_out_of_order(x, ct):
    model = mlp()
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    feeds = {"image": x, "igrt/cotangent/logits": ct}
    (got,) = session(augment(model)).run(["igrt/grad/image"], feeds)
    (want,) = session(augment(mlp())).run(["igrt/grad/image"], feeds)
    np.testing.assert_array_equal(got, want)


def test_functions_of_the_model():
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["": 18, "mine": 1]>
        g (float[2] x) => (float[2] y) { y = mine.Square (x) }
        <domain: "mine", opset_import: ["": 18]> Square (a) => (b) { b = Mul (a, a) }
    """)
    feeds = {"x": np.float32([3, 4]), "igrt/cotangent/y": np.float32([1, 1])}
    (got,) = session(augment(model)).run(["igrt/grad/x"], feeds)
    np.testing.assert_array_equal(got, [6, 8])


# -- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"of": "logit"}, ["no tensor `logit` to explain", "did you mean `logits`"]),
        ({"wrt": ["imagee"]}, ["no tensor `imagee` to attribute to", "`image`"]),
        ({"wrt": "image"}, ["list of names", "wrt=['image']"]),
        ({"wrt": []}, ["names no tensor"]),
        ({"wrt": ["image", "image"]}, ["twice"]),
        ({"wrt": ["w"]}, ["stored constant"]),
        ({"of": "w"}, ["stored constant"]),
    ],
)
def test_arguments_that_name_nothing_usable(arguments, words):
    with pytest.raises(InputError) as caught:
        augment(mlp(), **arguments)
    assert all(word in str(caught.value) for word in words), str(caught.value)


INTEGERS = """
    <ir_version: 8, opset_import: ["": 18, "odd": 1]>
    g (int64[2] i) => (int64[2] j) { k = odd.Op (i) f = Cast <to = 1> (i) j = Cast <to = 7> (f) }
"""


def test_a_model_without_floats():
    with pytest.raises(NoGradientPath, match="no output of the model is a float"):
        augment(parser.parse_model(INTEGERS))
    with pytest.raises(InputError, match="no input of the model is a float"):
        augment(parser.parse_model(INTEGERS), of="f")
    with pytest.raises(InputError, match="cannot attribute to i: int64"):
        augment(parser.parse_model(INTEGERS), of="f", wrt=["i"])


@pytest.mark.parametrize("arguments", [{"of": "k", "wrt": ["f"]}, {"of": "f", "wrt": ["k"]}])
def test_a_tensor_of_unknown_type(arguments):
    with pytest.raises(InputError, match="element type of `k` is not known"):
        augment(parser.parse_model(INTEGERS), **arguments)


def test_a_file_that_is_no_model(tmp_path):
    (tmp_path / "no.onnx").write_bytes(b"no")
    with pytest.raises(ModelLoadError):
        augment(tmp_path / "no.onnx")


def test_onnxruntimes_transpose_optimiser_leaves_the_gradient_right():
    """A Pad with axes behind a moved Transpose reads past its pads in onnxruntime (to 1.32)."""
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["": 18]>
        g (float[N, 4, 12] x) => (float[N, 2, 4, 2] y)
        <int64[5] s = {0, 4, 3, 2, 2}, int64 zero = {0}, int64 one = {1}, int64 two = {2}> {
          r = Reshape(x, s)  t = Transpose<perm = [2, 0, 3, 1, 4]>(r)
          q = Gather<axis = 0>(t, zero)  k = Gather<axis = 0>(t, one)  v = Gather<axis = 0>(t, two)
          qk = Mul(q, k)  y = Add(qk, v) }"""
    )
    augmented = augment(model)
    rng = np.random.default_rng(0)
    feeds = {
        "x": rng.standard_normal((1, 4, 12)).astype(np.float32),
        "igrt/cotangent/y": rng.standard_normal((1, 2, 4, 2)).astype(np.float32),
    }
    outputs = ["y", "igrt/grad/x"]
    session = onnxruntime.InferenceSession(augmented.SerializeToString())
    expected = ReferenceEvaluator(augmented).run(outputs, feeds)
    for found, want in zip(session.run(outputs, feeds), expected, strict=True):
        # products and sums of a few float32 numbers of order one
        np.testing.assert_allclose(found, want, atol=1e-6)


def test_an_operator_newer_than_the_opset_is_the_exporters_fault():
    """As torch writes it where it fails to raise the opset of an export."""
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]> g (float[2] x) => (float[2] y) { y = Gelu (x) }'
    )
    with pytest.raises(UnsupportedOperator, match="ONNX has Gelu from opset 20 on"):
        augment(model)
