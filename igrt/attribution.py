"""What comes back: `Attribution`, the one result type of every method."""

from __future__ import annotations

import json
import math
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, astuple, dataclass, field, fields
from pathlib import Path
from typing import Any, final

import numpy as np

from igrt.errors import InputError
from igrt.features import Feature, features_of
from igrt.selection import Index, written
from igrt.specs import Array, Display, Graph, Token

_NPZ_RECORD = "igrt/result"
"""Entry of an `.npz` file that holds everything but the attributions, as JSON text."""


@final
@dataclass(frozen=True, repr=False)
class Attribution:
    """Attributions of one or more rows, with everything needed to judge and repeat them.

    A *row* is one example explained for one target; several targets per example (``top3``) give
    several rows. Every per-row field has one entry per row, also when there is one row only.

    Args:
        values: Attribution per attributed tensor, float64, in the shape of that tensor.
        target: What of the output is explained, per row: a class, one index per output axis, or as
            text a sum, ``"sum[:, 5]"``, or a mask, ``"mask:FILE.npy"``.
        output: F(x) per row, [rows] float64.
        baseline_output: F(x') per row, averaged over the baselines, [rows] float64.
        delta: Completeness gap sum(values) - (F(x) - F(x')), per row, [rows] float64; NaN for a
            method that has slopes rather than shares of the change.
        error: Estimated quadrature or sampling error relative to the L1 norm, [rows]; 0 for a
            method that integrates nothing, whatever else may be said of it.
        evaluations: Gradient evaluations spent, [rows] int64; products of the Hessian with a vector
            for ``integrated_hessians``.
        rule: Quadrature rule; ``none`` for a method that integrates nothing.
        method: Attribution method.
        provider: Execution provider that really ran.
        seconds: Wall-clock seconds of the whole call.
        provenance: Model digest, versions, opset, seed and options: what repeats the result.
        example: Which example of the call each row belongs to, [rows] int64.
        inputs: The explained inputs, one entry per row along their batch axis.
        scores: The whole explained output at x, [rows, ...], for showing the top classes.
        tolerance: Relative error asked for; None for a fixed number of steps.
        batched: Whether arrays in `values`, `inputs` and `interactions` have a leading row axis.
        display: What people need to see beside the numbers.
        interactions: What pairs of features make together, per attributed tensor: [rows, features
            of the tensor, features of all tensors in their order] float64, whose rows sum to
            `values`; empty but for ``integrated_hessians``.
    """

    values: Mapping[str, Array]
    target: tuple[Index, ...]
    output: Array
    baseline_output: Array
    delta: Array
    error: Array
    evaluations: Array
    rule: str
    method: str
    provider: str
    seconds: float
    provenance: Mapping[str, Any]
    example: Array
    inputs: Mapping[str, Array]
    scores: Array
    tolerance: float | None = None
    batched: bool = True
    display: Display = field(default_factory=Display, compare=False)
    interactions: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", tuple(map(_index, self.target)))

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.target)

    @property
    def relative_delta(self) -> Array:
        """`delta` relative to |F(x) - F(x')|, per row; 0 where both vanish, [rows] float64."""
        change = np.abs(self.output - self.baseline_output)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = self.delta / change
        return np.where(self.delta == 0, 0.0, relative)

    @property
    def converged(self) -> Array:
        """Whether the estimated error met the tolerance (fixed rules: always), [rows] bool."""
        if self.tolerance is None:
            return np.ones(len(self), dtype=bool)
        return np.asarray(self.error <= self.tolerance)

    def row(self, index: int) -> dict[str, Array]:
        """Attribution of one row per tensor, without the row axis."""
        if not -len(self) <= index < len(self):
            raise InputError(f"row {index} of a result with {len(self)} rows")
        return {n: v[index] if self.batched else v for n, v in self.values.items()}

    def input_row(self, index: int) -> dict[str, Array]:
        """Explained input of one row per tensor, without the row axis."""
        return {n: v[index] if self.batched else v for n, v in self.inputs.items()}

    def interaction_row(self, index: int) -> dict[str, Array]:
        """Interactions of one row per tensor, [features, all features]; empty where there are none.

        Raises:
            InputError: If there is no such row.
        """
        self.row(index)
        return {n: v[index] if self.batched else v for n, v in self.interactions.items()}

    def top(self, index: int, count: int = 5) -> list[tuple[int, float]]:
        """The `count` highest scores of a row's flat output as (class, score), highest first."""
        scores = np.asarray(self.scores[index], dtype=np.float64).reshape(-1)
        order = np.argsort(-scores, kind="stable")[:count]
        return [(int(i), float(scores[i])) for i in order]

    def label(self, index: int) -> str:
        """A row's target with the label of its class, or with its index where none is known."""
        return written(self.target[index], self.scores.shape[1:], self.display.labels)

    def tokens(self, index: int) -> dict[str, list[dict[str, Any]]]:
        """Text, kind and attribution of every token of a row, per tensor that has tokens.

        The attribution of a token is the sum over the axes behind that of the positions.
        """
        values, example = self.row(index), int(self.example[index])
        return {
            name: [
                {"text": token.text, "kind": token.kind, "attribution": float(value.sum())}
                for token, value in zip(texts[example], values[name], strict=True)
            ]
            for name, texts in self._texts.items()
        }

    @property
    def _texts(self) -> dict[str, tuple[tuple[Token, ...], ...]]:
        return {n: t for n, t in self.display.tokens.items() if n in self.values}

    def summary(self) -> dict[str, Any]:
        """The numbers without the arrays, for JSON; one row gives numbers, more give lists."""

        def per_row(values: Any) -> Any:
            listed = [_plain(v) for v in values]
            return listed[0] if len(self) == 1 else listed

        classes = sum(size != 1 for size in self.scores.shape[1:]) <= 1
        tops = [
            [
                {"target": i, "label": self.display.label(i), "score": s}
                for i, s in (self.top(r) if classes else ())
            ]
            for r in range(len(self))
        ]
        named = {
            name: [
                {"feature": feature.name, "attribution": per_row(self._of(name, feature))}
                for feature in features
            ]
            for name, values in self.values.items()
            if (features := features_of(self.display, name, values.shape[-1] if values.ndim else 0))
        }
        return {
            "method": self.method,
            "rule": self.rule,
            "target": per_row(self.target),
            "label": per_row([self.label(r) for r in range(len(self))]),
            "example": per_row(self.example),
            "output": per_row(self.output),
            "baseline_output": per_row(self.baseline_output),
            "delta": per_row(self.delta),
            "relative_delta": per_row(self.relative_delta),
            "error": per_row(self.error),
            "tolerance": self.tolerance,
            "converged": per_row(self.converged),
            "evaluations": per_row(self.evaluations),
            "top": per_row(tops),
            **({"features": named} if named else {}),
            "provider": self.provider,
            "seconds": round(self.seconds, 6),
            "provenance": dict(self.provenance),
            **({"tokens": per_row(map(self.tokens, range(len(self))))} if self._texts else {}),
        }

    def _of(self, name: str, feature: Feature) -> Array:
        """Attribution of a feature in each row, summed over all axes but the last as well."""
        summed = feature.summed(self.values[name])
        return np.asarray(summed.reshape(len(self), -1).sum(axis=1))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the result in the format of the suffix: `.npz`, `.json`, `.png` or `.html`.

        The file appears whole or not at all.

        Raises:
            InputError: If the suffix is none of these, or the file cannot be written.
        """
        path = Path(path)
        writers: dict[str, Callable[[Path], None]] = {
            ".npz": self._write_npz,
            ".json": self._write_json,
            ".png": self._write_png,
            ".html": self._write_html,
        }
        writer = writers.get(path.suffix.lower())
        if writer is None:
            raise InputError(
                f"cannot write `{path}`: unknown suffix `{path.suffix}`",
                hint=f"use one of {', '.join(writers)}",
            )
        write_atomically(path, writer)
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Attribution:
        """Read back what `save` wrote as `.npz`; pictures are not kept in it.

        Raises:
            InputError: If the file is missing, no result of igrt, or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                record = json.loads(str(archive[_NPZ_RECORD]))
                arrays = {n: archive[n] for n in archive.files if n != _NPZ_RECORD}
        except KeyError:
            raise InputError(f"`{path}` is not a result saved by igrt") from None
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"cannot read `{path}`: {error}") from None
        prefix = "igrt/field/"
        stored = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
        inputs, interactions = (
            {n.removeprefix(kind): stored.pop(n) for n in list(stored) if n.startswith(kind)}
            for kind in ("input/", "interactions/")
        )
        values = {n: a for n, a in arrays.items() if not n.startswith("igrt/")}
        shown = record.pop("display")
        display = Display(
            labels=tuple(shown["labels"]),
            features={n: tuple(f) for n, f in shown["features"].items()},
            groups={
                n: {name: tuple(columns) for name, columns in groups.items()}
                for n, groups in shown["groups"].items()
            },
            layouts=shown["layouts"],
            rates=shown["rates"],
            sources=tuple(shown["sources"]),
            tokens={
                n: tuple(tuple(Token(*token) for token in text) for text in texts)
                for n, texts in shown["tokens"].items()
            },
            graphs=tuple(_graph(record) for record in shown["graphs"]),
        )
        return cls(
            values=values,
            inputs=inputs,
            interactions=interactions,
            display=display,
            **stored,
            **record,
        )

    def _write_npz(self, path: Path) -> None:
        arrays: dict[str, Array] = dict(self.values)
        record: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray):
                arrays[f"igrt/field/{item.name}"] = value
            elif item.name not in {"values", "inputs", "interactions", "display"}:
                record[item.name] = value
        arrays.update({f"igrt/field/input/{n}": a for n, a in self.inputs.items()})
        arrays.update({f"igrt/field/interactions/{n}": a for n, a in self.interactions.items()})
        record["display"] = {
            "labels": self.display.labels,
            "features": dict(self.display.features),
            "groups": dict(self.display.groups),
            "layouts": dict(self.display.layouts),
            "rates": dict(self.display.rates),
            "sources": self.display.sources,
            "tokens": {
                name: [[astuple(token) for token in text] for text in texts]
                for name, texts in self.display.tokens.items()
            },
            "graphs": [asdict(graph) for graph in self.display.graphs],
        }
        arrays[_NPZ_RECORD] = np.asarray(json.dumps(record, default=_plain))
        # not np.savez: it takes names as keywords, and a tensor may be called `file`
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)

    def _write_json(self, path: Path) -> None:
        document = self.summary() | {"values": {n: v.tolist() for n, v in self.values.items()}}
        if self.interactions:
            document["interactions"] = {n: v.tolist() for n, v in self.interactions.items()}
        path.write_text(to_json(document), encoding="utf-8")

    def _write_png(self, path: Path) -> None:
        from igrt.render import png

        png.write(self, path)

    def _write_html(self, path: Path) -> None:
        from igrt.render import html

        html.write(self, path)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{n}: {list(v.shape)}" for n, v in self.values.items())
        lines = [f"Attribution({self.method}, {self.rule}, {self.provider}; {shapes}"]
        lines += [
            f"  {self.label(r)}: F(x) = {self.output[r]:.6g}, F(x') = "
            f"{self.baseline_output[r]:.6g}, delta = {self.delta[r]:.2e}, "
            f"error = {self.error[r]:.1e}, {self.evaluations[r]} evaluations"
            for r in range(min(len(self), 8))
        ]
        if len(self) > 8:
            lines.append(f"  … {len(self) - 8} more rows")
        return "\n".join(lines) + ")"


