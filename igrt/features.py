"""Features of a table: columns by name, and the columns of a group summed into one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from igrt.specs import Array, Display


@final
@dataclass(frozen=True)
class Feature:
    """What has one number of its own in pictures and in JSON.

    Args:
        name: Name of the column, or of the group.
        columns: Positions along the last axis; several for a group.
        words: What a one in each column of a group means, such as ``red``; empty for a column.
    """

    name: str
    columns: tuple[int, ...]
    words: tuple[str, ...] = ()

    def summed(self, values: Array) -> Array:
        """Attribution of the feature, [...]: the sum over its columns of [..., columns]."""
        return np.asarray(values[..., list(self.columns)].sum(axis=-1))

    def word(self, given: Array) -> str:
        """What a one-hot group says in one row [columns]: ``red``, or nothing if it says none."""
        here = given[list(self.columns)]
        ones = [w for w, x in zip(self.words, here, strict=True) if x == 1]
        return ones[0] if len(ones) == 1 and np.count_nonzero(here) == 1 else ""


def features_of(display: Display, tensor: str, width: int) -> tuple[Feature, ...]:
    """Features of a tensor in the order of its columns; none where their names are not known.

    A group stands where its first column stood.

    Args:
        display: What is known of the columns.
        tensor: Name of the tensor.
        width: Length of its last axis, without which names and groups mean nothing.
    """
    names = display.features.get(tensor, ())
    if len(names) != width:
        return ()
    groups = display.groups.get(tensor, {})
    grouped = {at for columns in groups.values() for at in columns}
    found = [Feature(name, (at,)) for at, name in enumerate(names) if at not in grouped]
    found += [Feature(n, c, _words(n, [names[at] for at in c])) for n, c in groups.items()]
    return tuple(sorted(found, key=lambda f: min(f.columns)))


def _words(group: str, names: list[str]) -> tuple[str, ...]:
    """Column names without the name of their group and what joins the two."""
    if all(n.startswith(group) and len(n) > len(group) + 1 for n in names):
        return tuple(n[len(group) + 1 :] for n in names)
    return tuple(names)


__all__ = ["Feature", "features_of"]
