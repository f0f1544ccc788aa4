"""Real models of many exporters: explained to the reported error, or refused for a reason."""

import os
from pathlib import Path

import numpy as np
import pytest

import igrt
from igrt.errors import InputError, ModelLoadError, NoGradientPath, UnsupportedOperator

DATA = Path(os.environ.get("IGRT_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = pytest.mark.skipif(
    not (DATA / "corpus").is_dir(), reason="needs the shared test data (IGRT_TEST_DATA)"
)

EXPLAINED = {
    # float image and tabular models, opset 7 to 19, of eight exporters; target where it is needed
    "acasxu_1_6": None,
    "acts_seed_classifier": None,
    "crepe_tiny": None,
    "dianna_binary_mnist": None,
    "dianna_season_cnn1d": None,
    "espdl_mnist_mlp_tvm_export": None,
    "go1_joystick_policy_jax": None,
    "godot_jumper_hard": None,
    "godot_ships": None,
    "metaroom_4cnn_tz": None,
    "mnist_cnn_cntk": None,
    "mujoco_apollo_jax": None,
    "mujoco_leap_jax": None,
    "onnx2c_mnist_14x14": None,
    "onnx_mlir_mnist": None,
    "rlsar_g1_dance": None,
    "sklearn_mlp_california_housing": None,
    "tribuo_iris_lr": None,
    "tribuo_mnist_cnn": None,
    "winml_iris_mlp": None,
    "winml_tutorial_cifar10": None,
}

REFUSED = {
    "hummingbird_lgbm_wine": (NoGradientPath, "locally constant"),
    "kotlindl_lgbm_ranker": (NoGradientPath, "no output of the model is a float tensor"),
    "hand_keypoint_mlp": (NoGradientPath, "no output of the model is a float tensor"),
    "magika_v1_bytes": (NoGradientPath, "Cast"),
    "lstm_vae_encoder": (UnsupportedOperator, "LSTM"),
    "bert_tiny_random_structure": (InputError, "no input of the model is a float tensor"),
    "x_tenncor_latin_gru": (ModelLoadError, "opset"),
}


def locate(name):
    for folder, feeds in (("corpus", "corpus/feeds"), ("models", "inputs/feeds")):
        if (DATA / folder / f"{name}.onnx").exists():
            return DATA / folder / f"{name}.onnx", DATA / feeds / f"{name}.npz"
    raise AssertionError(f"{name} is not in the shared data")


def feeds_of(explainer, path):
    with np.load(path) as archive:
        stored = {n.removeprefix("in:"): archive[n] for n in archive.files if n.startswith("in:")}
    rng = np.random.default_rng(0)
    return {
        spec.name: stored.get(spec.name)
        if spec.name in stored
        else rng.standard_normal([d if isinstance(d, int) else 1 for d in spec.shape])
        for spec in explainer.inputs
    }


@pytest.mark.parametrize("name", EXPLAINED)
def test_completeness_holds_within_the_reported_error(name):
    model, feeds = locate(name)
    explainer = igrt.Explainer(model, provider="cpu")
    result = explainer.explain(feeds_of(explainer, feeds), target=EXPLAINED[name])
    norm = sum(np.abs(v).sum() for v in result.values.values())
    # The gap is part of the true error, which may be twice the reported one at most. Outputs are
    # float32 sums, good to about 1e-6 of their size.
    rounding = 1e-5 * (abs(result.output[0]) + abs(result.baseline_output[0]))
    assert abs(result.delta[0]) <= 2 * result.error[0] * norm + rounding
    assert norm > 0 or result.delta[0] == pytest.approx(0, abs=rounding)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_explained_is_refused_for_a_named_reason(name):
    model, _ = locate(name)
    kind, text = REFUSED[name]
    with pytest.raises(kind, match=text):
        igrt.Explainer(model, provider="cpu")
