"""Pictures: closed forms of what the model gets, every mode, and files that lie."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from igrt.errors import InputError
from igrt.inputs import Preprocess, read
from igrt.inputs.pictures import decode
from igrt.specs import TensorSpec

RGB = TensorSpec("image", "float32", ("n", 3, "h", "w"))
NONE, UNIT = Preprocess.named("none"), Preprocess.named("unit")


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


@pytest.fixture
def photo(tmp_path, pixels):
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def test_closed_form_of_scale_mean_and_std(photo, pixels):
    preprocess = Preprocess(scale=1 / 255, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    loaded = read(photo, TensorSpec("image", "float64", ("n", 3, 6, 8)), preprocess)
    expected = (pixels / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.25, 2.0]
    # both sides are float64 and differ only in the order of one product
    np.testing.assert_allclose(loaded.array[0], expected.transpose(2, 0, 1), rtol=1e-14)
    np.testing.assert_array_equal(loaded.pictures[0], pixels)
    assert (loaded.layout, loaded.sources) == ("NCHW", ("photo.png",))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (("n", 3, 6, 8), lambda p: p.transpose(2, 0, 1)[None]),
        (("n", 6, 8, 3), lambda p: p[None]),
        ((3, 6, 8), lambda p: p.transpose(2, 0, 1)),
        ((6, 8, 3), lambda p: p),
    ],
)
def test_layouts(photo, pixels, shape, expected):
    loaded = read(photo, TensorSpec("image", "float32", shape), NONE)
    np.testing.assert_array_equal(loaded.array, expected(pixels))
    assert loaded.array.dtype == np.float32
    assert loaded.array.flags.c_contiguous


def test_bgr_reverses_the_tensor_and_not_the_picture(photo, pixels):
    loaded = read(photo, RGB, Preprocess(channels="BGR"))
    np.testing.assert_array_equal(loaded.array[0, 0], pixels[..., 2])
    np.testing.assert_array_equal(loaded.pictures[0], pixels)


@pytest.mark.parametrize("shape", [("n", 1, 6, 8), ("n", 6, 8, 1), ("n", 6, 8), (1, 6, 8)])
def test_gray_models_get_one_channel(photo, pixels, shape):
    loaded = read(photo, TensorSpec("image", "float32", shape), NONE)
    # ITU-R 601 luma, which Pillow computes in 16-bit integers and rounds: half a step, and a bit
    luma = pixels @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(loaded.array.reshape(6, 8), luma, atol=0.6)
    assert loaded.array.ndim == len(shape)
    assert (loaded.pictures[0] == loaded.pictures[0][..., :1]).all()


def test_integer_tensors_take_the_pixels_without_being_asked(photo, pixels):
    loaded = read(photo, TensorSpec("image", "uint8", ("n", "h", "w", 3)))
    assert loaded.array.dtype == np.uint8
    np.testing.assert_array_equal(loaded.array[0], pixels)


def test_float_tensors_need_to_be_told(photo):
    with pytest.raises(InputError, match="how are pixels turned into them") as caught:
        read(photo, RGB)
    assert "imagenet or unit or none" in caught.value.hint


def test_resize_keeps_proportions_and_crops_the_centre(tmp_path):
    # left third red, middle green, right blue: a centre crop of a third sees only green
    wide = np.zeros((30, 90, 3), np.uint8)
    for third in range(3):
        wide[:, 30 * third : 30 * third + 30, third] = 255
    path = tmp_path / "wide.png"
    Image.fromarray(wide).save(path)
    loaded = read(path, RGB, Preprocess(size=(20, 20), resize=30))
    assert loaded.pictures[0].shape == (20, 20, 3)
    assert (loaded.pictures[0] == [0, 255, 0]).all()
    squeezed = read(path, RGB, Preprocess(size=(30, 30)))
    assert squeezed.pictures[0][15, 2].tolist() == [255, 0, 0]
    assert squeezed.pictures[0][15, 27].tolist() == [0, 0, 255]


@pytest.mark.parametrize(("size", "expected"), [((50, 101), (20, 40)), ((101, 50), (40, 20))])
def test_resize_without_size_rounds_down_like_torchvision(tmp_path, size, expected):
    path = tmp_path / "p.png"
    Image.new("RGB", size[::-1]).save(path)
    assert read(path, RGB, Preprocess(resize=20)).array.shape[2:] == expected


def test_a_crop_larger_than_the_picture_is_refused(tmp_path):
    path = tmp_path / "p.png"
    Image.new("RGB", (10, 10)).save(path)
    with pytest.raises(InputError, match="is 20x20 after resizing, smaller than the 20x40"):
        read(path, RGB, Preprocess(size=(20, 40), resize=20))


def test_exif_orientation_is_honoured(tmp_path, pixels):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: rotate by 270 degrees to see it so
    path = tmp_path / "p.png"
    Image.fromarray(pixels).save(path, exif=exif)
    np.testing.assert_array_equal(np.asarray(decode(path)), np.rot90(pixels, -1))


def saved(tmp_path, image, name="p.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return np.asarray(decode(path))


def test_transparent_pixels_are_put_on_white(tmp_path):
    array = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [0, 0, 0, 51]]], np.uint8)
    result = saved(tmp_path, Image.fromarray(array))
    # 51 is a fifth of 255: four fifths of the white remain
    assert result.tolist() == [[[200, 0, 0], [255, 255, 255], [204, 204, 204]]]


def test_palettes_with_transparency(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    assert saved(tmp_path, image).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert saved(tmp_path, image, transparency=1).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_sixteen_bits_keep_black_and_white(tmp_path):
    image = Image.fromarray(np.array([[0, 257, 32896, 65535]], np.uint16))
    assert saved(tmp_path, image)[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "CMYK", "YCbCr"])
def test_other_modes_become_rgb(tmp_path, mode):
    name = "p.jpg" if mode in ("CMYK", "YCbCr") else "p.png"
    result = saved(tmp_path, Image.new("RGB", (4, 4), "white").convert(mode), name)
    assert result.shape == (4, 4, 3)
    assert (result >= 254).all()  # JPEG may lose one step


@pytest.mark.parametrize("name", ["p.png", "p.bmp", "p.webp", "p.gif", "p.jpg", "p.JPEG"])
def test_formats(tmp_path, name):
    path = tmp_path / name
    Image.new("RGB", (8, 8), (255, 0, 0)).save(path)
    loaded = read(path, RGB, NONE)
    # lossy formats keep a plain colour within a few steps
    np.testing.assert_allclose(loaded.array[0, :, 4, 4], [255, 0, 0], atol=4)


def test_the_first_frame_of_an_animation_is_read(tmp_path):
    path = tmp_path / "p.gif"
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert np.asarray(decode(path))[0, 0].tolist() == [255, 0, 0]


def bomb(width, height):
    """A tiny PNG that claims to be huge, with all of its data: zeros compress to nothing."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [8_000, 10_000, 20_000])
