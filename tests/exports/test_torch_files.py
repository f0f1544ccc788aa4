"""Exports of torch as users keep them: with weights outside, in float16, in training mode."""

import numpy as np
import onnx
import onnxruntime
import pytest

import igrt

torch = pytest.importorskip("torch", reason="exports by torch")
torch_exports = pytest.importorskip("torch_exports")
torch_nets = pytest.importorskip("torch_nets")

How = torch_exports.How
pytestmark = torch_exports.WARNINGS

# float32 on both sides of a dozen of operations at 1e-7 each
FLOAT32 = 1e-5
# elements are sums of some 16 products of float16 numbers, each rounded by 5e-4
FLOAT16 = 2e-2


def assert_close(found, expected, tolerance):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def test_weights_beside_the_model(tmp_path):
    """As the newer exporter writes them by default: NAME.onnx.data, by reference."""
    pytest.importorskip("onnxscript", reason="the newer exporter of torch needs it")
    module, inputs = torch_nets.seeded("cnn", rows=2)
    how = How(dynamo=True, opset=18, dynamic=True)
    path = torch_exports.export(module, inputs, "cnn", how, tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx.data").is_file()
    stored = onnx.load(path, load_external_data=False).graph.initializer
    assert any(t.data_location == onnx.TensorProto.EXTERNAL for t in stored)

    truth = torch_exports.truth("cnn", rows=3)
    result = igrt.Explainer(path, provider="cpu").explain(truth.feeds, target=2)
    assert_close(result.output, truth.outputs[0][:, 2], FLOAT32)
    augmented = igrt.augment(path)
    assert any(t.data_location == onnx.TensorProto.EXTERNAL for t in augmented.graph.initializer)
    onnx.save(augmented, tmp_path / "grad.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "grad.onnx")
    feeds = {"igrt/cotangent/logits": truth.cotangent, **truth.feeds}
    (found,) = session.run(["igrt/grad/image"], feeds)
    assert_close(found, truth.gradients["image"], FLOAT32)


@pytest.mark.parametrize("dynamo", [False, True], ids=["script", "dynamo"])
@pytest.mark.parametrize("name", ["mlp", "transformer", "unet_transposed"])
def test_half(tmp_path, name, dynamo):
    if dynamo:
        pytest.importorskip("onnxscript", reason="the newer exporter of torch needs it")
    module, inputs = torch_nets.seeded(name, rows=2)
    half = {n: x.half() for n, x in inputs.items()}
    how = How(dynamo, 18 if dynamo else 17, dynamic=True)
    path = torch_exports.export(module.half(), half, name, how, tmp_path / "half.onnx")
    truth = torch_exports.truth(name, rows=3)
    (x,) = truth.feeds
    of = torch_nets.NETS[name].outputs[0]
    onnx.save(igrt.augment(path), tmp_path / "grad.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "grad.onnx")
    feeds = {x: truth.feeds[x], f"igrt/cotangent/{of}": truth.cotangent}
    output, found = session.run(
        [of, f"igrt/grad/{x}"], {n: a.astype(np.float16) for n, a in feeds.items()}
    )
    assert found.dtype == np.float16
    assert_close(output.astype(np.float64), truth.outputs[0], FLOAT16)
    assert_close(found.astype(np.float64), truth.gradients[x], FLOAT16)


@pytest.mark.filterwarnings("ignore:Setting `training` to something:DeprecationWarning")
def test_training_mode_keeps_the_statistics_of_the_batch(tmp_path):
    """The gradient through the mean and the variance of the batch, so from row to row."""
    torch.manual_seed(5)
    module = torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
    ).train()
    x = torch.randn(4, 6)
    path = tmp_path / "training.onnx"
    torch.onnx.export(
        module,
        (x,),
        path,
        input_names=["features"],
        output_names=["logits"],
        dynamic_axes={"features": {0: "batch"}},
        training=torch.onnx.TrainingMode.TRAINING,
        do_constant_folding=False,
        dynamo=False,
    )
    operators = {n.op_type for n in onnx.load(path).graph.node}
    assert "BatchNormalization" in operators
    wide = x.double().requires_grad_()
    cotangent = torch.randn(4, 3)
    (expected,) = torch.autograd.grad(module.double()(wide), wide, cotangent.double())
    session = onnxruntime.InferenceSession(igrt.augment(path).SerializeToString())
    feeds = {"features": x.numpy(), "igrt/cotangent/logits": cotangent.numpy()}
    (found,) = session.run(["igrt/grad/features"], feeds)
    assert_close(found, expected.numpy(), FLOAT32)


@pytest.mark.filterwarnings("ignore:Setting `training` to something:DeprecationWarning")
def test_dropout_left_in_training_mode(tmp_path):
    """x → Dropout → sum of squares: the gradient is 2·y·mask/(1 − p), and y says what mask."""

    class Dropped(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.dropout(x, 0.5, training=True) ** 2

    path = tmp_path / "dropout.onnx"
    torch.onnx.export(
        Dropped(),
        (torch.ones(2, 64),),
        path,
        input_names=["x"],
        output_names=["y"],
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
        dynamo=False,
    )
    assert "Dropout" in {n.op_type for n in onnx.load(path).graph.node}
    session = onnxruntime.InferenceSession(igrt.augment(path).SerializeToString())
    x = np.linspace(1, 2, 128, dtype=np.float32).reshape(2, 64)
    feeds = {"x": x, "igrt/cotangent/y": np.ones_like(x)}
    y, found = session.run(["y", "igrt/grad/x"], feeds)
    kept = y != 0
    assert 0 < kept.sum() < x.size
    assert_close(found, np.where(kept, 8 * x, 0), FLOAT32)
