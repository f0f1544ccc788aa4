"""torch and Captum on the same model, as a converter gives it."""

from __future__ import annotations

import importlib
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, final

import numpy as np

from igrt.attribution import Attribution
from igrt.errors import IgrtError, InputError
from igrt.explainer import Explainer
from igrt.measure.measurement import Peer

_BATCHES = (1, 2, 4, 8, 16, 32)
_STEPS = 50
"""Gradient evaluations of Captum's default, of the Gauss-Legendre rule."""

_SAME = 1e-3
"""Relative difference of outputs up to which a converted model is the model."""


@final
class Torch:
    """A model in torch, its gradient and Captum's explanation.

    Args:
        explainer: The same model in igrt.
        model: Path or bytes.
        inputs: As given to `measure`.
        baselines: Likewise.
        threads: Threads of torch; None for its own choice.

    Raises:
        InputError: If torch, Captum or a converter is missing, or the model is not one of a single
            float input, cannot be converted, or gives something else in torch.
    """

    def __init__(
        self,
        explainer: Explainer,
        model: str | Path | bytes,
        inputs: Any,
        baselines: Any,
        threads: int | None,
    ) -> None:
        self._torch, captum = _imported("torch", "captum.attr")
        if threads is not None:
            self._torch.set_num_threads(threads)
        placed = explainer._placing.place(inputs, baselines)
        (name, *more) = placed.ends.inputs
        fed = [s.name for s in explainer.inputs]
        if more or fed != [name] or not placed.engine.batched:
            raise InputError(
                "a comparison with Captum takes a model with one float input, which has a batch "
                f"axis; this one has {', '.join(f'`{n}`' for n in fed)}",
                hint="leave out --peer",
            )
        self._rows = self._torch.from_numpy(placed.ends.inputs[name])
        begin = placed.ends.baselines[name][placed.ends.pool[:, 0]]
        self._begin = self._torch.from_numpy(np.ascontiguousarray(begin))
        self.converter, net = _converted(model)
        self._net = _output(net, explainer, self._rows, placed.outputs)
        self._captum = captum.IntegratedGradients(self._net)
        self._batch = 0
        self._steps: list[float] = []
        self._whole: list[float] = []
        self._found: Any = None

    def time(self, target: Sequence[Any]) -> None:
        """One round: gradient evaluations, and an explanation by Captum's defaults."""
        wanted = [t if isinstance(t, tuple) else int(t) for t in target]
        if not self._batch:
            taken = {}
            for batch in _BATCHES:
                self._step(batch, wanted[0])
                taken[batch] = self._step(batch, wanted[0])
            self._batch = min(taken, key=lambda b: taken[b])
        self._steps.append(self._step(self._batch, wanted[0]))
        start = time.perf_counter()
        self._found = self._captum.attribute(
            self._rows,
            self._begin,
            target=wanted,
            n_steps=_STEPS,
            internal_batch_size=max(self._batch, len(wanted)),
        )
        self._whole.append(time.perf_counter() - start)

    def _step(self, batch: int, target: Any) -> float:
        """Seconds of one of some gradient evaluations at once."""
        x = self._rows[:1].repeat(batch, *(1,) * (self._rows.ndim - 1)).requires_grad_()
        of = target if isinstance(target, tuple) else (target,)
        start = time.perf_counter()
        score = self._net(x)[(slice(None), *of)].sum()
        self._torch.autograd.grad(score, x)
        return (time.perf_counter() - start) / batch

    def figures(self, ours: Attribution) -> Peer:
        """Medians, and how far Captum's attribution is from igrt's."""
        (values,) = ours.values.values()
        theirs = self._found.detach().numpy().reshape(values.shape)
        size = float(np.abs(values).sum())
        return Peer(
            converter=self.converter,
            evaluation=median(self._steps),
            batch=self._batch,
            seconds=median(self._whole),
            evaluations=_STEPS * len(ours),
            apart=float(np.abs(theirs - values).sum()) / size if size else 0.0,
        )


def _imported(*names: str) -> list[Any]:
    try:
        return [importlib.import_module(n) for n in names]
    except ImportError as error:
        raise InputError(
            f"a comparison with Captum needs torch and captum: {error}",
            hint="pip install captum onnx2torch",
        ) from None


def _onnx2torch(model: str | Path | bytes) -> Any:
    import onnx

    convert = importlib.import_module("onnx2torch").convert
    return convert(onnx.load(io.BytesIO(model)) if isinstance(model, bytes) else str(model))


def _onnx2pytorch(model: str | Path | bytes) -> Any:
    import onnx

    made = importlib.import_module("onnx2pytorch").ConvertModel
    given = io.BytesIO(model) if isinstance(model, bytes) else str(model)
    return made(onnx.load(given), experimental=True)  # for batches of more than one row


_CONVERTERS: dict[str, Callable[[str | Path | bytes], Any]] = {
    "onnx2torch": _onnx2torch,
    "onnx2pytorch": _onnx2pytorch,
}


def _converted(model: str | Path | bytes) -> tuple[str, Any]:
    """The model by the first converter that takes it, and which one that is."""
    reasons = []
    for name, convert in _CONVERTERS.items():
        try:
            return name, convert(model).eval().requires_grad_(False)
        except ImportError as error:
            reasons.append(str(error))
        except Exception as error:  # whatever a converter does with what it does not know
            said = str(error).splitlines() or [type(error).__name__]
            reasons.append(f"{name}: {type(error).__name__}: {said[0]}")
    raise InputError(
        f"no converter makes a torch module of this model: {'; '.join(reasons)}",
        hint="pip install onnx2torch, or leave out --peer",
    )


def _output(net: Any, explainer: Explainer, rows: Any, expected: Any) -> Any:
    """The module as a function to the explained output, which it must agree with."""
    names = [o.name for o in explainer._loaded.proto.graph.output]
    try:
        made = net(rows)
        several = isinstance(made, (tuple, list))
        if explainer.of.name not in names or (several and len(made) != len(names)):
            raise InputError(
                f"`{explainer.of.name}` is no output of the converted model",
                hint="explain an output of the model, or leave out --peer",
            )
        place = names.index(explainer.of.name)
        y = (made[place] if several else made).detach().numpy()
    except IgrtError:
        raise
    except Exception as error:
        said = str(error).splitlines() or [type(error).__name__]
        raise InputError(
            f"the converted model does not run: {said[0]}", hint="leave out --peer"
        ) from None
    if y.shape != expected.shape or not np.allclose(
        y, expected, rtol=_SAME, atol=_SAME * float(np.abs(expected).max())
    ):
        raise InputError(
            "the converted model gives something else than the model", hint="leave out --peer"
        )
    return (lambda x: net(x)[place]) if several else net


__all__ = ["Torch"]
