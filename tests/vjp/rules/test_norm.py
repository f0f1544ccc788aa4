"""The normalising operators against finite differences."""

import numpy as np
import pytest

SHAPES = [(3, 4), (3, 4, 5), (2, 3, 4, 2), (2, 3, 2, 2, 3)]


def per_channel(rng, count, number=1):
    return tuple(rng.uniform(0.5, 1.5, count) for _ in range(number))


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_normalization(check_vjp, rng, shape):
    x = rng.standard_normal(shape)
    check_vjp("BatchNormalization", x, *per_channel(rng, shape[1], 4), epsilon=0.1)


@pytest.mark.parametrize("opset", [7, 9, 14])
def test_batch_normalization_at_older_opsets(check_vjp, rng, opset):
    x = rng.standard_normal((2, 3, 4, 2))
    check_vjp("BatchNormalization", x, *per_channel(rng, 3, 4), wrt=[0], opset=opset)


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_normalization_in_training_mode(check_vjp, rng, shape):
    # onnxruntime has this mode in its training build only
    check_vjp(
        "BatchNormalization",
        rng.standard_normal(shape),
        *per_channel(rng, shape[1], 4),
        training_mode=1,
        momentum=0.7,
        outputs=3,
        of=[0],
        wrt=[0, 1, 2],
        runtime=False,
    )


@pytest.mark.parametrize(("of", "wrt"), [(1, [0, 3]), (2, [0, 4])])
def test_running_statistics(check_vjp, rng, of, wrt):
    check_vjp(
        "BatchNormalization",
        rng.standard_normal((2, 3, 4)),
        *per_channel(rng, 3, 4),
        training_mode=1,
        momentum=0.7,
        outputs=3,
        of=[of],
        wrt=wrt,
        runtime=False,
    )


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_instance_normalization(check_vjp, rng, shape):
    x = rng.standard_normal(shape)
    check_vjp("InstanceNormalization", x, *per_channel(rng, shape[1], 2), epsilon=0.1)
    check_vjp("InstanceNormalization", x, *per_channel(rng, shape[1], 2), opset=7)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("shape", [(2, 4, 3), (3, 4, 2, 3)])
@pytest.mark.parametrize("opset", [18, 21])
def test_group_normalization(check_vjp, rng, groups, shape, opset):
    x, count = rng.standard_normal(shape), groups if opset < 21 else 4
    scale, bias = per_channel(rng, count, 2)
    check_vjp("GroupNormalization", x, scale, bias, num_groups=groups, opset=opset, epsilon=0.1)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("shape", [(2, 6, 2, 3), (2, 6, 3)])
def test_lrn(check_vjp, rng, size, shape):
    given = {"alpha": 0.5, "beta": 0.6, "bias": 1.5}
    check_vjp("LRN", rng.standard_normal(shape), size=size, runtime=len(shape) == 4, **given)


def test_lrn_with_the_usual_exponent(check_vjp, rng):
    check_vjp("LRN", 3.0 * rng.standard_normal((2, 6, 2, 3)), size=5, alpha=0.1)
    check_vjp("LRN", 3.0 * rng.standard_normal((2, 6, 2, 3)), size=5, alpha=0.1, opset=7)


@pytest.mark.parametrize("axis", [-1, 1, -2, 0])
@pytest.mark.parametrize("bias", [True, False])
def test_layer_normalization(check_vjp, rng, axis, bias):
    x = rng.standard_normal((3, 4, 5))
    scale, shift = per_channel(rng, x.shape[axis:], 2)
    check_vjp("LayerNormalization", x, scale, shift if bias else None, axis=axis, epsilon=0.1)


def test_layer_normalization_with_a_broadcast_scale(check_vjp, rng):
    x = rng.standard_normal((3, 4, 5))
    scale, bias = per_channel(rng, (4, 5), 2)
    check_vjp("LayerNormalization", x, scale[0], bias[:, :1], axis=1, runtime=False)


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("outputs", [2, 3])
def test_outputs_of_layer_normalization(check_vjp, rng, axis, outputs):
    x = rng.standard_normal((3, 4, 5))
    scale = per_channel(rng, x.shape[axis:])
    given = {"axis": axis, "epsilon": 0.1, "outputs": outputs}
    check_vjp("LayerNormalization", x, *scale, None, wrt=[0], of=range(outputs), **given)


@pytest.mark.parametrize("axes", [None, [0, 2, 3], [1], [2, 3]])
def test_mean_variance_normalization(check_vjp, rng, axes):
    x = rng.standard_normal((2, 3, 3, 2))
    given = {} if axes is None else {"axes": axes}
    check_vjp("MeanVarianceNormalization", x, **given)
    check_vjp("MeanVarianceNormalization", x, opset=9, **given)


def test_mean_variance_normalization_of_a_constant_is_finite(gradient):
    x = np.full((1, 1, 2, 2), 3.0, np.float32)
    ct = np.ones_like(x)
    assert np.isfinite(gradient("MeanVarianceNormalization", x, ct=ct)).all()


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_lp_normalization(check_vjp, rng, p, axis):
    x = rng.uniform(0.5, 1.5, (3, 4, 2)) * rng.choice([-1.0, 1.0], (3, 4, 2))
    check_vjp("LpNormalization", x, p=p, axis=axis)
    check_vjp("LpNormalization", x, p=p, axis=axis, opset=22)


@pytest.mark.parametrize("p", [1, 2])
def test_lp_normalization_has_gradient_zero_at_zero(gradient, p):
    x = np.array([[0, 0, 0], [3, 0, -4]], np.float32)
    ct = np.array([[1, 2, 3], [1, 2, 3]], np.float32)
    zero, other = gradient("LpNormalization", x, ct=ct, p=p)
    np.testing.assert_array_equal(zero, 0)
    assert np.isfinite(other).all()


@pytest.mark.parametrize("axis", [-1, 1, 0])
def test_rms_normalization(check_vjp, rng, axis):
    x = rng.standard_normal((3, 4, 5))
    scale = rng.uniform(0.5, 1.5, x.shape[axis:])
    check_vjp("RMSNormalization", x, scale, axis=axis, epsilon=0.1, opset=23)


def test_rms_normalization_does_not_overflow_in_half_precision(gradient):
    x = np.array([[300, -400, 500, 0]], np.float16)  # 400² is over 65504
    scale, ct = np.ones(4, np.float16), np.array([[1, 2, 3, 4]], np.float16)
    wide = x.astype(np.float64)
    r = 1 / np.sqrt((wide**2).mean())
    expected = r * (ct - wide * r * (ct * wide * r).mean())
    result = gradient("RMSNormalization", x, scale, ct=ct, opset=23)
    np.testing.assert_allclose(result, expected, rtol=2e-3)  # float16 has 11 bits