def _graph(record: Mapping[str, Any]) -> Graph:
    """A graph as JSON has it, with lists for tuples."""
    pairs = {n: tuple(tuple(pair) for pair in record[n]) for n in ("edges", "places")}
    names = {n: tuple(record[n]) for n in ("nodes", "kinds")}
    return Graph(**{**record, **pairs, **names})


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it to `path`.

    Raises:
        InputError: If the folder does not exist or cannot be written.
    """
    try:
        handle, temporary = tempfile.mkstemp(
            prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent
        )
        os.close(handle)
    except OSError as error:
        raise InputError(
            f"cannot write `{path}`: {error.strerror}", hint="check that the folder exists"
        ) from None
    try:
        write(Path(temporary))
        # mkstemp makes private files; a result is as public as the user's umask says
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(
            f"cannot write `{path}`: {error.strerror or error}",
            hint="check that it is no folder, and the space on the disk",
        ) from None
    finally:
        Path(temporary).unlink(missing_ok=True)


def to_json(document: Any, indent: int | None = None) -> str:
    """JSON text; NaN and infinity, which JSON lacks, become null."""
    return json.dumps(_finite(document), indent=indent, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    value = _plain(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list) else value


def _index(target: Any) -> Index:
    """A target of Python's own numbers."""
    if isinstance(target, str):
        return target
    return tuple(map(int, target)) if isinstance(target, (tuple, list)) else int(target)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple):
        return list(value)
    return value


__all__ = ["Attribution", "to_json", "write_atomically"]
