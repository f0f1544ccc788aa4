"""SqueezeNet with ImageNet weights on photographs: the large real model."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import igrt
from igrt.inputs import Preprocess, read

DATA = Path(os.environ.get("IGRT_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
MODEL = DATA / "models" / "squeezenet1_imagenet_fp32.onnx"
pytestmark = pytest.mark.skipif(
    not MODEL.exists(), reason="needs the shared test data (IGRT_TEST_DATA)"
)

# as the data's manifest says: BGR, 0 to 255, less the mean
PREPROCESS = Preprocess(
    size=(224, 224), resize=256, channels="BGR", mean=(104.0, 117.0, 123.0), layout="NCHW"
)
PHOTOS = [
    *("bald_eagle", "bee", "coffee_cup", "hummingbird"),
    *("pineapple", "siamese_cat", "tabby_cat", "zebra"),
]


@pytest.fixture(scope="module")
def explainer():
    return igrt.Explainer(MODEL, provider="cpu")


def picture(explainer, photo):
    return read(DATA / "inputs" / "photos" / f"{photo}.jpg", explainer.inputs[0], PREPROCESS).array


@pytest.mark.parametrize("photo", PHOTOS)
def test_the_gap_is_below_one_per_cent(explainer, photo):
    result = explainer.explain(picture(explainer, photo), target="top1", tolerance=3e-2)
    manifest = json.loads((DATA / "inputs" / "MANIFEST.json").read_text(encoding="utf-8"))
    entry = next(p for p in manifest["photos"] if p["file"].endswith(f"{photo}.jpg"))
    assert result.target == (entry["squeezenet_top5"][0]["index"],)
    assert result.converged.all()
    assert abs(result.relative_delta[0]) <= 1e-2
    assert "batch free" in result.provenance["batching"]


def test_the_true_error_is_within_twice_the_reported_one(explainer):
    """Against 300 midpoints, whose own error goes as 1/n and is far below what is judged here.

    All eight photographs against 2,000 midpoints: benchmarks/photos.py.
    """
    x = picture(explainer, "bee")
    result = explainer.explain(x, target="top1", tolerance=3e-2)
    truth = explainer.explain(x, target=result.target[0], n_steps=300, rule="midpoint")
    values, exact = result.values["data_0"], truth.values["data_0"]
    assert np.abs(values - exact).sum() <= 2 * result.error[0] * np.abs(exact).sum()


def test_the_attribution_is_on_the_object(explainer):
    """The eagle flies in the middle of an empty sky: its half of the rows gets most of it."""
    result = explainer.explain(picture(explainer, "bald_eagle"), target="top1", tolerance=3e-2)
    weight = np.abs(result.values["data_0"][0]).sum(axis=(0, 2))
    assert weight[56:168].sum() > 0.8 * weight.sum()
