"""Picture files to tensors: decode safely, resize and crop, then normalise."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from igrt.errors import InputError
from igrt.inputs.conform import conform
from igrt.inputs.frame import PIXEL_LIMIT
from igrt.inputs.preprocess import PRESETS, Preprocess
from igrt.inputs.regular import check_regular, printable_path
from igrt.specs import Array, TensorSpec

if TYPE_CHECKING:
    from PIL.Image import Image

# no format that starts another program (EPS) or has ever more decoders behind it (TIFF)
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF")


def read_picture(
    path: Path, spec: TensorSpec, preprocess: Preprocess | None
) -> tuple[Array, Array, str]:
    """The tensor of a picture file.

    Args:
        path: A PNG, JPEG, BMP, WebP or GIF file (its first frame).
        spec: Tensor of the model that it is for.
        preprocess: How it becomes a tensor; None only for integer tensors, which take the pixels.

    Returns:
        The tensor in the shape and type of `spec`; what the model sees, uint8 [height, width, 3];
        and the layout, ``NCHW`` or ``NHWC``.

    Raises:
        InputError: If the file is no intact picture of at most 50 million pixels, or `spec` takes
            no such picture.
    """
    if preprocess is None:
        if spec.is_float:
            raise InputError(
                f"`{printable_path(path)}` is a picture, and `{spec}` takes floats:"
                " how are pixels turned into them?",
                hint=f"say {' or '.join(PRESETS)}, or name a preprocessing file, as the model was"
                " trained",
            )
        preprocess = PRESETS["none"]
    settled, frame = preprocess.settle(spec)
    image = _fit(path, decode(path), settled)
    pixels = np.asarray(image.convert("L") if settled.channels == "gray" else image)
    if pixels.ndim == 2:
        pixels = pixels[..., np.newaxis]
    seen = np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
    if settled.channels == "BGR":
        pixels = pixels[..., ::-1]
    numbers = (pixels * np.float64(settled.scale) - np.array(settled.mean)) / np.array(settled.std)
    array = conform(f"`{printable_path(path)}`", frame.place(numbers), spec)
    return array, seen, frame.layout


def decode(path: Path) -> Image:
    """A picture file as 8-bit RGB, upright as its EXIF orientation says.

    Transparent pictures are put on white, which is what they are drawn to be seen on; 16-bit ones
    keep their upper bits.

    Raises:
        InputError: If it is no picture, is cut off, or has more than 50 million pixels. That is
            looked up in the header, before memory is allocated.
    """
    from PIL import Image, ImageOps

    check_regular(path)
    shown = printable_path(path)
    with _refusals(shown), Image.open(path, formats=_FORMATS) as image:
        _check_pixels(shown, image.size)
        image.load()
        return _flatten(ImageOps.exif_transpose(image))


def _flatten(image: Image) -> Image:
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        # 65535 / 257 = 255, so that white stays white
        wide = np.asarray(image).astype(np.float64)
        image = Image.fromarray(np.clip(np.rint(wide / 257), 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _fit(path: Path, image: Image, settled: Preprocess) -> Image:
    """The picture as the model sees it.

    Sizes and offsets round as torchvision's `Resize` and `CenterCrop` do, because models are
    trained behind those.
    """
    from PIL import Image

    bilinear = Image.Resampling.BILINEAR
    if settled.resize is None:
        if settled.size is None or settled.size == (image.height, image.width):
            return image
        height, width = settled.size
        return image.resize((width, height), bilinear)
    short, long = sorted(image.size)
    stretched = int(settled.resize * long / short)
    sides = (settled.resize, stretched)
    resized = sides if image.width <= image.height else sides[::-1]
    _check_pixels(printable_path(path), resized, " when resized")
    if resized != image.size:
        image = image.resize(resized, bilinear)
    if settled.size is None:
        return image
    height, width = settled.size
    if height > image.height or width > image.width:
        raise InputError(
            f"`{printable_path(path)}` is {image.height}x{image.width} after resizing,"
            f" smaller than the {height}x{width} that the model sees",
            hint="raise `resize`, or leave it out, in the preprocessing file",
        )
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _check_pixels(shown: str, size: tuple[int, int], when: str = "") -> None:
    if size[0] * size[1] > PIXEL_LIMIT:
        raise InputError(
            f"`{shown}` has {size[0]}x{size[1]} pixels{when}; at most {PIXEL_LIMIT:,} are read",
            hint="make it smaller first",
        )


@contextmanager
def _refusals(shown: str) -> Iterator[None]:
    """Turns whatever Pillow stumbles over in a damaged file into an `InputError`."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # our own limit is lower and is checked at once; other warnings are about metadata
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(
            f"`{shown}` has far more than {PIXEL_LIMIT:,} pixels", hint="make it smaller first"
        ) from None
    except UnidentifiedImageError:
        raise InputError(
            f"`{shown}` is not a picture", hint=f"the formats read are {', '.join(_FORMATS)}"
        ) from None
    except PermissionError as error:
        raise InputError(f"cannot read `{shown}`: {error.strerror}") from None
    except Exception as error:
        # decoders raise SyntaxError, struct.error, IndexError and more on broken files
        raise InputError(
            f"`{shown}` is a damaged picture: {_one_line(error)}", hint="get the file again"
        ) from None


def _one_line(error: Any) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


__all__ = ["decode", "read_picture"]
