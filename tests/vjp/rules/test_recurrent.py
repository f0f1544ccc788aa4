"""RNN, GRU and LSTM: against the equations in NumPy, and against torch's autograd."""

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from igrt.errors import UnsupportedOperator
from igrt.graph.load import load
from igrt.graph.normalize import normalize
from igrt.graph.prune import prune
from igrt.stage.lower import lower
from igrt.vjp.augment import augment

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
OUTPUTS = {"RNN": ["Y", "Y_h"], "GRU": ["Y", "Y_h"], "LSTM": ["Y", "Y_h", "Y_c"]}
INPUTS = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]
# onnxruntime computes in float32 (1e-7 per operation), over some steps of a cell
FLOAT32 = 5e-5
STEP = 1e-6  # of central differences in float64: 1e-12 (truncation) + 1e-10 (rounding)


def session(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def case(
    op,
    *,
    steps=4,
    batch=2,
    features=3,
    hidden=5,
    direction="forward",
    lengths=None,
    without=(),
    peepholes=False,
    outputs=None,
    symbolic=False,
    opset=22,
    **attributes,
):
    """A model of one node, and its inputs."""
    rng = np.random.default_rng(7)
    count, gates = 2 if direction == "bidirectional" else 1, GATES[op]
    shapes = {
        "X": (steps, batch, features),
        "W": (count, gates * hidden, features),
        "R": (count, gates * hidden, hidden),
        "B": (count, 2 * gates * hidden),
        "initial_h": (count, batch, hidden),
    }
    if op == "LSTM":
        shapes["initial_c"] = (count, batch, hidden)
    if peepholes:
        shapes["P"] = (count, 3 * hidden)
    feeds = {n: rng.normal(0, 0.6, s) for n, s in shapes.items() if n not in without}
    if lengths is not None:
        feeds["sequence_lens"] = np.int32(lengths)
    names = [n if n in feeds else "" for n in INPUTS]
    while not names[-1]:
        names.pop()
    outputs = OUTPUTS[op] if outputs is None else outputs
    node = helper.make_node(
        op,
        names,
        [n if n in outputs else "" for n in OUTPUTS[op]],
        name="cell",
        hidden_size=hidden,
        direction=direction,
        **attributes,
    )
    infos = [
        helper.make_tensor_value_info(
            n,
            6 if n == "sequence_lens" else 1,
            [f"{n}{i}" for i in range(a.ndim)] if symbolic else a.shape,
        )
        for n, a in feeds.items()
    ]
    results = [
        helper.make_tensor_value_info(n, 1, [None] * (4 if n == "Y" else 3)) for n in outputs
    ]
    graph = helper.make_graph([node], "g", infos, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 10
    return model, feeds


# -- the equations, written down once more ---------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


FUNCTIONS = {
    "Sigmoid": lambda x, a, b: sigmoid(x),
    "Tanh": lambda x, a, b: np.tanh(x),
    "Relu": lambda x, a, b: np.maximum(x, 0),
    "Affine": lambda x, a, b: a * x + b,
    "LeakyRelu": lambda x, a, b: np.where(x >= 0, x, a * x),
    "ThresholdedRelu": lambda x, a, b: np.where(x > a, x, 0),
    "ScaledTanh": lambda x, a, b: a * np.tanh(b * x),
    "HardSigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "Elu": lambda x, a, b: np.where(x >= 0, x, a * (np.exp(x) - 1)),
    "Softsign": lambda x, a, b: x / (1 + np.abs(x)),
    "Softplus": lambda x, a, b: np.log1p(np.exp(x)),
}


def functions(op, count, attributes):
    names = (
        attributes.get("activations")
        or {
            "RNN": ["Tanh"],
            "GRU": ["Sigmoid", "Tanh"],
            "LSTM": ["Sigmoid", "Tanh", "Tanh"],
        }[op]
        * count
    )
    alphas = iter(attributes.get("activation_alpha", ()))
    betas = iter(attributes.get("activation_beta", ()))
    made = []
    for name in names:
        takes_beta = name in ("Affine", "ScaledTanh", "HardSigmoid")
        takes_alpha = takes_beta or name in ("LeakyRelu", "ThresholdedRelu", "Elu")
        default = {"LeakyRelu": 0.01, "HardSigmoid": 0.2, "Elu": 1.0}.get(name, 0.0)
        alpha = next(alphas, default) if takes_alpha else 0.0
        beta = next(betas, 0.5 if name == "HardSigmoid" else 0.0) if takes_beta else 0.0
        made.append(lambda x, f=FUNCTIONS[name], a=alpha, b=beta: f(x, a, b))
    size = len(made) // count
    return [made[i * size : (i + 1) * size] for i in range(count)]


def equations(op, feeds, *, direction="forward", **attributes):
    """Y, Y_h, Y_c of the ONNX specification, one sequence at a time."""
    x, w, r = feeds["X"], feeds["W"], feeds["R"]
    steps, batch, _ = x.shape
    count, _, hidden = r.shape
    clip = attributes.get("clip", np.inf)
    lengths = feeds.get("sequence_lens", [steps] * batch)
    y = np.zeros((steps, count, batch, hidden))
    ends = np.zeros((2, count, batch, hidden))
    for d, f in enumerate(functions(op, count, attributes)):
        bias = feeds["B"][d] if "B" in feeds else np.zeros(2 * GATES[op] * hidden)
        front, behind = np.split(bias, 2)
        peep = feeds["P"][d] if "P" in feeds else np.zeros(3 * hidden)
        p_i, p_o, p_f = np.split(peep, 3)
        for n in range(batch):
            h = feeds["initial_h"][d, n] if "initial_h" in feeds else np.zeros(hidden)
            c = feeds["initial_c"][d, n] if "initial_c" in feeds else np.zeros(hidden)
            order = range(lengths[n])
            for t in reversed(order) if direction == "reverse" or d == 1 else order:
                a, b = x[t, n] @ w[d].T + front, h @ r[d].T + behind
                bound = lambda v: np.clip(v, -clip, clip)  # noqa: E731
                if op == "RNN":
                    h = f[0](bound(a + b))
                elif op == "GRU":
                    z, reset = np.split(f[0](bound(a + b)[: 2 * hidden]), 2)
                    last = slice(2 * hidden, None)
                    if attributes.get("linear_before_reset"):
                        change = reset * b[last]
                    else:
                        change = (reset * h) @ r[d, last].T + behind[last]
                    h = (1 - z) * f[1](bound(a[last] + change)) + z * h
                else:
                    i, o, forget, new = np.split(a + b, 4)
                    i = f[0](bound(i + p_i * c))
                    coupled = attributes.get("input_forget")
                    forget = 1 - i if coupled else f[0](bound(forget + p_f * c))
                    c = forget * c + i * f[1](bound(new))
                    h = f[0](bound(o + p_o * c)) * f[2](c)
                y[t, d, n] = h
            ends[:, d, n] = h, c
    return {"Y": y, "Y_h": ends[0], "Y_c": ends[1]}


def check(op, **options):
    """Gradients in onnxruntime against central differences of the equations in float64."""
    model, feeds = case(op, **options)
    given = {
        n: v
        for n, v in options.items()
        if n
        not in ("steps", "batch", "lengths", "without", "peepholes", "outputs", "symbolic", "opset")
    }
    singles = {n: a.astype(np.float32) if a.dtype.kind == "f" else a for n, a in feeds.items()}
    wrt = [n for n, a in feeds.items() if a.dtype.kind == "f"]
    rng = np.random.default_rng(11)
    plain = session(model)
    for of in [o.name for o in model.graph.output]:
        y = equations(op, feeds, **given)[of]
        np.testing.assert_allclose(plain.run([of], singles)[0], y, rtol=0, atol=FLOAT32)
        ct = rng.standard_normal(y.shape)
        augmented = augment(model, wrt=wrt, of=of)
        onnx.checker.check_model(augmented)
        names = [f"igrt/grad/{n}" for n in wrt]
        # as the runtime runs large chunks: a Scan in place of the operator
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("igrt.stage.lower.recurrent._ENOUGH", 0)
            lowered = lower(prune(augmented, names))
        given_ct = singles | {f"igrt/cotangent/{of}": np.float32(ct)}
        both = [session(m).run(names, given_ct) for m in (augmented, lowered)]
        for name, *found in zip(wrt, *both, strict=True):
            for gradient in found:
                assert gradient.shape == feeds[name].shape
            for _ in range(2):
                v = rng.standard_normal(feeds[name].shape)
                ends = [
                    equations(op, feeds | {name: feeds[name] + s * v}, **given)[of]
                    for s in (STEP, -STEP)
                ]
                expected = float((ct * (ends[0] - ends[1])).sum()) / (2 * STEP)
                for gradient in found:
                    scale = max(1.0, float(np.abs(gradient * v).sum()))
                    got = float((gradient * v).sum())
                    assert abs(got - expected) <= FLOAT32 * scale, (
                        f"{of}, {name}: {got}, {expected}"
                    )


DIRECTIONS = ["forward", "reverse", "bidirectional"]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
class TestEveryOperator:
    def test_every_input_and_output(self, op, direction):
        check(op, direction=direction)

    def test_sequences_of_different_lengths(self, op, direction):
        check(op, direction=direction, lengths=[2, 4, 1], batch=3)

    def test_symbolic_shapes(self, op, direction):
        check(op, direction=direction, lengths=[4, 1], symbolic=True)

    def test_one_step(self, op, direction):
        check(op, direction=direction, steps=1)

    def test_no_bias_and_no_initial_state(self, op, direction):
        check(op, direction=direction, without=("B", "initial_h", "initial_c"))

    def test_clip(self, op, direction):
        check(op, direction=direction, clip=0.4)


@pytest.mark.parametrize("outputs", [["Y"], ["Y_h"], ["Y_c"], ["Y_h", "Y_c"]])
def test_only_some_outputs(outputs):
    check("LSTM", outputs=outputs)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_peepholes(direction):
    check("LSTM", direction=direction, peepholes=True, lengths=[4, 2])
    check("LSTM", direction=direction, peepholes=True, clip=0.5, input_forget=1)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_linear_before_reset(direction):
    check("GRU", direction=direction, linear_before_reset=1, lengths=[4, 2])
    check("GRU", direction=direction, linear_before_reset=1, without=("B",))


def test_input_and_forget_gates_coupled():
    check("LSTM", input_forget=1)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_activations_with_their_defaults(name):
    check("RNN", activations=[name])
    check("LSTM", activations=["Sigmoid", name, "Tanh"])


def test_parameters_go_to_the_activations_that_have_them():
    check(
        "GRU",
        activations=["HardSigmoid", "ScaledTanh"],
        activation_alpha=[0.3, 0.7],
        activation_beta=[0.4, 0.9],
    )
    check(
        "LSTM",
        direction="bidirectional",
        activations=["HardSigmoid", "LeakyRelu", "ScaledTanh", "Sigmoid", "Affine", "Tanh"],
        activation_alpha=[0.3, 0.2, 0.7, 0.6],
        activation_beta=[0.4, 0.9, 0.1],
    )


def test_an_unknown_activation_is_refused_by_name():
    model, _ = case("RNN", activations=["Swish"])
    with pytest.raises(UnsupportedOperator, match=r"`cell` \(RNN\) has the activation 'Swish'"):
        augment(model, of="Y")


def test_batch_first():
    """`layout` = 1, which onnxruntime's kernels refuse: its Y is fed to the gradient graph."""
    model, feeds = case("LSTM", outputs=["Y"])
    batchwise, _ = case("LSTM", outputs=["Y"], layout=1)
    turned = dict(feeds)
    for name in ("X", "initial_h", "initial_c"):
        turned[name] = feeds[name].transpose(1, 0, 2)
    for info in batchwise.graph.input:
        for dim, size in zip(info.type.tensor_type.shape.dim, turned[info.name].shape, strict=True):
            dim.dim_value = size
    names = [f"igrt/grad/{n}" for n in feeds]
    ct = np.random.default_rng(3).standard_normal((4, 1, 2, 5))
    given = {n: np.float32(a) for n, a in feeds.items()} | {"igrt/cotangent/Y": np.float32(ct)}
    expected = session(augment(model, of="Y")).run(names, given)

    augmented = augment(batchwise, of="Y")
    node = next(n for n in augmented.graph.node if n.op_type == "LSTM")
    augmented.graph.node.remove(node)
    augmented.graph.input.append(augmented.graph.output[0])
    del augmented.graph.output[0]
    y = equations("LSTM", feeds)["Y"]
    given = {n: np.float32(a) for n, a in turned.items()}
    given |= {
        n: np.float32(a.transpose(2, 0, 1, 3)) for n, a in (("Y", y), ("igrt/cotangent/Y", ct))
    }
    for name, got, want in zip(feeds, session(augmented).run(names, given), expected, strict=True):
        if name in ("X", "initial_h", "initial_c"):
            want = want.transpose(1, 0, 2)
        np.testing.assert_allclose(got, want, rtol=FLOAT32, atol=FLOAT32, err_msg=name)


# -- torch -----------------------------------------------------------------------------------------


def onnx_order(weight, op, hidden):
    """torch's gates i f g o and r z n, as ONNX's i o f g and z r n."""
    order = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 3, 1, 2]}[op]
    return np.concatenate([weight[g * hidden : (g + 1) * hidden] for g in order])


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
def test_torch_autograd(op, both):
    torch = pytest.importorskip("torch")
    torch.manual_seed(5)
    steps, batch, features, hidden = 6, 3, 4, 7
    net = getattr(torch.nn, op)(features, hidden, bidirectional=both).double()
    given = dict(linear_before_reset=1) if op == "GRU" else {}
    direction = "bidirectional" if both else "forward"
    model, _ = case(
        op,
        steps=steps,
        batch=batch,
        features=features,
        hidden=hidden,
        direction=direction,
        without=("initial_h", "initial_c"),
        **given,
    )
    suffixes = ["_l0", "_l0_reverse"][: 1 + both]
    parameters = dict(net.named_parameters())

    def stacked(kind, pick):
        rows = [onnx_order(pick(parameters[f"{kind}{s}"]), op, hidden) for s in suffixes]
        return np.stack(rows)

    def weights(pick):
        bias = [stacked(f"bias_{k}", pick) for k in ("ih", "hh")]
        return {
            "W": stacked("weight_ih", pick),
            "R": stacked("weight_hh", pick),
            "B": np.concatenate(bias, axis=1),
        }

    x = torch.randn(steps, batch, features, dtype=torch.float64, requires_grad=True)
    y, _ = net(x)
    ct = torch.randn(*y.shape, dtype=torch.float64)
    y.backward(ct)
    feeds = {"X": x.detach().numpy()} | weights(lambda p: p.detach().numpy())
    expected = {"X": x.grad.numpy()} | weights(lambda p: p.grad.numpy())
    count = 1 + both
    ours = ct.numpy().reshape(steps, batch, count, hidden).transpose(0, 2, 1, 3)
    names = list(feeds)
    results = session(augment(model, wrt=names, of="Y")).run(
        [f"igrt/grad/{n}" for n in names],
        {n: np.float32(a) for n, a in feeds.items()} | {"igrt/cotangent/Y": np.float32(ours)},
    )
    for name, got in zip(names, results, strict=True):
        np.testing.assert_allclose(got, expected[name], rtol=FLOAT32, atol=FLOAT32, err_msg=name)


