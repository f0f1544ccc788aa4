"""Integrated Gradients keep to every axiom on every shipped model, on shipped inputs."""

from pathlib import Path

import numpy as np
import pytest

import igrt
from igrt.inputs import Preprocess, read
from igrt.verify.run import CHECKS

MODELS = Path(__file__).parents[2] / "models"


def picture(name, file):
    explainer = igrt.Explainer(MODELS / name / f"{name}.onnx", provider="cpu")
    how = Preprocess.named(str(MODELS / name / "preprocess.toml"))
    return read(MODELS / name / "inputs" / file, explainer.inputs[0], how).array


def table():
    file = MODELS / "breast_cancer_mlp" / "inputs" / "samples.csv"
    return np.loadtxt(file, delimiter=",", skiprows=1, dtype=np.float32)


def check(name, inputs, **options):
    found = igrt.verify(MODELS / name / f"{name}.onnx", inputs, provider="cpu", **options)
    assert found.holds, found
    must = {"gradients", "completeness", "sensitivity (a)", "implementation invariance"}
    assert all(found[n].holds is True for n in must | {"linearity"}), found
    return found


@pytest.mark.parametrize("baseline", ["mean", None])
def test_the_table(baseline):
    check("breast_cancer_mlp", table(), baselines=baseline)


@pytest.mark.parametrize("digit", range(10))
def test_the_digits(digit):
    check("digits_cnn", picture("digits_cnn", f"{digit}.png"), checks=list(CHECKS))


def test_all_of_it_on_digits():
    found = check("digits_cnn", picture("digits_cnn", "3.png"), layouts={"image": "NCHW"})
    assert all(c.holds for c in found.checks[-6:])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ship", "frog"])
def test_the_pictures(name):
    # a looser integral, since a hundred thousand ReLUs switch on the way
    picked = [n for n in CHECKS if n not in ("sensitivity (b)", "symmetry")]
    check(
        "inception_cifar", picture("inception_cifar", f"{name}.png"), tolerance=0.05, checks=picked
    )
