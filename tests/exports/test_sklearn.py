"""Exports by skl2onnx, against closed forms in NumPy's float64, or refused for the true reason."""

import numpy as np
import onnxruntime
import pytest

import igrt
from igrt.errors import IgrtError, NoGradientPath

sklearn = pytest.importorskip("sklearn", reason="models by scikit-learn")
skl2onnx = pytest.importorskip("skl2onnx", reason="exports by skl2onnx")

from sklearn.datasets import load_diabetes, load_iris  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.ensemble import RandomForestClassifier  # noqa: E402
from sklearn.linear_model import LinearRegression, LogisticRegression  # noqa: E402
from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import PolynomialFeatures, StandardScaler  # noqa: E402
from sklearn.tree import DecisionTreeRegressor  # noqa: E402

# two hundred iterations do not have to converge for a gradient to be one
pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer:UserWarning")

# the export computes in float32: a dozen of operations at 1e-7 each
FLOAT32 = 1e-5
OPSET = 18
NET = {"activation": "tanh", "max_iter": 200, "random_state": 0}


def exported(model, x):
    classifies = hasattr(model, "predict_proba")
    options = {"zipmap": False} if classifies else None
    return skl2onnx.to_onnx(model, x[:1].astype(np.float32), target_opset=OPSET, options=options)


def gradient(proto, x, of, cotangent):
    augmented = igrt.augment(proto, of=of)
    session = onnxruntime.InferenceSession(augmented.SerializeToString())
    feeds = {"X": x, f"igrt/cotangent/{of}": cotangent}
    return session.run([of, "igrt/grad/X"], feeds)


def assert_close(found, expected):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= FLOAT32 * np.abs(expected).max()


def softmax_vjp(p, ct):
    """z‾ = p · (p̄ − Σ p·p̄)."""
    return p * (ct - (p * ct).sum(axis=1, keepdims=True))


def layers_vjp(net, x, ct):
    """Backward through the layers of an MLP with tanh between them."""
    seen = [x]
    for w, b in zip(net.coefs_[:-1], net.intercepts_[:-1], strict=True):
        seen.append(np.tanh(seen[-1] @ w + b))
    for w, h in zip(net.coefs_[::-1], seen[::-1], strict=True):
        ct = ct @ w.T
        ct = ct * (1 - h**2) if h is not x else ct
    return ct


@pytest.fixture(scope="module")
def iris():
    x, y = load_iris(return_X_y=True)
    return x.astype(np.float32), y


@pytest.fixture(scope="module")
def diabetes():
    x, y = load_diabetes(return_X_y=True)
    return (10 * x).astype(np.float32), (y - y.mean()) / y.std()


@pytest.fixture
def cotangent():
    return np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)


def test_logistic_regression(iris, cotangent):
    x, y = iris
    model = LogisticRegression(max_iter=500).fit(x, y)
    p, found = gradient(exported(model, x), x[:5], "probabilities", cotangent)
    expected = model.predict_proba(x[:5].astype(np.float64))
    assert_close(p, expected)
    assert_close(found, softmax_vjp(expected, cotangent.astype(np.float64)) @ model.coef_)


def test_linear_regression_of_two_targets(diabetes, cotangent):
    x, y = diabetes
    model = LinearRegression().fit(x, np.stack([y, y**2], axis=1))
    of, ct = "variable", cotangent[:, :2]
    y_found, found = gradient(exported(model, x), x[:5], of, ct)
    assert_close(y_found, model.predict(x[:5].astype(np.float64)))
    assert_close(found, ct.astype(np.float64) @ model.coef_)


def test_mlp_classifier(iris, cotangent):
    x, y = iris
    model = MLPClassifier(
        hidden_layer_sizes=(8, 6), activation="tanh", max_iter=200, random_state=0
    ).fit(x, y)
    p, found = gradient(exported(model, x), x[:5], "probabilities", cotangent)
    wide = x[:5].astype(np.float64)
    expected = model.predict_proba(wide)
    assert_close(p, expected)
    assert_close(found, layers_vjp(model, wide, softmax_vjp(expected, cotangent)))


def test_mlp_regressor(diabetes, cotangent):
    x, y = diabetes
    model = MLPRegressor(
        hidden_layer_sizes=(8,), activation="tanh", max_iter=200, random_state=0
    ).fit(x, y)
    ct = cotangent[:, :1]
    y_found, found = gradient(exported(model, x), x[:5], "variable", ct)
    wide = x[:5].astype(np.float64)
    assert_close(y_found[:, 0], model.predict(wide))
    assert_close(found, layers_vjp(model, wide, ct.astype(np.float64)))


def test_scaler_and_pca_before_a_classifier(iris, cotangent):
    """Through the whole pipeline, with respect to the raw features."""
    x, y = iris
    model = make_pipeline(StandardScaler(), PCA(2), LogisticRegression()).fit(x, y)
    p, found = gradient(exported(model, x), x[:5], "probabilities", cotangent)
    expected = model.predict_proba(x[:5].astype(np.float64))
    assert_close(p, expected)
    scaler, pca, last = (step for _, step in model.steps)
    jacobian = last.coef_ @ pca.components_ / scaler.scale_
    assert_close(found, softmax_vjp(expected, cotangent.astype(np.float64)) @ jacobian)


def test_attribution_of_a_linear_model(diabetes):
    """coef · x, whatever the rule."""
    x, y = diabetes
    model = LinearRegression().fit(x, y)
    result = igrt.explain(exported(model, x), x[:5], provider="cpu")
    assert_close(result.values["X"], model.coef_ * x[:5].astype(np.float64))


@pytest.mark.parametrize(
    "model, of",
    [
        (RandomForestClassifier(5, max_depth=3, random_state=0), "probabilities"),
        (DecisionTreeRegressor(max_depth=3, random_state=0), "variable"),
    ],
    ids=["forest", "tree"],
)
def test_trees_are_refused(iris, model, of):
    x, y = iris
    with pytest.raises(IgrtError, match="TreeEnsemble") as caught:
        igrt.Explainer(exported(model.fit(x, y), x), of=of, provider="cpu")
    assert "step functions" in caught.value.hint


def test_a_list_of_dictionaries_is_refused_for_the_probabilities_in_front_of_it(iris):
    """As skl2onnx puts them out by default; the features were named instead."""
    x, y = iris
    model = make_pipeline(StandardScaler(), PolynomialFeatures(), LogisticRegression(max_iter=900))
    proto = skl2onnx.to_onnx(model.fit(x, y), x[:1], target_opset=OPSET)
    with pytest.raises(NoGradientPath, match="output_probability") as caught:
        igrt.Explainer(proto, provider="cpu")
    assert 'of="probabilities"' in caught.value.hint
    result = igrt.explain(proto, x[:5], of="probabilities", target=1, provider="cpu")
    assert_close(result.output, model.predict_proba(x[:5].astype(np.float64))[:, 1])
