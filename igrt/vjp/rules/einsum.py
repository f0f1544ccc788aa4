"""VJP rule of Einsum: an Einsum again."""

from collections.abc import Iterator, Sequence
from string import ascii_letters

from igrt.errors import UnsupportedOperator
from igrt.graph import Emitter, Node, Value
from igrt.specs import Dim, TensorSpec
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
    dims = _dims(terms, operands)
    _refuse_mistaken(equation, {e: d for e, d in dims.items() if e in equation and e in output})
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
        # ONNX's inference does not know that axes of size 1 are broadcast
        value = emit.known(TensorSpec(value.name, value.dtype, (None,) * len(kept)))
    if kept != target:
        lost = [axis for axis, letter in enumerate(target) if letter not in known]
        value = emit.Unsqueeze(value, lost)
    axes = list(_axes(x, terms[index]))
    if kept != target or any(e not in output and _stretches(d, dims[e]) for d, e in axes):
        value = emit.Expand(value, emit.shape(x))
    return sum_to(emit, value, x) if any(_stretched(d, dims[e]) for d, e in axes) else value


def _refuse_mistaken(equation: str, dims: dict[str, list[Dim]]) -> None:
    """ONNX's inference takes the size 1 for that of the output, and what follows for as small."""
    for letter, sizes in dims.items():
        if 1 in sizes and any(isinstance(d, int) and d != 1 for d in sizes):
            raise UnsupportedOperator(
                f"{letter} in {equation} stands for axes of the sizes {sizes}, for which ONNX "
                "infers no size",
                hint="expand the operand first",
            )


def _axes(x: Value, term: str) -> Iterator[tuple[Dim, str]]:
    return zip(x.shape or (None,) * len(term), term, strict=True)


def _dims(terms: Sequence[str], operands: Sequence[Value]) -> dict[str, list[Dim]]:
    """Sizes of all axes that a letter stands for; those of size 1 are broadcast."""
    found: dict[str, list[Dim]] = {}
    for term, operand in zip(terms, operands, strict=True):
        for dim, letter in _axes(operand, term):
            found.setdefault(letter, []).append(dim)
    return found


def _stretched(ours: Dim, dims: Sequence[Dim]) -> bool:
    """Whether our axis may have size 1 where another one has not."""
    if ours == 1:
        return any(d != 1 for d in dims)
    return not isinstance(ours, int) and _differ(dims)


def _stretches(ours: Dim, dims: Sequence[Dim]) -> bool:
    """Whether our axis may not have size 1 where all others have."""
    if ours == 1 or len(dims) == 1:
        return False
    others = list(dims)
    others.remove(ours)
    return all(d == 1 or not isinstance(d, int) for d in others) and _differ(dims)


def _differ(dims: Sequence[Dim]) -> bool:
    return len(dims) > 1 and (None in dims or any(d != dims[0] for d in dims))


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
