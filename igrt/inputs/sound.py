"""Sound in `.wav` files."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from igrt.errors import InputError
from igrt.inputs.arrays import ARRAY_LIMIT
from igrt.inputs.regular import check_regular, printable_path
from igrt.specs import Array, TensorSpec

_PCM = "ffmpeg -i FILE -c:a pcm_s16le OUT.wav makes it a .wav file of whole numbers"


def read_wav(path: Path, spec: TensorSpec) -> tuple[Array, float, str]:
    """The samples of a sound, its sampling rate, and the layout of its axes.

    Whole numbers of b bits become x / 2ᵇ⁻¹, so that full scale is -1 ... 1. Nothing is resampled.

    Args:
        path: A `.wav` file with whole numbers of 8, 16, 24 or 32 bits (PCM).
        spec: The tensor that it is for: [N, T], [N, channels, T], [N, T, channels] or [T].

    Returns:
        Samples in the axes of `spec`, float64; samples per second; and ``T``, ``NT``, ``NCT`` or
        ``NTC``.

    Raises:
        InputError: If it is no intact file of that kind, or its channels or length do not fit.
    """
    check_regular(path, limit=ARRAY_LIMIT)
    shown = f"`{printable_path(path)}`"
    try:
        with wave.open(str(path), "rb") as file:
            channels, rate, width = file.getnchannels(), file.getframerate(), file.getsampwidth()
            raw = file.readframes(file.getnframes())
    except OSError as error:
        raise InputError(f"cannot read {shown}: {error.strerror}") from None
    except (wave.Error, EOFError) as error:
        reason = str(error) or "it is cut off"
        raise InputError(f"{shown} is no .wav file that can be read: {reason}", hint=_PCM) from None
    whole = len(raw) // (channels * width) * channels * width
    samples = _numbers(raw[:whole], width).reshape(-1, channels)
    if not len(samples):
        raise InputError(f"{shown} holds no samples")
    layout = _layout(shown, channels, spec)
    time = spec.shape[layout.index("T")] if spec.shape else None
    if isinstance(time, int) and time != len(samples):
        raise InputError(
            f"{shown} has {len(samples):,} samples, but `{spec}` takes {time:,}",
            hint=f"cut or pad it to {time / rate:.3g} s"
            + ("" if len(samples) < time else "; the model looks at one frame at a time"),
        )
    if layout in ("T", "NT"):
        samples = samples[:, 0]
    elif layout == "NCT":
        samples = samples.T
    return (samples if layout == "T" else samples[np.newaxis]), float(rate), layout


def _numbers(raw: bytes, width: int) -> Array:
    """Samples of `width` bytes as float64, full scale -1 ... 1."""
    if width == 1:  # the only width without a sign
        return np.frombuffer(raw, np.uint8) / 128.0 - 1.0
    if width == 3:  # the upper three bytes of four
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        return wide.view("<i4").reshape(-1) / 2.0**31
    return np.frombuffer(raw, f"<i{width}") / 2.0 ** (8 * width - 1)


def _layout(shown: str, channels: int, spec: TensorSpec) -> str:
    rank = spec.rank or 2
    if rank <= 2 and channels == 1:
        return "T" if rank == 1 else "NT"
    if spec.shape and rank == 3 and channels in spec.shape[1:]:
        return "NCT" if spec.shape[1] == channels else "NTC"
    said = "channels" if channels > 1 else "channel"
    raise InputError(
        f"{shown} is sound of {channels} {said}, which `{spec}` does not take",
        hint="mix it to one channel: ffmpeg -i FILE -ac 1 OUT.wav"
        if channels > 1
        else "sound goes into [N, T], [N, channels, T] or [N, T, channels]",
    )


__all__ = ["read_wav"]
