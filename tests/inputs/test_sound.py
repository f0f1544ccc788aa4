"""`.wav`: every width of samples, channels in the axes of the model, and files that do not fit."""

import struct
import wave

import numpy as np
import pytest

from igrt.errors import InputError
from igrt.inputs import join, read
from igrt.specs import TensorSpec

X = TensorSpec("x", "float32", ("n", "t"))


def write(path, raw, *, width=2, channels=1, rate=16000):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(raw)
    return path


@pytest.mark.parametrize(
    ("width", "raw"),
    [
        (1, bytes([0, 128, 192, 255])),
        (2, struct.pack("<4h", -(2**15), 0, 2**14, 2**15 - 1)),
        (3, b"\x00\x00\x80\x00\x00\x00\x00\x00\x40\xff\xff\x7f"),
        (4, struct.pack("<4i", -(2**31), 0, 2**30, 2**31 - 1)),
    ],
)
def test_full_scale_is_one_for_every_width(tmp_path, width, raw):
    loaded = read(write(tmp_path / "s.wav", raw, width=width, rate=8000), X)
    assert (loaded.rate, loaded.layout, loaded.array.dtype) == (8000, "NT", np.float32)
    most = np.float32(1 - 2.0 ** (1 - 8 * width))  # float32 rounds that of 32 bits to 1
    assert loaded.array.tolist() == [[-1.0, 0.0, 0.5, most]]


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        (("n", 2, "t"), "NCT", [[[0.25, 0.75], [0.5, -1.0]]]),
        (("n", "t", 2), "NTC", [[[0.25, 0.5], [0.75, -1.0]]]),
    ],
)
def test_channels_go_where_the_model_has_them(tmp_path, shape, layout, expected):
    raw = struct.pack("<4h", 8192, 16384, 24576, -32768)
    path = write(tmp_path / "s.wav", raw, channels=2)
    loaded = read(path, TensorSpec("x", "float32", shape))
    assert loaded.layout == layout
    assert loaded.array.tolist() == expected


def test_one_channel_fits_an_axis_of_one_and_no_batch(tmp_path):
    path = write(tmp_path / "s.wav", struct.pack("<3h", 0, 16384, 0))
    for shape in ((1, 1, "t"), (1, "t", 1), ("t",)):
        array = read(path, TensorSpec("x", "float32", shape)).array
        assert array.ndim == len(shape)
        assert array.reshape(-1).tolist() == [0.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("shape", "channels", "message", "hint"),
    [
        (("n", 8), 1, "4 samples, but", "cut or pad it to 0.0005 s"),
        (("n", 3), 1, "4 samples, but", "one frame at a time"),
        (("n", "t"), 2, "sound of 2 channels", "-ac 1"),
        (("n", 3, 8, 8), 1, "sound of 1 channel,", "[N, T]"),
    ],
)
def test_sound_that_does_not_fit(tmp_path, shape, channels, message, hint):
    path = write(tmp_path / "s.wav", bytes(8 * channels), channels=channels)
    with pytest.raises(InputError, match=message) as caught:
        read(path, TensorSpec("x", "float32", shape))
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "raw",
    [
        b"RIFF",
        b"no sound at all, and longer than a header would be........",
        # 3 is float samples, which the standard library does not read
        b"RIFF\x28\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x03\x00\x01\x00"
        + struct.pack("<IIHH", 8000, 32000, 4, 32)
        + b"data\x04\x00\x00\x00\x00\x00\x00\x00",
    ],
    ids=["cut", "other", "float"],
)
def test_other_files_are_refused(tmp_path, raw):
    path = tmp_path / "s.wav"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"no \.wav file that can be read") as caught:
        read(path, X)
    assert "pcm_s16le" in caught.value.hint


def test_a_file_without_samples_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no samples"):
        read(write(tmp_path / "s.wav", b""), X)


def test_sounds_of_different_rates_are_no_batch(tmp_path):
    parts = [
        read(write(tmp_path / f"{rate}.wav", bytes(8), rate=rate), X) for rate in (8000, 16000)
    ]
    assert join(parts[:1] * 2).rate == 8000
    with pytest.raises(InputError, match="samples a second"):
        join(parts)
