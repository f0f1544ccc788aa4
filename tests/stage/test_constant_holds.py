"""Wherever the gradient counts as constant, it is: random graphs, shipped, shared, exported models.

The judge knows nothing of degrees: it compares the gradients at random points of a path.
"""

import io
import os
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import igrt
from igrt.errors import IgrtError
from igrt.graph.prune import prune
from igrt.stage import constant_gradient

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "vjp" / "random_graphs"))
from case import Case  # noqa: E402

DATA = Path(os.environ.get("IGRT_TEST_DATA", ROOT.parent / "shared" / "data"))
# float32 sums in the same order on numbers that differ by a factor: rounding of some 1e-7 an
# operation, more where terms cancel, which the scale of the largest element takes in
ROUNDING = 1e-4


def gradient_graph(model, names, of):
    augmented = igrt.augment(model, wrt=names, of=of)
    return prune(augmented, [f"igrt/grad/{n}" for n in names])


def session(model):
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    return ort.InferenceSession(model.SerializeToString(), options)


def agree(gradients, feeds, ends, seed=0):
    """Whether the gradients at three random points of the path are the same."""
    run = session(gradients)
    found = []
    for alpha in np.random.default_rng(seed).uniform(0.05, 1, 3):
        points = {
            n: np.asarray(b + alpha * (x - b), dtype=np.float32) for n, (b, x) in ends.items()
        }
        wanted = {i.name for i in run.get_inputs()}
        found.append(run.run(None, {k: v for k, v in (feeds | points).items() if k in wanted}))
    return all(
        np.abs(g.astype(np.float64) - h).max(initial=0) <= ROUNDING * np.abs(h).max(initial=0)
        for other in found[1:]
        for g, h in zip(found[0], other, strict=True)
    )


def judge(model, of, x, shape, seed):
    """(kinds of paths that count as constant, whether they are) of a model with inputs x."""
    names = list(x)
    graph = gradient_graph(model, names, of)
    rng = np.random.default_rng(seed)
    ct = {f"igrt/cotangent/{of}": np.asarray(rng.normal(size=shape), np.float32)}
    said = [zero for zero in (True, False) if constant_gradient(graph, names, from_zero=zero)]
    right = True
    for zero in said:
        begins = {n: 0 * a if zero else rng.normal(size=a.shape) for n, a in x.items()}
        right &= agree(graph, ct, {n: (begins[n], a) for n, a in x.items()}, seed)
    return said, right


def forward(model, of, x):
    return session(prune(model, [of])).run([of], x)[0]


@pytest.mark.parametrize("share", range(4))
def test_on_random_graphs_of_all_operators(share):
    seen = 0
    for seed in range(5000 + share, 5160, 4):
        case = Case(seed)
        x = {n: np.asarray(a, np.float32) for n, a in case.feeds.items()}
        model = case.model(np.float32)
        try:
            said, right = judge(model, case.of, x, forward(model, case.of, x).shape, seed)
        except IgrtError:  # not every one has a gradient: tests/vjp/test_random_graphs.py
            continue
        assert right, seed
        seen += len(said)
    assert seen  # some are affine by chance


STEPS = (
    *("Relu", "Abs", "Neg", "LeakyRelu", "weight", "shift", "residual", "Max", "Min", "Concat"),
    *("where", "where1", "scale", "pool", "clip", "clip1", "topk", "square", "norm", "ReduceMax"),
    *("counted", "batch", "scatter", "Sum"),
)


