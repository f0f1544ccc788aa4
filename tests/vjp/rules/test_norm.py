"""The normalising operators against finite differences."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from igrt.vjp.augment import augment

SHAPES = [(3, 4), (3, 4, 5), (2, 3, 4, 2), (2, 3, 2, 2, 3)]


def per_channel(rng, count, number=1):
    return tuple(rng.uniform(0.5, 1.5, count) for _ in range(number))


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_normalization(check_vjp, rng, shape):
    x = rng.standard_normal(shape)
    check_vjp("BatchNormalization", x, *per_channel(rng, shape[1], 4), epsilon=0.1)


@pytest.mark.parametrize("opset", [7, 9, 14])
def test_batch_normalization_at_older_opsets(check_vjp, rng, opset):
    def oracle(x, *vectors):  # onnx.reference takes these opsets for training mode
        scale, bias, mean, var = (v.reshape(-1, 1, 1) for v in vectors)
        return [(x - mean) / np.sqrt(var + 1e-5) * scale + bias]

    x = rng.standard_normal((2, 3, 4, 2))
    given = {"wrt": [0], "opset": opset, "oracle": oracle}
    check_vjp("BatchNormalization", x, *per_channel(rng, 3, 4), **given)


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
    # at its default, onnx.reference computes opset 21 in float32
    given = {"stash_type": TensorProto.DOUBLE} if opset == 21 else {}
    given |= {"num_groups": groups, "opset": opset, "epsilon": 0.1}
    check_vjp("GroupNormalization", x, scale, bias, **given)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("shape", [(2, 6, 2, 3), (2, 6, 3)])
def test_lrn(check_vjp, rng, size, shape):
    # onnxruntime has odd sizes and four axes only
    given = {"alpha": 0.5, "beta": 0.6, "bias": 1.5, "runtime": size % 2 == 1 and len(shape) == 4}
    check_vjp("LRN", rng.standard_normal(shape), size=size, **given)


def test_lrn_with_the_usual_exponent(check_vjp, rng):
    check_vjp("LRN", 3.0 * rng.standard_normal((2, 6, 2, 3)), size=5, alpha=0.1)
    check_vjp("LRN", 3.0 * rng.standard_normal((2, 6, 2, 3)), size=5, alpha=0.1, opset=7)


@pytest.mark.parametrize("axis", [-1, 1, -2, 0])
@pytest.mark.parametrize("bias", [True, False])
def test_layer_normalization(check_vjp, rng, axis, bias):
    x = rng.standard_normal((3, 4, 5))
    scale, shift = per_channel(rng, x.shape[axis:], 2)
    operands = (x, scale, shift) if bias else (x, scale)
    check_vjp("LayerNormalization", *operands, axis=axis, epsilon=0.1)


def test_layer_normalization_with_a_broadcast_scale(check_vjp, rng):
    x = rng.standard_normal((3, 4, 5))
    scale, bias = per_channel(rng, (4, 5), 2)
    check_vjp("LayerNormalization", x, scale[0], bias[:, :1], axis=1, runtime=False)


@pytest.mark.parametrize("outputs", [2, 3])
@pytest.mark.parametrize("shape", [None, ["d0", "d1", "d2"]])
def test_statistics_of_layer_normalization(gradient, rng, outputs, shape):
    # they are float32 whatever X is, so finite differences in float64 are of no use
    x = rng.standard_normal((3, 4, 5)).astype(np.float32)
    ct, scale = rng.standard_normal((3, 1, 1)), np.ones((4, 5), np.float32)
    given = {"axis": 1, "epsilon": 0.1, "outputs": outputs, "shape": shape}
    result = gradient("LayerNormalization", x, scale, ct=ct, **given)
    centred = x - x.mean(axis=(1, 2), keepdims=True)
    inverse = (x.var(axis=(1, 2), keepdims=True) + 0.1) ** -0.5
    expected = ct / 20 if outputs == 2 else -ct * inverse**3 * centred / 20
    np.testing.assert_allclose(result, np.broadcast_to(expected, x.shape), atol=1e-6)


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


def test_rms_normalization_does_not_overflow_in_half_precision():
    x = np.array([[300, -400, 500, 0]], np.float16)  # 400² is over 65504
    scale, ct = np.ones(4, np.float16), np.array([[1, 2, 3, 4]], np.float16)
    shaped = [helper.make_tensor_value_info(n, TensorProto.FLOAT16, [1, 4]) for n in "xy"]
    node = helper.make_node("RMSNormalization", ["x", "scale"], ["y"], name="node")
    graph = helper.make_graph(
        [node], "g", shaped[:1], shaped[1:], [numpy_helper.from_array(scale, "scale")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)])
    model.ir_version = 11
    # onnx.reference computes in float16 what says float16; onnxruntime on CPU takes float32 for it
    feeds = {"x": x, "igrt/cotangent/y": ct}
    with np.errstate(over="ignore"):  # of the forward pass
        result = ReferenceEvaluator(augment(model)).run(["igrt/grad/x"], feeds)[0]
    wide = x.astype(np.float64)
    r = 1 / np.sqrt((wide**2).mean())
    expected = r * (ct - wide * r * (ct * wide * r).mean())
    np.testing.assert_allclose(result, expected, rtol=2e-3)  # float16 has 11 bits
