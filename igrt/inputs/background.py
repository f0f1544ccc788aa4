"""Baselines from files: an example, the mean of a table of them, or some of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np

from igrt.errors import InputError
from igrt.inputs.files import Loaded
from igrt.inputs.suggest import did_you_mean
from igrt.specs import Array


@final
@dataclass(frozen=True)
class Background:
    """A file of examples, and what of them is a baseline.

    Args:
        file: The file.
        mean: Whether it is the mean of the examples.
        count: How many of them are drawn; None for all.
    """

    file: Path
    mean: bool = False
    count: int | None = None

    @classmethod
    def named(cls, text: str) -> Background:
        """``mean:FILE``, ``sample:N:FILE``, or the name of a file for what is in it.

        Raises:
            InputError: If N is no number of examples, or no file is named.
        """
        kind, _, rest = text.partition(":")
        if kind == "mean" and rest:
            return cls(Path(rest), mean=True)
        if kind != "sample":
            return cls(Path(text))
        count, _, file = rest.partition(":")
        if not file or not count.isdecimal() or int(count) == 0:
            raise InputError(
                f"cannot tell what the baseline {text!r} is",
                hint="write sample:20:background.csv for 20 of the rows of a file",
            )
        return cls(Path(file), count=int(count))

    def of(self, tables: Mapping[str, Loaded], seed: int) -> list[dict[str, Array]]:
        """Baselines to be averaged over, each an array [examples, ...] per input.

        Args:
            tables: What was read from the file, per input.
            seed: Seed of the draw, which is without repetition.

        Raises:
            InputError: If more are to be drawn than there are.
        """
        arrays = {n: t.array for n, t in tables.items()}
        if self.mean:
            return [{n: _mean(a) for n, a in arrays.items()}]
        if self.count is None:
            return [arrays]
        held = len(next(iter(arrays.values())))
        if self.count > held:
            raise InputError(
                f"cannot draw {self.count} examples from {self.file}, which has {held}",
                hint=f"draw fewer, or take the mean of all: mean:{self.file}",
            )
        drawn = np.random.default_rng(seed).choice(held, self.count, replace=False)
        return [{n: a[i : i + 1] for n, a in arrays.items()} for i in sorted(drawn)]


def _mean(examples: Array) -> Array:
    """Mean over the examples, [1, ...], summed in float64."""
    return np.asarray(np.mean(examples, axis=0, keepdims=True, dtype=np.float64))


def ordered(where: str, table: Loaded, features: tuple[str, ...]) -> Loaded:
    """A table with its columns in the order of the input's, where both have names.

    Args:
        where: What the table is called in errors.
        table: The table.
        features: Names of the input's columns; empty if it has none.

    Raises:
        InputError: If their names are not the same.
    """
    if not table.features or not features or table.features == features:
        return table
    for one, other, said in (
        (features, table.features, "lacks the column `{}` of the input"),
        (table.features, features, "has the column `{}`, which the input lacks"),
    ):
        for name in one:
            if name not in other:
                hint = did_you_mean(name, other, "give both the same features")
                raise InputError(f"{where} {said.format(name)}", hint=hint)
    if len(set(features)) < len(features) or len(table.features) != len(features):
        raise InputError(
            f"{where} has the columns of the input in another order, and some of one name",
            hint="give every column a name of its own",
        )
    order = [table.features.index(name) for name in features]
    return replace(table, array=table.array[..., order], features=features)


__all__ = ["Background", "ordered"]
