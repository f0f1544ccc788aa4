"""BERT- and GPT-like networks exported by torch, fused by onnxruntime's tools, against autograd."""

import logging
import math
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest

import igrt
from igrt.graph.normalize import normalize

torch = pytest.importorskip("torch")
optimizer = pytest.importorskip("onnxruntime.transformers.optimizer")

WIDTH, HEADS, WORDS, LENGTH = 32, 4, 50, 8


class SelfAttention(torch.nn.Module):
    """Written as in the transformers package, whose pattern the optimiser looks for."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (torch.nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def split(self, x):
        return x.view(x.size(0), x.size(1), HEADS, WIDTH // HEADS).permute(0, 2, 1, 3)

    def forward(self, x, mask):
        q, k, v = (self.split(f(x)) for f in (self.query, self.key, self.value))
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(WIDTH // HEADS) + mask
        y = torch.matmul(torch.softmax(scores, -1), v).permute(0, 2, 1, 3).contiguous()
        return y.view(y.size(0), y.size(1), WIDTH)


def fast_gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


class Layer(torch.nn.Module):
    def __init__(self, gelu):
        super().__init__()
        self.attention, self.gelu = SelfAttention(), gelu
        self.out, self.norm = torch.nn.Linear(WIDTH, WIDTH), torch.nn.LayerNorm(WIDTH)
        self.wide, self.narrow = torch.nn.Linear(WIDTH, 64), torch.nn.Linear(64, WIDTH)
        self.last = torch.nn.LayerNorm(WIDTH)

    def forward(self, x, mask):
        x = self.norm(self.out(self.attention(x, mask)) + x)
        return self.last(self.narrow(self.gelu(self.wide(x))) + x)


class Bert(torch.nn.Module):
    def __init__(self, gelu=torch.nn.functional.gelu):
        super().__init__()
        self.words = torch.nn.Embedding(WORDS, WIDTH)
        self.places, self.kinds = torch.nn.Embedding(16, WIDTH), torch.nn.Embedding(2, WIDTH)
        self.norm = torch.nn.LayerNorm(WIDTH)
        self.layers = torch.nn.ModuleList([Layer(gelu), Layer(gelu)])
        self.head = torch.nn.Linear(WIDTH, 3)
        self.register_buffer("positions", torch.arange(16).unsqueeze(0))

    def forward(self, ids, mask, kinds):
        places = self.places(self.positions[:, : ids.size(1)])
        return self.encode(self.norm(self.words(ids) + self.kinds(kinds) + places), mask)

    def encode(self, x, mask):
        hidden = 1.0 - mask.unsqueeze(1).unsqueeze(2).to(torch.float32)
        hidden = hidden * torch.finfo(torch.float32).min
        for layer in self.layers:
            x = layer(x, hidden)
        return self.head(torch.tanh(x[:, 0]))


class Decoder(torch.nn.Module):
    """A block as in GPT-2: normalised first, one matrix for all three, and what is later hidden."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.LayerNorm(WIDTH), torch.nn.LayerNorm(WIDTH)
        self.packed, self.out = torch.nn.Linear(WIDTH, 3 * WIDTH), torch.nn.Linear(WIDTH, WIDTH)
        self.wide, self.narrow = torch.nn.Linear(WIDTH, 64), torch.nn.Linear(64, WIDTH)
        self.register_buffer("seen", torch.tril(torch.ones(16, 16)).bool().view(1, 1, 16, 16))

    def forward(self, x):
        h = self.packed(self.first(x)).split(WIDTH, dim=2)
        q, k, v = (t.view(t.size(0), t.size(1), HEADS, -1).permute(0, 2, 1, 3) for t in h)
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(WIDTH // HEADS)
        seen = self.seen[:, :, : scores.size(2), : scores.size(3)]
        scores = torch.where(seen, scores, torch.tensor(-1e4))
        y = torch.matmul(torch.softmax(scores, -1), v).permute(0, 2, 1, 3).contiguous()
        x = x + self.out(y.view(y.size(0), y.size(1), WIDTH))
        return x + self.narrow(fast_gelu(self.wide(self.second(x))))


class Gpt(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.ModuleList([Decoder(), Decoder()])
        self.last, self.head = torch.nn.LayerNorm(WIDTH), torch.nn.Linear(WIDTH, WORDS)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(self.last(x))


IDS = torch.tensor(np.random.default_rng(0).integers(0, WORDS, (2, LENGTH)))
KINDS = torch.tensor([[0] * 4 + [1] * 4, [0] * 8])
MASK = torch.tensor([[1] * 8, [1] * 5 + [0] * 3])


def exported(folder, gelu):
    torch.manual_seed(0)
    net = Bert(gelu).eval()
    path = str(folder / "bert.onnx")
    names = ["input_ids", "attention_mask", "token_type_ids"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that the optimiser's patterns are made for
        torch.onnx.export(
            net,
            (IDS, MASK, KINDS),
            path,
            input_names=names,
            output_names=["y"],
            dynamo=False,
            opset_version=14,
            dynamic_axes={n: {0: "batch", 1: "length"} for n in names},
        )
    return net, path


def fused(path, model_type="bert", **given):
    logging.disable(logging.WARNING)
    try:
        made = optimizer.optimize_model(
            path, model_type=model_type, num_heads=HEADS, hidden_size=WIDTH, **given
        )
    finally:
        logging.disable(logging.NOTSET)
    return made


def run(model, names, feeds):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    used = {i.name for i in session.get_inputs()}
    return session.run(names, {n: a for n, a in feeds.items() if n in used})


def by_autograd(net, ct):
    x = net.norm(net.words(IDS) + net.kinds(KINDS) + net.places(net.positions[:, :LENGTH]))
    x = x.detach().requires_grad_()
    y = net.encode(x, MASK)
    (y * torch.tensor(ct)).sum().backward()
    return y.detach().numpy(), x.grad.numpy()


FEEDS = {
    "input_ids": IDS.numpy(),
    "attention_mask": MASK.numpy(),
    "token_type_ids": KINDS.numpy(),
}
FEEDS_32 = {n: a.astype(np.int32) for n, a in FEEDS.items()}


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("gelu", [torch.nn.functional.gelu, fast_gelu])
def test_a_fused_encoder_has_the_gradient_that_torch_has(gelu, level, tmp_path):
    net, path = exported(tmp_path, gelu)
    model = fused(path, opt_level=level).model
    found = {n.op_type for n in model.graph.node}
    last = {"BiasGelu"} if gelu is not fast_gelu else {"FastGelu"}
    assert {"Attention", "EmbedLayerNormalization", "SkipLayerNormalization"} | last <= found
    lowered = normalize(model)
    assert all(n.domain in ("", "ai.onnx") for n in lowered.graph.node)
    start = next(n.output[0] for n in model.graph.node if n.op_type == "EmbedLayerNormalization")
    ct = np.random.default_rng(1).standard_normal((2, 3)).astype(np.float32)
    y_torch, want = by_autograd(net, ct)
    augmented = igrt.augment(model, wrt=[start], of="y")
    feeds = FEEDS | {"igrt/cotangent/y": ct}
    if any(i.type.tensor_type.elem_type == onnx.TensorProto.INT32 for i in model.graph.input):
        feeds |= FEEDS_32
    y, got = run(augmented, ["y", f"igrt/grad/{start}"], feeds)
    # float32, two layers of sums of 64 terms; the fused Attention hides keys by -10⁴ where torch
    # takes the least float32, and e⁻¹⁰⁰⁰⁰ is 0 as well
    np.testing.assert_allclose(y, y_torch, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)
    assert np.all(got[1, 5:] == 0)  # what the mask hides


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_fused_decoder_has_the_gradient_that_torch_has(level, tmp_path):
    torch.manual_seed(0)
    net = Gpt().eval()
    x = torch.randn(2, LENGTH, WIDTH, requires_grad=True)
    path = str(tmp_path / "gpt.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            (x,),
            path,
            input_names=["x"],
            output_names=["y"],
            dynamo=False,
            opset_version=14,
            dynamic_axes={"x": {0: "batch", 1: "length"}},
        )
    model = fused(path, opt_level=level, model_type="gpt2").model
    found = {n.op_type for n in model.graph.node}
    assert {"FastGelu", "SkipLayerNormalization"} <= found
    y = net(x)
    ct = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    (y * torch.tensor(ct)).sum().backward()
    feeds = {"x": x.detach().numpy(), "igrt/cotangent/y": ct}
    got_y, got = run(igrt.augment(model, wrt=["x"], of="y"), ["y", "igrt/grad/x"], feeds)
    # float32, two layers of sums of 64 terms
    np.testing.assert_allclose(got_y, y.detach().numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got, x.grad.numpy(), rtol=1e-3, atol=1e-4)


def test_a_fused_encoder_in_float16(tmp_path):
    net, path = exported(tmp_path, torch.nn.functional.gelu)
    made = fused(path, opt_level=0)
    made.convert_float_to_float16(keep_io_types=True)
    model = made.model
    start = next(n.output[0] for n in model.graph.node if n.op_type == "EmbedLayerNormalization")
    ct = np.random.default_rng(1).standard_normal((2, 3)).astype(np.float32)
    y_torch, want = by_autograd(net, ct)
    feeds = FEEDS | {"igrt/cotangent/y": ct}
    y, got = run(igrt.augment(model, wrt=[start], of="y"), ["y", f"igrt/grad/{start}"], feeds)
    # some twenty operations one behind the other that round to 2⁻¹¹ of their result each
    limit = 20 * 2.0**-11
    assert np.linalg.norm(y - y_torch) <= limit * np.linalg.norm(y_torch)
    assert np.linalg.norm(got - want) <= 2 * limit * np.linalg.norm(want)
