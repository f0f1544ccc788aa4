"""Models that onnxruntime's own optimiser has saved, against the originals."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import igrt
from igrt.errors import UnsupportedOperator

LENGTH, WIDTH, HEADS = 6, 16, 4


class Net:
    """Nodes and weights of a network, named one after the other."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.stored = [], []

    def weight(self, *shape, scale=None, around=0.0):
        scale = shape[0] ** -0.5 if scale is None else scale
        array = (around + scale * self.rng.standard_normal(shape)).astype(np.float32)
        return self.keep(array)

    def keep(self, array):
        name = f"w{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def __getattr__(self, op_type):
        if not op_type[0].isupper():
            raise AttributeError(op_type)

        def apply(*inputs, outputs=1, **given):
            results = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
            name = f"n{len(self.nodes)}_{op_type}"
            self.nodes.append(helper.make_node(op_type, inputs, results, name=name, **given))
            return results[0] if outputs == 1 else results

        return apply

    def model(self, y, shape, out, opset):
        self.nodes.append(helper.make_node("Identity", [y], ["y"], name="out"))
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
            self.stored,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        made.ir_version = 8
        return made


def scalar(value):
    return np.float32(value)


def cnn(opset):
    net = Net(0)
    y = net.Conv("x", net.weight(8, 3, 3, 3, scale=0.3), net.weight(8), pads=[1, 1, 1, 1])
    y = net.Relu(y)
    for _ in range(2):
        w = net.weight(8, 8, 3, 3, scale=0.15)
        z = net.Conv(y, w, net.weight(8, scale=0.1), pads=[1, 1, 1, 1])
        moments = [net.weight(8, scale=0.1, around=a) for a in (1, 0, 0)]
        variance = net.keep(np.full(8, 0.8, np.float32))
        z = net.BatchNormalization(z, *moments, variance)
        z = net.Relu(net.Add(z, y))
        y = net.MaxPool(z, kernel_shape=[2, 2], strides=[2, 2])
    z = net.Conv(y, net.weight(6, 8, 1, 1, scale=0.4), net.weight(6))
    z = net.LeakyRelu(z, alpha=0.1)
    v = net.Flatten(net.GlobalAveragePool(z))
    return net.model(net.Gemm(v, net.weight(6, 4), net.weight(4)), ["n", 3, 8, 8], ["n", 4], opset)


def layer_norm(net, x):
    if OPSET_OF_NORM <= net.opset:
        return net.LayerNormalization(x, net.gamma(), net.weight(WIDTH), axis=-1)
    axes = {"axes": [-1]}
    d = net.Sub(x, net.ReduceMean(x, **axes))
    variance = net.ReduceMean(net.Pow(d, net.keep(scalar(2))), **axes)
    deviation = net.Sqrt(net.Add(variance, net.keep(scalar(1e-5))))
    return net.Add(net.Mul(net.Div(d, deviation), net.gamma()), net.weight(WIDTH))


OPSET_OF_NORM = 17


