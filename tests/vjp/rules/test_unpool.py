"""What puts patches and maxima back in their place."""

import numpy as np
import pytest

from igrt.errors import UnsupportedOperator


@pytest.mark.parametrize(
    "image, block, given",
    [
        ((5, 5), (1, 5), {}),
        ((5, 6), (2, 3), {"strides": [2, 1], "pads": [1, 0, 0, 1]}),
        ((6, 6), (2, 2), {"dilations": [1, 5]}),
        ((4, 5, 5), (1, 5, 2), {"strides": [1, 2, 1]}),
        ((9,), (3,), {"strides": [2]}),
    ],
)
@pytest.mark.parametrize("at_run_time", [False, True])
def test_col2im(check_vjp, rng, image, block, given, at_run_time):
    rank = len(image)
    pads = np.array(given.get("pads", [0] * (2 * rank))).reshape(2, rank).sum(axis=0)
    reach = np.array(given.get("dilations", [1] * rank)) * (np.array(block) - 1) + 1
    places = (np.array(image) + pads - reach) // np.array(given.get("strides", [1] * rank)) + 1
    x = rng.standard_normal((2, 3 * int(np.prod(block)), int(np.prod(places))))
    operands = [np.array(image), np.array(block)]
    given = given or {"strides": [1] * rank}  # without any, the number of axes is not known
    check_vjp("Col2Im", x, *operands, fed=[1, 2] if at_run_time else [], **given)


def test_an_image_of_unknown_rank_is_refused(check_vjp, rng):
    x, operands = rng.standard_normal((2, 15, 5)), [np.array([5, 5]), np.array([1, 5])]
    with pytest.raises(UnsupportedOperator, match=r"`node` \(Col2Im-18\) does not say how many"):
        check_vjp("Col2Im", x, *operands, fed=[1, 2], symbolic=["all"])


PLACES = np.array([[[[1, 3], [8, 15]], [[16, 21], [26, 31]]]])


@pytest.mark.parametrize("size", [None, (1, 2, 4, 4), (1, 2, 5, 5)])
@pytest.mark.parametrize("shape", [None, ("n", 2, "h", "w")])
def test_max_unpool(adjoint, rng, size, shape):
    # against the forward kernel: the reference leaves out what the output shape does to places
    x = rng.standard_normal((1, 2, 2, 2))
    operands = [PLACES] if size is None else [PLACES, np.array(size)]
    adjoint("MaxUnpool", x, *operands, shape=shape, kernel_shape=[2, 2], strides=[2, 2])
