"""How a picture becomes a tensor: `Preprocess`, its presets and its TOML form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, final

from igrt.errors import InputError
from igrt.inputs.frame import PIXEL_LIMIT, Frame
from igrt.inputs.regular import printable_path, read_toml
from igrt.inputs.suggest import did_you_mean
from igrt.specs import TensorSpec

_CHANNELS = {"RGB": 3, "BGR": 3, "gray": 1}
_LAYOUTS = ("NCHW", "NHWC")


@final
@dataclass(frozen=True)
class Preprocess:
    """What happens to a picture before the model sees it: x = (pixel * scale - mean) / std.

    Args:
        size: Height and width that the model sees; None: as the model's input says, or the
            picture's own where that is symbolic.
        resize: Length that the shorter side is resized to before the centre is cropped to `size`;
            None: resized to `size` directly, without keeping the proportions.
        channels: ``RGB``, ``BGR`` or ``gray``; None: RGB, or gray for a model with one channel.
        scale: Factor of the pixels, which are 0 to 255.
        mean: Subtracted after scaling; one number, or one per channel in the order of `channels`.
        std: Divided by at the end; one number, or one per channel.
        layout: ``NCHW`` or ``NHWC``; None: guessed from the shape of the model's input.
        yields: Whether a model of another fixed size overrides `size`, and `resize` in proportion.

    Raises:
        InputError: If a field has the wrong type or cannot be meant.
    """

    size: tuple[int, int] | None = None
    resize: int | None = None
    channels: str | None = None
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: str | None = None
    yields: bool = False

    def __post_init__(self) -> None:
        if self.size is not None:
            if not _is_list(self.size) or len(self.size) != 2 or not all(map(_is_count, self.size)):
                raise _wrong("size", "two whole numbers above 0, height and width", self.size)
            if self.size[0] * self.size[1] > PIXEL_LIMIT:
                raise _wrong("size", f"at most {PIXEL_LIMIT:,} pixels", self.size)
            object.__setattr__(self, "size", tuple(self.size))
        if self.resize is not None:
            if not _is_count(self.resize):
                raise _wrong("resize", "one whole number above 0", self.resize)
            if self.size is not None and self.resize < min(self.size):
                raise _wrong("resize", f"at least {min(self.size)}, to be cropped", self.resize)
        if self.channels is not None and self.channels not in _CHANNELS:
            raise _wrong("channels", "RGB, BGR or gray", self.channels, _CHANNELS)
        if self.layout is not None and self.layout not in _LAYOUTS:
            raise _wrong("layout", "NCHW or NHWC", self.layout, _LAYOUTS)
        if not _is_number(self.scale) or self.scale == 0:
            raise _wrong("scale", "a finite number other than 0", self.scale)
        for name in ("mean", "std"):
            object.__setattr__(self, name, self._per_channel(name, getattr(self, name)))
        if min(self.std) <= 0:
            raise _wrong("std", "numbers above 0", self.std)

    def _per_channel(self, name: str, value: Any) -> tuple[float, ...]:
        numbers = tuple(value) if _is_list(value) else (value,)
        if not numbers or not all(map(_is_number, numbers)):
            raise _wrong(name, "a finite number, or a list of one per channel", value)
        allowed = {1, _CHANNELS[self.channels]} if self.channels else {1, *_CHANNELS.values()}
        if len(numbers) not in allowed:
            raise _wrong(name, " or ".join(map(str, sorted(allowed))) + " numbers", value)
        return tuple(float(n) for n in numbers)

    @classmethod
    def named(cls, text: str | Path) -> Preprocess:
        """A preset (``imagenet``, ``unit``, ``none``) or what a TOML file says.

        The keys of the file are those of the class, without `yields`.

        Raises:
            InputError: If there is neither, or the file says something that cannot be meant.
        """
        if isinstance(text, str) and text in PRESETS:
            return PRESETS[text]
        path = Path(text)
        if path.suffix.lower() == ".toml" or path.is_file():
            return cls._from_toml(path)
        raise InputError(
            f"there is no preprocessing `{printable_path(path)}`",
            hint=did_you_mean(str(text), PRESETS, f"use {', '.join(PRESETS)} or a .toml file"),
        )

    @classmethod
    def _from_toml(cls, path: Path) -> Preprocess:
        shown = printable_path(path)
        table = read_toml(path, limit=2**20)
        keys = [f.name for f in fields(cls) if f.name != "yields"]
        for key in table:
            if key not in keys:
                raise InputError(
                    f"`{shown}` has an unknown key `{key}`",
                    hint=did_you_mean(key, keys, f"the keys are {', '.join(keys)}"),
                )
        try:
            return cls(**table)
        except InputError as error:
            raise InputError(f"`{shown}`: {error.message}", hint=error.hint) from None

    def settle(self, spec: TensorSpec) -> tuple[Preprocess, Frame]:
        """This preprocessing with everything that was left open taken from the model's input.

        Returns:
            The same with `channels` and `layout` set, and `size` unless the model leaves both sides
            open; and where the picture goes in the tensor.

        Raises:
            InputError: If the tensor takes no pictures, or other ones.
        """
        frame = Frame.of(spec, self.layout)
        size, resize = self._settle_size(spec, frame)
        channels = self.channels
        if channels is None:
            channels = "gray" if frame.channels == 1 else "RGB"
        count = _CHANNELS[channels]
        if isinstance(frame.channels, int) and frame.channels != count:
            raise InputError(
                f"`{spec}` takes {frame.channels} channels in {frame.layout}, not {channels}",
                hint="set `channels` or `layout` in a preprocessing file",
            )
        if max(len(self.mean), len(self.std)) > count:
            raise InputError(
                f"`{spec}` takes {count} channel, but the preprocessing has means or deviations"
                f" for {max(len(self.mean), len(self.std))}",
                hint="use the preset `unit` or a preprocessing file with one `mean` and `std`",
            )
        settled = replace(
            self, size=size, resize=resize, channels=channels, layout=frame.layout, yields=False
        )
        return settled, frame

    def _settle_size(
        self, spec: TensorSpec, frame: Frame
    ) -> tuple[tuple[int, int] | None, int | None]:
        height, width = frame.height, frame.width
        if isinstance(height, int) and isinstance(width, int):
            own = (height, width)
            if self.size is None or self.size == own:
                return own, self.resize
            if self.yields:
                ratio = min(own) / min(self.size)
                return own, None if self.resize is None else round(self.resize * ratio)
        elif self.size is None and (isinstance(height, int) or isinstance(width, int)):
            raise InputError(
                f"`{spec}` fixes only one side of the picture",
                hint="set `size` in a preprocessing file",
            )
        wanted = zip(self.size or (), (height, width), strict=False)
        if any(isinstance(dim, int) and dim != side for side, dim in wanted):
            raise InputError(
                f"`{spec}` takes pictures of {height}x{width}, but the preprocessing makes them "
                + "x".join(map(str, self.size or ())),
                hint="leave `size` out to take the model's own",
            )
        return self.size, self.resize


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= PIXEL_LIMIT


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and _finite(value)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer too large for a float
        return False


def _wrong(
    name: str, expected: str, got: object, words: Mapping[str, Any] | Sequence[str] = ()
) -> InputError:
    shown = repr(got)
    return InputError(
        f"preprocessing `{name}` must be {expected}, not {shown[:80]}",
        hint=did_you_mean(got, words) if isinstance(got, str) else "",
    )


PRESETS: Mapping[str, Preprocess] = {
    # the evaluation transform of torchvision's classifiers
    "imagenet": Preprocess(
        size=(224, 224),
        resize=256,
        channels="RGB",
        scale=1 / 255,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        yields=True,
    ),
    "unit": Preprocess(scale=1 / 255),
    "none": Preprocess(),
}

__all__ = ["PRESETS", "Preprocess"]
