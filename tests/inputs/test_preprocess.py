"""`Preprocess`: presets, the TOML form, and what is taken from the model's input."""

import pytest

from igrt.errors import InputError
from igrt.inputs import PRESETS, Preprocess
from igrt.specs import TensorSpec

TOML = """
size = [224, 192]
resize = 256
channels = "BGR"
scale = 0.5
mean = [1, 2, 3]
std = 4.0
layout = "NHWC"
"""


def spec(*shape):
    return TensorSpec("image", "float32", shape)


def test_toml_says_every_field(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TOML)
    assert Preprocess.named(str(path)) == Preprocess(
        size=(224, 192),
        resize=256,
        channels="BGR",
        scale=0.5,
        mean=(1.0, 2.0, 3.0),
        std=(4.0,),
        layout="NHWC",
    )


def test_an_empty_toml_file_cannot_be_meant_but_a_comment_is_the_raw_picture(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text("# raw pixels\n")
    assert Preprocess.named(path) == PRESETS["none"] == Preprocess()
    path.write_text("")
    with pytest.raises(InputError, match="is empty"):
        Preprocess.named(path)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("means = 1", "unknown key `means`", "did you mean `mean`?"),
        ("yields = true", "unknown key `yields`", "the keys are size, resize"),
        ("size = 224", "`size` must be two whole numbers", ""),
        ("size = [224]", "`size` must be two whole numbers", ""),
        ("size = [224, 0]", "`size` must be two whole numbers", ""),
        ("size = [224.0, 224]", "`size` must be two whole numbers", ""),
        ("size = [true, true]", "`size` must be two whole numbers", ""),
        ("size = [100000, 100000]", "`size` must be at most", ""),
        ("size = '224'", "`size` must be two whole numbers", ""),
        ("resize = -1", "`resize` must be one whole number", ""),
        ("resize = [256]", "`resize` must be one whole number", ""),
        ("resize = 10\nsize = [20, 30]", "`resize` must be at least 20", ""),
        ("channels = 'rgb'", "`channels` must be RGB, BGR or gray, not 'rgb'", "`RGB`"),
        ("channels = 3", "`channels` must be RGB, BGR or gray, not 3", ""),
        ("layout = 'NCWH'", "`layout` must be NCHW or NHWC", "`NCHW`"),
        ("scale = 0", "`scale` must be a finite number other than 0", ""),
        ("scale = nan", "`scale` must be a finite number", ""),
        ("scale = inf", "`scale` must be a finite number", ""),
        ("scale = true", "`scale` must be a finite number", ""),
        ("scale = '1/255'", "`scale` must be a finite number", ""),
        ("mean = [1, 2]", "`mean` must be 1 or 3 numbers", ""),
        ("mean = []", "`mean` must be a finite number, or a list", ""),
        ("mean = [nan, 1, 1]", "`mean` must be a finite number, or a list", ""),
        ("mean = {a = 1}", "`mean` must be a finite number, or a list", ""),
        ("mean = 1" + "0" * 400, "`mean` must be a finite number", ""),
        ("channels = 'gray'\nmean = [1, 2, 3]", "`mean` must be 1 numbers", ""),
        ("std = 0", "`std` must be numbers above 0", ""),
        ("std = [1, 0.0, 1]", "`std` must be numbers above 0", ""),
        ("std = -1", "`std` must be numbers above 0", ""),
        ("size = [", "is not TOML", ""),
        ("a = " + "[" * 5000, "is not TOML", ""),
        ("mean = 1\nmean = 2", "is not TOML", ""),
    ],
)
def test_bad_toml_is_refused(tmp_path, text, message, hint):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        Preprocess.named(path)
    assert message in caught.value.message
    assert "bad.toml" in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("imagnet", "did you mean `imagenet`?"),
        ("zzz", "use imagenet, unit, none or a .toml file"),
    ],
)
def test_an_unknown_name_is_refused(text, hint):
    with pytest.raises(InputError, match=f"there is no preprocessing `{text}`") as caught:
        Preprocess.named(text)
    assert caught.value.hint == hint


def test_a_missing_toml_file_is_reported_as_missing(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        Preprocess.named(tmp_path / "no.toml")


@pytest.mark.parametrize(
    ("shape", "layout", "channels", "size", "resize"),
    [
        (("n", 3, 224, 224), "NCHW", "RGB", (224, 224), 256),
        ((1, 224, 224, 3), "NHWC", "RGB", (224, 224), 256),
        (("n", 3, "h", "w"), "NCHW", "RGB", (224, 224), 256),
        (("n", "c", "h", "w"), "NCHW", "RGB", (224, 224), 256),
        (("n", 224, 224, None), "NHWC", "RGB", (224, 224), 256),
        # 256 / 224 of the model's own size, as torchvision does for other resolutions
        (("n", 3, 448, 448), "NCHW", "RGB", (448, 448), 512),
        ((3, 224, 224), "NCHW", "RGB", (224, 224), 256),
        ((224, 224, 3), "NHWC", "RGB", (224, 224), 256),
    ],
)
def test_imagenet_takes_what_is_open_from_the_model(shape, layout, channels, size, resize):
    settled, frame = PRESETS["imagenet"].settle(spec(*shape))
    assert (settled.layout, settled.channels) == (layout, channels)
    assert (settled.size, settled.resize) == (size, resize)
    assert frame.layout == layout


@pytest.mark.parametrize(
    ("shape", "channels", "size"),
    [
        (("n", 1, 28, 28), "gray", (28, 28)),
        (("n", 28, 28, 1), "gray", (28, 28)),
        (("n", 28, 28), "gray", (28, 28)),
        ((1, 28, 28), "gray", (28, 28)),
        (("n", 3, None, None), "RGB", None),
        (None, "RGB", None),
    ],
)
def test_unit_takes_channels_and_size_from_the_model(shape, channels, size):
    settled, _ = PRESETS["unit"].settle(TensorSpec("image", "float32", shape))
    assert (settled.channels, settled.size) == (channels, size)


@pytest.mark.parametrize(
    ("preprocess", "shape", "message"),
    [
        (Preprocess(), ("n", 784), "takes no pictures"),
        (Preprocess(), ("n", 16, 8, 8), "takes 16 channels in NCHW"),
        (Preprocess(layout="NHWC"), ("n", 3, 8, 8), "takes 8 channels in NHWC"),
        (Preprocess(channels="gray"), ("n", 3, 8, 8), "takes 3 channels in NCHW, not gray"),
        (Preprocess(channels="BGR"), ("n", 1, 8, 8), "takes 1 channels in NCHW, not BGR"),
        (PRESETS["imagenet"], ("n", 1, 8, 8), "takes 1 channels in NCHW, not RGB"),
        (Preprocess(mean=(1, 2, 3)), ("n", 1, 8, 8), "means or deviations for 3"),
        (Preprocess(size=(9, 9)), ("n", 3, 8, 8), "takes pictures of 8x8, but .* makes them 9x9"),
        (Preprocess(size=(9, 9)), ("n", 3, 8, "w"), "takes pictures of 8xw, but"),
        (Preprocess(), ("n", 3, 8, "w"), "fixes only one side"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(preprocess, shape, message):
    with pytest.raises(InputError, match=message):
        preprocess.settle(spec(*shape))
