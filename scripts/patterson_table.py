"""Write igrt/quadrature/patterson_table.py: nested Gauss-Kronrod-Patterson rules to 255 nodes.

Patterson (1968) extends a rule of n nodes by the n + 1 zeros of the polynomial E with

    ∫ P(x) E(x) x^k dx = 0   for k = 0 … n,    P(x) = Π (x - x_i),

starting from the 3-point Gauss rule; its first extension is the 7-point Gauss-Kronrod rule. The
weights of each rule are interpolatory, and so are those for the weight function -ln t, which are
nearly undetermined in double precision (the condition number is 6e12 at 127 nodes). All in
150-digit arithmetic, written to 20.

    python scripts/patterson_table.py     (needs mpmath; about two minutes)
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from mpmath import mp, mpf

mp.dps = 150
LEVELS = (3, 7, 15, 31, 63, 127, 255)
LOGARITHMIC = LEVELS[1:6]
"""Levels that have weights for -ln t as well."""


def legendre(degree: int, x: mpf) -> tuple[mpf, mpf]:
    """P_n(x) and P_n'(x)."""
    before, value = mpf(1), x
    for k in range(2, degree + 1):
        before, value = value, ((2 * k - 1) * x * value - (k - 1) * before) / k
    return value, degree * (x * value - before) / (x * x - 1)


def gauss(n: int) -> list[tuple[mpf, mpf]]:
    """Nodes and weights of the n-point Gauss-Legendre rule on [-1, 1]."""
    rule = []
    for i in range(1, n + 1):
        x = mp.cos(mp.pi * (mpf(i) - mpf(1) / 4) / (n + mpf(1) / 2))
        if n % 2 and i == (n + 1) // 2:
            x = mpf(0)
        for _ in range(12):
            value, slope = legendre(n, x)
            x -= value / slope
        slope = legendre(n, x)[1]
        rule.append((x, 2 / ((1 - x * x) * slope * slope)))
    return rule


def extend(nodes: list[mpf]) -> list[mpf]:
    """The n + 1 nodes that Patterson adds to n nodes, positive half with zero left out."""
    n = len(nodes)
    exact = gauss((3 * n + 1) // 2 + 2)
    # E is even (n is odd, so n + 1 is even): E = Σ a_j P_2j, monic up to scale with a_last = 1
    half = (n + 1) // 2
    at = []
    for x, w in exact:
        product = mpf(1)
        for node in nodes:
            product *= x - node
        values = [mpf(1), x]
        for k in range(2, n + 2):
            values.append(((2 * k - 1) * x * values[-1] - (k - 1) * values[-2]) / k)
        at.append((w * product, values))
    matrix, right = mp.matrix(half, half), mp.matrix(half, 1)
    for row in range(half):
        k = 2 * row + 1  # P is odd, so only odd test functions give conditions
        for j in range(half):
            matrix[row, j] = mp.fsum(wp * v[2 * j] * v[k] for wp, v in at)
        right[row] = -mp.fsum(wp * v[n + 1] * v[k] for wp, v in at)
    solved = mp.lu_solve(matrix, right)
    coefficients = [*(solved[j] for j in range(half)), mpf(1)]

    def value(x: mpf) -> mpf:
        before, now, total = mpf(1), x, coefficients[0]
        for k in range(2, n + 2):
            before, now = now, ((2 * k - 1) * x * now - (k - 1) * before) / k
            if k % 2 == 0:
                total += coefficients[k // 2] * now
        return total

    ends = [mpf(0), *sorted(x for x in nodes if x > 0), mpf(1)]
    found = []
    for low, high in pairwise(ends):
        found.append(mp.findroot(value, (low, high), solver="anderson", tol=mpf(10) ** -120))
    return found


def weights(nodes: list[mpf]) -> list[mpf]:
    """Interpolatory weights on [-1, 1]."""
    exact = gauss(len(nodes) // 2 + 1)
    result = []
    for x in nodes:
        slope = mpf(1)
        for other in nodes:
            if other != x:
                slope *= x - other
        total = mpf(0)
        for q, w in exact:
            product = mpf(1)
            for other in nodes:
                if other != x:
                    product *= q - other
            total += w * product
        result.append(total / slope)
    return result


def log_weights(nodes: list[mpf]) -> list[mpf]:
    """Interpolatory weights for ∫₀¹ -ln t f(t) dt, nodes on [-1, 1].

    Solved from the integrals of the shifted Legendre polynomials: 1, then (-1)^m / (m(m + 1)).
    """
    n = len(nodes)
    matrix, right = mp.matrix(n, n), mp.matrix(n, 1)
    right[0] = mpf(1)
    for column, x in enumerate(nodes):
        matrix[0, column], matrix[1, column] = mpf(1), x
        for m in range(2, n):
            before, now = matrix[m - 2, column], matrix[m - 1, column]
            matrix[m, column] = ((2 * m - 1) * x * now - (m - 1) * before) / m
    for m in range(1, n):
        right[m] = mpf((-1) ** m) / (m * (m + 1))
    return list(mp.lu_solve(matrix, right))


def main() -> None:
    """Compute every level and write the table for [0, 1], nodes below 1/2 and 1/2 itself."""
    nodes = sorted(x for x, _ in gauss(3))
    level_nodes = {3: nodes}
    for size in LEVELS[1:]:
        new = extend(nodes)
        nodes = sorted([*nodes, *new, *(-x for x in new)])
        assert len(nodes) == size
        level_nodes[size] = nodes
    seen: list[mpf] = []
    lines = []
    for size in LEVELS:
        fresh = [
            x for x in level_nodes[size] if x <= 0 and not any(abs(x - s) < 1e-60 for s in seen)
        ]
        seen.extend(fresh)
        lines.append((size, fresh))
    text = [
        '"""Nested Gauss-Kronrod-Patterson rules on [0, 1], by scripts/patterson_table.py."""',
        "",
        "# Half of each symmetric rule: the nodes up to 1/2 that a level adds to those before it.",
        "NODES: dict[int, tuple[float, ...]] = {",
    ]
    for size, fresh in lines:
        text.append(f"    {size}: (")
        text += [f"        {mp.nstr((x + 1) / 2, 20)}," for x in fresh]
        text.append("    ),")
    text += [
        "}",
        "",
        "# Weights of the whole rule at all nodes so far, in the order of NODES.",
        "WEIGHTS: dict[int, tuple[float, ...]] = {",
    ]
    for size in LEVELS:
        everywhere = level_nodes[size]
        of_node = dict(zip(everywhere, weights(everywhere), strict=True))
        text.append(f"    {size}: (")
        for x in seen:
            match = [w for y, w in of_node.items() if abs(x - y) < 1e-60]
            if match:
                text.append(f"        {mp.nstr(match[0] / 2, 20)},")
        text.append("    ),")
    text += [
        "}",
        "",
        "# Weights for -ln t at all nodes so far: of each level NODES and their mirror image.",
        "LOG_WEIGHTS: dict[int, tuple[float, ...]] = {",
    ]
    order: list[mpf] = []
    for size, fresh in lines:
        order += [*fresh, *(-x for x in fresh if x)]
        if size in LOGARITHMIC:
            text.append(f"    {size}: (")
            text += [f"        {mp.nstr(w, 20)}," for w in log_weights(order)]
            text.append("    ),")
    text.append("}")
    target = Path(__file__).parents[1] / "igrt" / "quadrature" / "patterson_table.py"
    target.write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