def test_decompression_bombs_are_refused_from_the_header(tmp_path, side):
    # below Pillow's warning, above it, and above its error
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(side, side))
    with pytest.raises(InputError, match="pixels") as caught:
        read(path, RGB, UNIT)
    assert caught.value.hint == "make it smaller first"


def test_resizing_must_not_make_a_bomb(tmp_path):
    path = tmp_path / "line.png"
    Image.new("1", (60_000, 1)).save(path)
    with pytest.raises(InputError, match="15360000x256 pixels when resized"):
        read(path, RGB, Preprocess.named("imagenet"))


@pytest.mark.parametrize("name", ["p.png", "p.jpg", "p.webp", "p.bmp", "p.gif"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_truncated_files_are_refused(tmp_path, name, part):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    kind = {"jpg": "JPEG"}.get(name[2:], name[2:].upper())
    Image.fromarray(noise).save(buffer, kind)
    data = buffer.getvalue()
    path = tmp_path / name
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(InputError, match=r"is a damaged picture|is not a picture"):
        read(path, RGB, UNIT)


@pytest.mark.parametrize(
    "data", [b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"%!PS-Adobe-3.0 EPSF-3.0\n"]
)
def test_what_is_no_picture_is_refused(tmp_path, data):
    path = tmp_path / "p.png"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"is a damaged picture|is not a picture"):
        read(path, RGB, UNIT)


def test_random_damage_never_escapes_as_another_error(tmp_path):
    noise = np.random.default_rng(2)
    path = tmp_path / "p.png"
    outcomes = set()
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP"):
        buffer = io.BytesIO()
        Image.fromarray(noise.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(buffer, kind)
        for _ in range(60):
            data = bytearray(buffer.getvalue())
            for at in noise.integers(0, min(len(data), 200), 5):
                data[at] = noise.integers(0, 256)
            path.write_bytes(data)
            try:
                outcomes.add(decode(path).mode)
            except InputError:
                outcomes.add("refused")
    assert outcomes == {"RGB", "refused"}
