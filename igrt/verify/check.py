"""`Check`, one line of the table, and `Verification`, all of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from igrt.attribution import to_json, write_atomically
from igrt.errors import InputError


@final
@dataclass(frozen=True)
class Check:
    """What one check found.

    Args:
        name: What is checked, such as ``completeness``.
        figure: What was measured; None where nothing could be.
        limit: Bound on the figure.
        holds: Whether the figure keeps to the bound; None where the check could not be made.
        detail: What the figure is, over how many cases; or why there is none.
    """

    name: str
    figure: float | None
    limit: float | None
    holds: bool | None
    detail: str

    @classmethod
    def at_most(cls, name: str, figure: float, limit: float, detail: str) -> Check:
        """A figure that must not pass its limit; NaN does not hold."""
        return cls(name, float(figure), float(limit), bool(figure <= limit), detail)

    @classmethod
    def skipped(cls, name: str, why: str) -> Check:
        """A check that could not be made."""
        return cls(name, None, None, None, f"skipped: {why}")

    @property
    def verdict(self) -> str:
        """In one word or three: ``holds``, ``does not hold`` or ``skipped``."""
        return {True: "holds", False: "does not hold", None: "skipped"}[self.holds]


@final
@dataclass(frozen=True, repr=False)
class Verification:
    """The table of `igrt.verify`: figure, limit and verdict of every check.

    Args:
        checks: One entry per check, in the order of the documentation.
        model: Name of the model.
        method: Attribution method that was checked.
        target: Explained element of the output, per row.
        inputs: Where the inputs came from, in words.
        seconds: Wall-clock seconds.
        provenance: Model digest, versions and options: what repeats the result.
        extras: Further material of single checks for the page, such as curves, by name.
    """

    checks: tuple[Check, ...]
    model: str
    method: str
    target: tuple[Any, ...]
    inputs: str
    seconds: float
    provenance: Mapping[str, Any]
    extras: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def holds(self) -> bool:
        """Whether no check failed; those that could not be made do not count."""
        return not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that do not hold."""
        return tuple(c for c in self.checks if c.holds is False)

    def __getitem__(self, name: str) -> Check:
        """The check of that name."""
        for check in self.checks:
            if check.name == name:
                return check
        raise InputError(
            f"there is no check `{name}`",
            hint=f"there is {', '.join(f'`{c.name}`' for c in self.checks)}",
        )

    def summary(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {
            "model": self.model,
            "method": self.method,
            "target": list(self.target),
            "inputs": self.inputs,
            "holds": self.holds,
            "checks": [
                {
                    "name": c.name,
                    "figure": c.figure,
                    "limit": c.limit,
                    "holds": c.holds,
                    "detail": c.detail,
                }
                for c in self.checks
            ],
            "seconds": round(self.seconds, 3),
            "provenance": dict(self.provenance),
        }

    def to_json(self, indent: int | None = 2) -> str:
        """The table as JSON text."""
        return to_json(self.summary(), indent=indent)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the table as `.json` or as a self-contained `.html` page.

        Raises:
            InputError: If the suffix is neither, or the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() == ".json":
            text = self.to_json()
        elif path.suffix.lower() in (".html", ".htm"):
            from igrt.verify.page import document

            text = document(self)
        else:
            raise InputError(
                f"cannot write `{path}`: unknown suffix `{path.suffix}`",
                hint="use one of .json, .html",
            )
        write_atomically(path, lambda temporary: _write(temporary, text))
        return path

    def __repr__(self) -> str:
        from igrt.verify.table import table

        head = f"Verification({self.model}, {self.method}, {self.inputs}"
        return "\n".join([head, *(f"  {line}" for line in table(self.checks))]) + ")"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


__all__ = ["Check", "Verification"]