def piecewise(seed):
    """A chain of random steps on [2, 6]; most of them keep a ray a ray, some do not."""
    rng = np.random.default_rng(seed)
    nodes, stored = [], {}

    def constant(a):
        name = f"c{len(stored)}"
        dtype = np.int64 if np.asarray(a).dtype.kind == "i" else np.float32
        stored[name] = numpy_helper.from_array(np.asarray(a, dtype), name)
        return name

    def add(op, inputs, outputs=1, **attributes):
        names = [f"t{len(nodes)}_{k}" for k in range(outputs)]
        nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names[0]

    def weight(h):
        return add("MatMul", [h, constant(rng.normal(size=(6, 6)))])

    kept = [h := weight("x")]
    for step in rng.choice(STEPS, rng.integers(2, 7)):
        other = str(rng.choice(kept))
        zero, one = constant(0.0), constant(0.4)
        match step:
            case "Relu" | "Abs" | "Neg" | "LeakyRelu":
                h = add(step, [h])
            case "weight":
                h = weight(h)
            case "shift":
                # mostly none, or hardly a graph would count as constant
                h = add("Add", [h, constant(rng.normal(size=6) * (rng.random() < 0.3))])
            case "residual":
                h = add("Add", [h, other])
            case "Max" | "Min":
                h = add(step, [h, zero if rng.random() < 0.5 else other])
            case "Concat":
                bounds = [constant([v]) for v in (3, 9, 1)]
                h = weight(add("Slice", [add("Concat", [h, other], axis=1), *bounds]))
            case "where" | "where1":
                test = add("Greater", [h, zero if step == "where" else one])
                h = add("Where", [test, h, other])
            case "scale":
                h = add("Div", [add("Mul", [h, constant(rng.normal(size=6))]), one])
            case "pool":
                tall = add("Unsqueeze", [h, constant([1])])
                op = str(rng.choice(["MaxPool", "AveragePool", "LpPool"]))
                pooled = add(op, [tall], kernel_shape=[3], pads=[1, 1])
                h = add("Squeeze", [pooled, constant([1])])
            case "clip" | "clip1":
                h = add("Clip", [h, zero] + [one] * (step == "clip1"))
            case "topk":
                h = add("TopK", [h, constant([6])], 2, axis=1)
            case "square":
                h = add("Mul", [h, h]) if rng.random() < 0.5 else add("Div", [h, other])
            case "norm":
                h = add("Mul", [h, add("ReduceL2", [other, constant([1])])])
            case "ReduceMax":
                h = add("Sub", [h, add("ReduceMax", [h, constant([1])])])
            case "counted":
                count = add("Shape", [add("NonZero", [add("Greater", [h, one])])])
                h = add("Mul", [h, add("Cast", [add("Gather", [count, constant([1])])], to=1)])
            case "batch":
                shift = constant(np.full(6, 0.3) * (rng.random() < 0.5))
                rest = constant(np.ones(6)), constant(np.zeros(6)), shift, constant(np.ones(6))
                h = add("BatchNormalization", [h, *rest])
            case "scatter":
                rows = add("Slice", [add("Transpose", [other]), constant([1]), constant([3])])
                to = [add("Transpose", [h]), constant([[2], [5]]), rows]
                how = str(rng.choice(["none", "add", "mul"]))
                h = add("Transpose", [add("ScatterND", to, reduction=how)])
            case "Sum":
                h = add("Sum", [h, other, one if rng.random() < 0.2 else h])
        kept.append(h)
    nodes.append(helper.make_node("Identity", [h], ["y"]))
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "chain",
        [info("x", TensorProto.FLOAT, [2, 6])],
        [info("y", TensorProto.FLOAT, [2, 6])],
        list(stored.values()),
    )
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def test_on_random_piecewise_linear_graphs():
    rays = lines = 0
    for seed in range(150):
        x = np.random.default_rng(seed).normal(size=(2, 6)).astype(np.float32)
        said, right = judge(piecewise(seed), "y", {"x": x}, (2, 6), seed)
        assert right, seed
        rays, lines = rays + (True in said), lines + (False in said)
    assert rays > 30
    assert lines > 3


def files():
    """Shipped models, and shared ones that are small enough to try all of them."""
    shared = [f for f in DATA.glob("*/*.onnx") if f.stat().st_size < 600_000]
    return sorted([*ROOT.glob("models/*/*.onnx"), *shared])