# -- lean ------------------------------------------------------------------------------------------


def test_the_forward_operator_stays_and_is_not_computed_twice():
    model, _ = case("LSTM", outputs=["Y_h"])
    operators = [n.op_type for n in augment(model, wrt=["X"], of="Y_h").graph.node]
    assert operators.count("LSTM") == 1
    # one for the cell states, one for the pullback
    assert operators.count("Scan") == 2
    model, _ = case("GRU")
    assert [n.op_type for n in augment(model, wrt=["X"], of="Y").graph.node].count("Scan") == 1
    model, _ = case("GRU", steps=1)
    assert "Scan" not in [n.op_type for n in augment(model, wrt=["X"], of="Y").graph.node]


# -- models of exporters --------------------------------------------------------------------------

SHARED = Path(__file__).parents[4] / "shared" / "data"
MODELS = Path(os.environ.get("IGRT_TEST_DATA", SHARED)) / "models"


@pytest.mark.skipif(not MODELS.is_dir(), reason="needs the shared test data (IGRT_TEST_DATA)")
@pytest.mark.parametrize(
    "file, of, wrt, feeds",
    [
        (
            "point_history_lstm",
            "base_scores",
            "input",
            {"input": np.linspace(0, 1, 64, dtype=np.float32).reshape(2, 32)},
        ),
        (
            "sentence_break_byte_bilstm",
            "output",
            "21",
            {"21": np.sin(np.arange(1280, dtype=np.float32)).reshape(1, 40, 32)},
        ),
    ],
)
def test_inner_tensors_of_real_models(file, of, wrt, feeds):
    """Against finite differences of onnxruntime's forward pass."""
    model = prune(normalize(load(MODELS / f"{file}.onnx").model), [of], keep_inputs=False)
    augmented = augment(model, wrt=[wrt], of=of)
    for changed in (model, augmented):
        maker = [n for n in changed.graph.node if wrt in n.output]
        if maker:  # feed the inner tensor
            changed.graph.node.remove(maker[0])
            info = helper.make_tensor_value_info(wrt, 1, feeds[wrt].shape)
            changed.graph.input.append(info)
    ids = {"input": np.zeros(feeds[wrt].shape[:2], np.uint8)} | feeds
    plain, rng = session(model), np.random.default_rng(2)
    y = plain.run([of], ids)[0]
    ct = rng.standard_normal(y.shape).astype(np.float32)
    given = ids | {f"igrt/cotangent/{of}": ct}
    gradient = session(augmented).run([f"igrt/grad/{wrt}"], given)[0]
    v = rng.standard_normal(gradient.shape).astype(np.float32)

    def along(step):
        moved = ids | {wrt: feeds[wrt] + np.float32(step) * v}
        return float((ct.astype(np.float64) * plain.run([of], moved)[0]).sum())

    near, far = (along(h) - along(-h) for h in (0.002, 0.004))
    expected, got = (8 * near - far) / 0.024, float((gradient * v).sum())
    # float32 noise of the forward pass, 1e-6, over the step
    assert abs(got - expected) <= 2e-3 * max(1.0, float(np.abs(gradient * v).sum()))
