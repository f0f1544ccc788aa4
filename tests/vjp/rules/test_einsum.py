"""Einsum: contractions, sums, diagonals, ellipses and implicit outputs."""

import numpy as np
import pytest

from igrt.errors import UnsupportedOperator


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
        ("bhid,bhjd->bhij", [(2, 2, 3, 4), (2, 2, 5, 4)]),
        ("ij,jk", [(2, 3), (3, 4)]),
        ("ba,b", [(2, 3), (2,)]),
        ("i,i->", [(3,), (3,)]),
        ("i,j->ij", [(2,), (3,)]),
        ("ij->ji", [(2, 3)]),
        ("ij -> i", [(2, 3)]),
        ("ij->", [(2, 3)]),
        ("ijk,j->i", [(2, 3, 4), (3,)]),
        ("ii->i", [(3, 3)]),
        ("ii->", [(3, 3)]),
        ("bii,b->bi", [(2, 3, 3), (2,)]),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 2)]),
        ("...ij,...jk->...ik", [(5, 2, 3), (5, 3, 4)]),
        ("...ij,jk->...ik", [(5, 6, 2, 3), (3, 4)]),
        ("...ij,...jk->...ik", [(6, 1, 2, 3), (1, 5, 3, 4)]),
        ("...ij->...ji", [(5, 2, 3)]),
        ("...i,...i", [(5, 3), (5, 3)]),
    ],
)
def test_einsum(check_vjp, rng, equation, shapes):
    check_vjp("Einsum", *(rng.standard_normal(s) for s in shapes), equation=equation)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(3, 1), (4, 2)]),
        ("ij,jk->ik", [(3, 4), (1, 2)]),
        ("ij,kj->ki", [(3, 1), (2, 1)]),
    ],
)
def test_summed_axes_of_size_1_are_broadcast(check_vjp, rng, equation, shapes):
    check_vjp("Einsum", *(rng.standard_normal(s) for s in shapes), equation=equation)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [("ij,ij->ij", [(3, 1), (1, 4)]), ("bij,bjk->bik", [(1, 2, 3), (5, 3, 4)])],
)
def test_axes_of_size_1_are_broadcast(check_vjp, rng, equation, shapes):
    # with known sizes ONNX infers the size 1 for the output, and onnxruntime believes it
    arrays = [rng.standard_normal(s) for s in shapes]
    check_vjp("Einsum", *arrays, equation=equation, symbolic=("all",))
    with pytest.raises(UnsupportedOperator, match="infers no size"):
        check_vjp("Einsum", *arrays, equation=equation, symbolic=("static",))


def test_opset_12(check_vjp, rng):
    arrays = rng.standard_normal((2, 3)), rng.standard_normal((3, 4))
    check_vjp("Einsum", *arrays, equation="ij,jk->ik", opset=12)


def test_the_empty_batch(check_vjp):
    check_vjp("Einsum", np.ones((0, 2)), np.ones((2, 3)), equation="ij,jk->ik")
