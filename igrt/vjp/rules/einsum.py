"""VJP rule of Einsum: an Einsum again."""

from collections.abc import Iterator, Sequence
from string import ascii_letters

from igrt.graph import Emitter, Node, Value
from igrt.vjp.broadcast import sum_to
from igrt.vjp.registry import vjp


@vjp("Einsum", "Inputs", variadic=True)
def einsum(emit: Emitter, node: Node, ct: Value, index: int) -> Value:
    """Xₖ‾ is the Einsum of Ȳ and the other operands with the letters of Xₖ as its output.

    A letter of Xₖ that occurs nowhere else was summed: its axis is expanded. One that Xₖ repeats
    took a diagonal: a unit matrix puts the numbers back there.
    """
    operands = [v for v in node.inputs if v is not None]
    equation = str(node.attr("equation")).replace(" ", "")
    terms, output, fresh = _spelled_out(equation, [v.rank for v in operands])
    x, target, units = operands[index], "", []
    for axis, letter in enumerate(terms[index]):
        if letter in target:
            other = next(fresh)
            size = emit.sizes(x, [axis])
            square = emit.Expand(emit.lift(0.0, x), emit.vector(size, size))
            units.append((letter + other, emit.EyeLike(square)))
            letter = other
        target += letter
    sources = [(output, ct)]
    sources += [(t, v) for i, (t, v) in enumerate(zip(terms, operands, strict=True)) if i != index]
    sources += units
    known = {letter for term, _ in sources for letter in term}
    kept = "".join(letter for letter in target if letter in known)
    value = ct
    if len(sources) > 1 or kept != output:
        value = emit.Einsum(
            *(v for _, v in sources), equation=f"{','.join(t for t, _ in sources)}->{kept}"
        )
        value = emit.typed(value, (None,) * len(kept))
    if kept != target:
        lost = [axis for axis, letter in enumerate(target) if letter not in known]
        return emit.Expand(emit.Unsqueeze(value, lost), emit.shape(x))
    # axes of the ellipsis may be broadcast, others where they have size 1
    stretched = "..." in equation or (x.shape is not None and 1 in x.shape)
    return sum_to(emit, value, x) if stretched else value


def _spelled_out(equation: str, ranks: Sequence[int]) -> tuple[list[str], str, Iterator[str]]:
    """The terms and the output with letters for the ellipsis, and letters that are still free."""
    left, arrow, output = equation.partition("->")
    fresh = iter([letter for letter in ascii_letters if letter not in equation])
    terms = left.split(",")
    hidden = [r - len(t) + 3 for r, t in zip(ranks, terms, strict=True) if "..." in t]
    ellipsis = "".join(next(fresh) for _ in range(max(hidden, default=0)))
    if not arrow:
        letters = left.replace(",", "").replace("...", "")
        output = "..." + "".join(sorted({c for c in letters if letters.count(c) == 1}))
    spelled = []
    for rank, term in zip(ranks, terms, strict=True):
        count = rank - len(term) + 3
        spelled.append(term.replace("...", ellipsis[len(ellipsis) - count :] if count else ""))
    return spelled, output.replace("...", ellipsis), fresh
