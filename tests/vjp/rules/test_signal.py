"""Fourier transforms against NumPy's."""

import numpy as np
import pytest


def pairs(z, onesided_real=False):
    return z.real[..., None] if onesided_real else np.stack([z.real, z.imag], axis=-1)


def complex_of(x):
    return x[..., 0] + (1j * x[..., 1] if x.shape[-1] == 2 else 0)


def dft(axis, length=None, inverse=0, onesided=0):
    def oracle(x, *_):
        z = complex_of(x)
        if inverse and onesided:
            return [pairs(np.fft.irfft(z, length, axis), True)]
        if onesided:
            return [pairs(np.fft.rfft(z.real, length, axis))]
        return [pairs((np.fft.ifft if inverse else np.fft.fft)(z, length, axis))]

    return oracle


@pytest.mark.parametrize("opset", [18, 20])
@pytest.mark.parametrize("length", [None, 4, 9])
@pytest.mark.parametrize(
    "last, given", [(1, {}), (2, {}), (2, {"inverse": 1}), (1, {"onesided": 1})]
)
@pytest.mark.parametrize("axis", [1, -2])
def test_dft(check_vjp, rng, opset, length, last, given, axis):
    x = rng.standard_normal((2, 6, 5, last))
    operands = [None if length is None else np.array(length)]
    more = given if opset >= 20 else given | {"axis": axis}
    if opset >= 20:
        operands.append(np.array(axis))
    oracle = dft(axis + 1 if axis < 0 else axis, length, **given)
    check_vjp("DFT", x, *operands, opset=opset, oracle=oracle, **more)


@pytest.mark.parametrize("length", [None, 7, 8])
def test_inverse_of_half_a_spectrum(check_vjp, rng, length):
    x = rng.standard_normal((2, 5, 3, 2))
    given = {"inverse": 1, "onesided": 1}
    operands = [None if length is None else np.array(length), np.array(1)]
    check_vjp("DFT", x, *operands, opset=20, oracle=dft(1, length, **given), **given)


def test_an_axis_that_is_known_at_run_time_only(check_vjp, rng):
    x = rng.standard_normal((2, 6, 5, 1))
    given = {"onesided": 1}
    operands = [np.array(4), np.array(-2)]
    check_vjp("DFT", x, *operands, opset=20, oracle=dft(2, 4, **given), fed=[1, 2], **given)


def stft(step, length, onesided):
    def oracle(x, _, window=None, *__):
        z, frames = complex_of(x), []
        for start in range(0, z.shape[1] - length + 1, step):
            frame = z[:, start : start + length] * (1 if window is None else window)
            whole = np.fft.fft(frame, axis=1)
            frames.append(whole[:, : length // 2 + 1] if onesided else whole)
        return [pairs(np.stack(frames, axis=1))]

    return oracle


@pytest.mark.parametrize("with_window", [True, False])
@pytest.mark.parametrize("last, onesided", [(1, 1), (1, 0), (2, 0)])
@pytest.mark.parametrize("step, length, fed", [(3, 8, []), (5, 5, [1]), (3, 7, [1])])
def test_stft(check_vjp, rng, with_window, last, onesided, step, length, fed):
    x = rng.standard_normal((2, 24, last))
    window = rng.uniform(0.5, 1, length) if with_window else None
    # without a window the length is an operand, with one it need not be
    operands = [x, np.array(step), window, None if with_window else np.array(length)]
    check_vjp(
        "STFT",
        *operands,
        wrt=[0, 2] if with_window else [0],
        fed=fed,
        oracle=stft(step, length, onesided),
        onesided=onesided,
    )