def test_on_shipped_and_shared_models():
    constant = []
    for file in files():
        try:
            augmented = igrt.augment(onnx.load(file))
        except IgrtError:  # no gradient: benchmarks/corpus.py
            continue
        fed = {i.name: i for i in augmented.graph.input}
        names = [o.name[10:] for o in augmented.graph.output if o.name.startswith("igrt/grad/")]
        if not set(names) <= set(fed):  # of rows of an embedding, which is cut off first
            continue
        graph = prune(augmented, [f"igrt/grad/{n}" for n in names])
        rng = np.random.default_rng(0)
        for zero in (True, False):
            if not constant_gradient(graph, names, from_zero=zero):
                continue
            shapes = {
                n: [max(d.dim_value, 1) for d in i.type.tensor_type.shape.dim]
                for n, i in fed.items()
            }
            feeds = {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}
            begins = {n: (1 - zero) * rng.normal(size=shapes[n]) for n in names}
            assert agree(graph, feeds, {n: (begins[n], feeds[n]) for n in names}), file
            constant.append(file.stem)
    # of the shipped ones, none is: all have biases; a network without is among the shared ones
    assert constant == (["onnx2c_mnist_14x14"] if DATA.exists() else [])


@pytest.mark.filterwarnings("ignore")
def test_a_torch_network_without_biases_needs_one_evaluation():
    torch = pytest.importorskip("torch")
    from torch import nn
    from torch.nn import functional

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Conv2d(1, 6, 3, padding=1, bias=False)
            self.two = nn.Conv2d(6, 6, 3, padding=1, bias=False)
            self.thin = nn.Conv2d(6, 4, 1, bias=False)
            self.wide = nn.Conv2d(6, 4, 3, stride=2, padding=1, bias=False)
            self.head = nn.Linear(8, 3, bias=False)

        def forward(self, x):
            x = torch.relu(self.one(x))
            x = functional.max_pool2d(x + torch.relu(self.two(x)), 2)
            pooled = functional.avg_pool2d(self.thin(x), 2)
            x = torch.cat([pooled, functional.leaky_relu(self.wide(x), 0.2)], 1)
            x = functional.interpolate(x, scale_factor=2, mode="bilinear")
            return self.head(x.mean((2, 3)) + functional.adaptive_max_pool2d(x, 1).flatten(1))

    torch.manual_seed(0)
    net, x, y = Net(), torch.randn(32, 1, 8, 8), torch.randint(0, 3, (32,))
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(20):
        optimiser.zero_grad()
        functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    stream = io.BytesIO()
    torch.onnx.export(
        *(net.eval(), (x[:2],), stream),
        dynamo=False,
        opset_version=18,
        input_names=["x"],
        output_names=["y"],
        dynamic_axes={"x": {0: "batch"}},
    )
    result = igrt.explain(onnx.load_from_string(stream.getvalue()), x[:2].numpy(), target="top1")
    assert result.rule == "constant"
    assert result.evaluations.tolist() == [1, 1]
    # float64 torch at the middle of the path: x · ∂F/∂x there, for a gradient that is constant
    point = (0.5 * x[:2]).double().requires_grad_()
    net.double()(point)[range(2), list(result.target)].sum().backward()
    exact = (x[:2] * point.grad).numpy()
    # float32 against float64
    np.testing.assert_allclose(result.values["x"], exact, rtol=1e-4, atol=1e-6)


def test_linear_models_need_one_evaluation_from_any_baseline():
    linear_model = pytest.importorskip("sklearn.linear_model")
    to_onnx = pytest.importorskip("skl2onnx").to_onnx
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5)).astype(np.float32)
    y = (x @ rng.normal(size=(5, 3))).argmax(1)
    fitted = linear_model.LogisticRegression().fit(x, y)
    options = {id(fitted): {"zipmap": False, "raw_scores": True}}
    model = to_onnx(fitted, x[:1], options=options)
    result = igrt.explain(model, x[:4], of="probabilities", target="top1", baselines=0.3)
    assert result.evaluations.tolist() == [1] * 4
    exact = (x[:4] - 0.3) * fitted.coef_[list(result.target)]
    # products of float32 numbers
    np.testing.assert_allclose(result.values["X"], exact, rtol=1e-5, atol=1e-6)
