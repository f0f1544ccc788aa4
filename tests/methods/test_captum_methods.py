"""The other methods against Captum's on the same weights.

Captum finds activations by their modules, and silently leaves those alone that are written as
functions, so the twins are rebuilt with `nn.ReLU` and `nn.Tanh`. Where the two differ on purpose:

- `Saliency` takes absolute values by default; here `abs=False`.
- LRP: Captum stabilises every linear layer, igrt every run of linear layers (a convolution and the
  MaxPool behind it, say). With epsilon = 1e-6 that is below the bound.
- DeepLift of Captum 0.9 is wrong where a MaxPool directly follows a ReLU, as its own convergence
  delta says (-1.2 on the first digit, igrt -6e-6). With a linear layer in between, which changes no
  number, it is right. Its MaxPool rule writes into overlapping windows in any order; those of the
  twin are apart.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import igrt
from igrt.inputs import Preprocess, read
from igrt.methods import LRP, DeepLift

captum_attr = pytest.importorskip("captum.attr")
torch = pytest.importorskip("torch")
nn = torch.nn

MODELS = Path(__file__).parents[2] / "models"
# The bound of tests/test_captum.py, for the same reasons: float32 on both sides, in the L1 norm.
RELATIVE = 1e-4

pytestmark = pytest.mark.filterwarnings("ignore")


def twins():
    spec = importlib.util.spec_from_file_location("twins", MODELS / "twins.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Same(nn.Module):
    def forward(self, x):
        return 1.0 * x


def network(name):
    """The torch twin with modules for its activations."""
    module = twins()
    twin = module.load_twin(name)
    if name == "digits_cnn":
        first = [twin.conv1, nn.ReLU(), twin.conv2, nn.ReLU(), twin.pool]
        return nn.Sequential(*first, twin.conv3, nn.ReLU(), nn.Flatten(), twin.fc).eval()
    if name == "breast_cancer_mlp":
        scale = nn.Linear(30, 30)  # LRP knows linear layers, not Standardise
        with torch.no_grad():
            scale.weight.copy_(torch.diag(1 / twin.standardise.std))
            scale.bias.copy_(-twin.standardise.mean / twin.standardise.std)
        layers = [scale, twin.fc1, nn.Tanh(), twin.fc2, nn.Tanh(), twin.fc3]
        return nn.Sequential(*layers).eval()
    for parent in list(twin.modules()):
        for key, child in list(parent.named_children()):
            if isinstance(child, module.ConvUnit):
                setattr(parent, key, nn.Sequential(child.conv, nn.ReLU()))
    return twin.eval()


def samples(name, explainer):
    folder = MODELS / name
    files = sorted((folder / "inputs").iterdir())[:2]
    how = folder / "preprocess.toml"
    preprocess = Preprocess.named(str(how)) if how.exists() else None
    spec = explainer.inputs[0]
    return np.concatenate([read(f, spec, preprocess).array for f in files])[:2]


def compare(name, method, theirs, **options):
    explainer = igrt.Explainer(MODELS / name / f"{name}.onnx", provider="cpu")
    x = samples(name, explainer)
    ours = explainer.explain(x, target="top1", method=method)
    found = ours.values[explainer.wrt[0].name]
    want = theirs.attribute(torch.from_numpy(x), target=list(ours.target), **options)
    want = want.detach().numpy()
    assert np.abs(want).sum() > 0
    for row in range(len(x)):
        assert np.abs(found[row] - want[row]).sum() <= RELATIVE * np.abs(want[row]).sum()


@pytest.mark.parametrize("name", ["digits_cnn", "breast_cancer_mlp", "inception_cifar"])
@pytest.mark.parametrize(
    ("method", "peer", "options"),
    [
        ("gradients", "Saliency", {"abs": False}),
        ("input_x_gradient", "InputXGradient", {}),
        ("deconvolution", "Deconvolution", {}),
        ("guided_backprop", "GuidedBackprop", {}),
    ],
)
def test_gradient_methods(name, method, peer, options):
    compare(name, method, getattr(captum_attr, peer)(network(name)), **options)


@pytest.mark.parametrize("name", ["digits_cnn", "breast_cancer_mlp"])
def test_deeplift(name):
    net = network(name)
    if name == "digits_cnn":
        net.insert(4, Same())
    compare(name, DeepLift(epsilon=1e-10), captum_attr.DeepLift(net, eps=1e-10))


@pytest.mark.parametrize("name", ["digits_cnn", "breast_cancer_mlp"])
def test_lrp(name):
    from captum.attr._utils.lrp_rules import EpsilonRule

    net = network(name)
    for layer in net:
        if isinstance(layer, (nn.Conv2d, nn.Linear, nn.MaxPool2d)):
            layer.rule = EpsilonRule(epsilon=1e-6)
    # it knows no Flatten, which changes no number
    if name == "digits_cnn":
        net[7].rule = EpsilonRule(epsilon=1e-6)
    compare(name, LRP(epsilon=1e-6), captum_attr.LRP(net))


@pytest.mark.parametrize("method", ["deeplift", "lrp"])
def test_the_normalisation_of_the_inception_is_refused_by_name(method):
    """Captum differentiates it, as it is no module, and says nothing."""
    explainer = igrt.Explainer(MODELS / "inception_cifar" / "inception_cifar.onnx", provider="cpu")
    x = samples("inception_cifar", explainer)
    with pytest.raises(igrt.errors.UnsupportedOperator, match=r"no rule for 2 nodes.*\n.*LRN"):
        explainer.explain(x, method=method)