class Transformer(Net):
    def __init__(self, opset, norm="layer", gelu="erf"):
        super().__init__(1)
        self.opset, self.norm, self.gelu = opset, norm, gelu

    def gamma(self):
        return self.weight(WIDTH, scale=0.1, around=1.0)

    def normal(self, x):
        if self.norm == "layer":
            return layer_norm(self, x)
        mean = self.ReduceMean(self.Pow(x, self.keep(scalar(2))), axes=[-1])
        root = self.Sqrt(self.Add(mean, self.keep(scalar(1e-6))))
        return self.Mul(self.gamma(), self.Div(x, root))

    def dense(self, x, a, b):
        return self.Add(self.MatMul(x, self.weight(a, b)), self.weight(b, scale=0.1))

    def activation(self, x):
        if self.gelu == "erf":
            e = self.Erf(self.Div(x, self.keep(scalar(np.sqrt(2)))))
            return self.Mul(self.Mul(x, self.Add(e, self.keep(scalar(1)))), self.keep(scalar(0.5)))
        if self.gelu == "sigmoid":
            return self.Mul(x, self.Sigmoid(self.Mul(x, self.keep(scalar(1.702)))))
        cube = self.Mul(self.Pow(x, self.keep(scalar(3))), self.keep(scalar(0.044715)))
        t = self.Tanh(self.Mul(self.Add(x, cube), self.keep(scalar(np.sqrt(2 / np.pi)))))
        return self.Mul(self.Mul(x, self.keep(scalar(0.5))), self.Add(t, self.keep(scalar(1))))

    def heads(self, x):
        shape = self.keep(np.array([0, 0, HEADS, WIDTH // HEADS]))
        return self.Reshape(x, shape)

    def block(self, x):
        h = self.normal(x)
        q, k, v = (self.heads(self.dense(h, WIDTH, WIDTH)) for _ in range(3))
        q, v = (self.Transpose(t, perm=[0, 2, 1, 3]) for t in (q, v))
        k = self.Transpose(k, perm=[0, 2, 3, 1])
        scores = self.Div(self.MatMul(q, k), self.keep(scalar(2)))
        a = self.Transpose(self.MatMul(self.Softmax(scores, axis=-1), v), perm=[0, 2, 1, 3])
        a = self.Reshape(a, self.keep(np.array([0, 0, WIDTH])))
        x = self.Add(x, self.dense(a, WIDTH, WIDTH))
        h = self.activation(self.dense(self.normal(x), WIDTH, 2 * WIDTH))
        return self.Add(x, self.dense(h, 2 * WIDTH, WIDTH))

    def build(self):
        y = self.normal(self.block(self.block("x")))
        y = self.MatMul(self.ReduceMean(y, axes=[1], keepdims=0), self.weight(WIDTH, 4))
        return self.model(y, ["n", LENGTH, WIDTH], ["n", 4], self.opset)


MODELS = {
    "cnn": lambda: cnn(17),
    "cnn of opset 12": lambda: cnn(12),
    "transformer": lambda: Transformer(17).build(),
    "transformer of opset 13": lambda: Transformer(13).build(),
    "transformer with tanh": lambda: Transformer(13, gelu="tanh").build(),
    "transformer with sigmoid": lambda: Transformer(17, gelu="sigmoid").build(),
    "transformer with root mean square": lambda: Transformer(17, norm="root").build(),
}
LEVELS = {
    "BASIC": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "EXTENDED": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "ALL": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def optimised(model, level, folder):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = LEVELS[level]
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return onnx.load(options.optimized_model_filepath)


def added(model):
    """What onnxruntime put in that ONNX has no operator for."""
    return {
        n.op_type
        for n in model.graph.node
        if n.domain not in ("", "ai.onnx") or not onnx.defs.has(n.op_type, 17, "")
    }


_OF_MODELS = ("espcn_superres_x3", "go1_joystick_policy_jax", "mnist_cnn_cntk")
_OF_MODELS += ("squeezenet1_imagenet_fp32", "vit_tracker_tiny", "chembl33_multitask_q8")
_OF_CORPUS = ("dtln_stage1", "lstm_vae_encoder", "yunet_n_320", "mujoco_leap_jax")

FUSED = {
    "cnn": {"FusedConv"},
    "transformer": {"BiasGelu", "SkipLayerNormalization"},
    "transformer with root mean square": {"SimplifiedLayerNormalization"},
}
"""What the test is about: were onnxruntime to fuse nothing any more, it would show nothing."""


@pytest.mark.parametrize("level", ["BASIC", "EXTENDED"])
@pytest.mark.parametrize("name", MODELS)
def test_attributions_are_those_of_the_original(name, level, tmp_path):
    model = MODELS[name]()
    saved = optimised(model, level, tmp_path)
    if level == "EXTENDED":
        assert added(saved)
        assert FUSED.get(name, set()) <= added(saved)
    shape = [d.dim_value or 3 for d in model.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    given = {"target": 1, "n_steps": 16, "provider": "cpu"}
    want, got = (igrt.explain(m, x, **given) for m in (model, saved))
    np.testing.assert_allclose(got.output, want.output, rtol=1e-4, atol=1e-5)
    # the same formula in another order, in float32; a Relu or a maximum near a tie may go the
    # other way at one of 16 steps
    error = np.linalg.norm(got.values["x"] - want.values["x"])
    assert error <= 2e-3 * np.linalg.norm(want.values["x"])


ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared" / "data"
FILES = [
    *sorted((ROOT / "models").glob("*/*.onnx")),
    *(SHARED / "models" / f"{n}.onnx" for n in _OF_MODELS),
    *(SHARED / "corpus" / f"{n}.onnx" for n in _OF_CORPUS),
]


@pytest.mark.parametrize("level", ["BASIC", "EXTENDED"])
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_gradients_of_real_models_are_those_of_the_original(path, level, tmp_path):
    if not path.exists():
        pytest.skip("the model is not there")
    model = onnx.load(path)
    saved = optimised(model, level, tmp_path)
    rng = np.random.default_rng(0)
    feeds = {}
    for i in session(model).get_inputs():
        shape = [d if isinstance(d, int) else 1 for d in i.shape]
        if i.type == "tensor(int64)":  # token numbers and masks
            feeds[i.name] = np.ones(shape, np.int64)
        else:
            feeds[i.name] = rng.standard_normal(shape).astype(np.float32)
    of = session(model).get_outputs()[0].name
    ct = rng.standard_normal(session(model).run([of], feeds)[0].shape).astype(np.float32)
    found = []
    for source in (model, saved):
        made = session(igrt.augment(source, of=of))
        names = [o.name for o in made.get_outputs() if o.name.startswith("igrt/grad/")]
        fed = {i.name for i in made.get_inputs()}
        given = feeds | {f"igrt/cotangent/{of}": ct}
        given = {n: a for n, a in given.items() if n in fed}
        found.append(dict(zip([of, *names], made.run([of, *names], given), strict=True)))
    assert found[0].keys() == found[1].keys()
    for name, want in found[0].items():
        # the same formula in another order, in float32
        error = np.linalg.norm(found[1][name].astype(np.float64) - want)
        assert error <= 1e-4 * np.linalg.norm(want), name


def session(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def test_a_layout_for_one_processor_is_refused(tmp_path):
    saved = optimised(MODELS["cnn"](), "ALL", tmp_path)
    if not any(n.domain == "com.microsoft.nchwc" for n in saved.graph.node):
        pytest.skip("onnxruntime lays out nothing for this processor")
    with pytest.raises(UnsupportedOperator, match="before onnxruntime optimised it"):
        igrt.augment(saved)
