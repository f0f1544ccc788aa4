"""Gauss-Kronrod nodes and weights for any number of nodes."""

from __future__ import annotations

import numpy as np

from igrt.specs import Array


def gauss_kronrod_nodes(m: int) -> tuple[Array, Array, Array]:
    """The (2m+1)-point Gauss-Kronrod rule on [-1, 1] around the m-point Gauss-Legendre rule.

    The nodes are the eigenvalues of the Jacobi-Kronrod matrix, whose coefficients Laurie's
    algorithm finds from those of the Legendre polynomials (Laurie, 1997, "Calculation of
    Gauss-Kronrod quadrature rules", Math. Comp. 66, 1133-1145).

    Args:
        m: Number of Gauss nodes, at least 1.

    Returns:
        Nodes, Kronrod weights and Gauss weights (0 at the added nodes), each [2m+1].
    """
    b = _jacobi_kronrod(m)
    # symmetric weight function: the diagonal of the Jacobi matrix is zero
    matrix = np.diag(np.sqrt(b[1:]), 1)
    nodes, vectors = np.linalg.eigh(matrix + matrix.T)
    weights = 2.0 * vectors[0] ** 2
    nodes = (nodes - nodes[::-1]) / 2
    weights = (weights + weights[::-1]) / 2
    gauss = np.zeros(2 * m + 1)
    own_nodes, own_weights = np.polynomial.legendre.leggauss(m)
    # Kronrod nodes interlace with Gauss nodes: the Gauss nodes are those at odd positions
    nodes[1::2] = own_nodes
    gauss[1::2] = own_weights
    return nodes, weights / weights.sum() * 2.0, gauss


def _jacobi_kronrod(m: int) -> Array:
    """Off-diagonal coefficients b_0 … b_2m of the Jacobi-Kronrod matrix of the Legendre weight."""
    b = np.zeros(2 * m + 1)
    count = (3 * m + 1) // 2 + 1
    k = np.arange(1, count)
    b[0] = 2.0
    b[1:count] = k**2 / (4.0 * k**2 - 1.0)
    s = np.zeros(m // 2 + 2)
    t = np.zeros(m // 2 + 2)
    t[1] = b[m + 1]
    for r in range(m - 1):
        j = np.arange((r + 1) // 2, -1, -1)
        upper, lower = b[j + m + 1], b[r - j]
        s[j + 1] = np.cumsum(upper * s[j] - lower * s[j + 1])
        s, t = t, s
    j = np.arange(m // 2, -1, -1)
    s[j + 1] = s[j]
    for r in range(m - 1, 2 * m - 2):
        j = np.arange(r + 1 - m, (r - 1) // 2 + 1)
        low = r - j
        pos = m - 1 - low
        s[pos + 1] = np.cumsum(-b[j + m + 1] * s[pos + 1] + b[low] * s[pos + 2])
        k_last = (r + 1) // 2
        if r % 2 == 1:
            b[k_last + m + 1] = s[pos[-1] + 1] / s[pos[-1] + 2]
        s, t = t, s
    return b


__all__ = ["gauss_kronrod_nodes"]
