"""`Measurement`: the figures of one model on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final


@final
@dataclass(frozen=True)
class Peer:
    """Captum on the same model, converted to torch, in turns with igrt.

    Args:
        converter: What made the torch module.
        evaluation: Seconds of a gradient evaluation at its best batch.
        batch: That batch, Captum's `internal_batch_size`.
        seconds: Seconds of an explanation by Captum's defaults.
        evaluations: Gradient evaluations in it.
        apart: Relative L1 difference of its attribution from igrt's.
    """

    converter: str
    evaluation: float
    batch: int
    seconds: float
    evaluations: int
    apart: float


@final
@dataclass(frozen=True)
class Measurement:
    """What an explanation of one example takes; medians where something was done several times.

    Args:
        model: Name of the model.
        provider: Execution provider that ran it.
        threads: Threads asked for; None for onnxruntime's choice.
        inputs: What was explained, in words.
        chunk: Rows per run.
        at_once: Runs at the same time.
        forward: Seconds of a row of the model alone, in chunks of the same size.
        evaluation: Seconds of a gradient evaluation, all that is around the model included.
        around: Share of an evaluation that is not the model's: points, sums, Python.
        flops: Operations in the matrix products of an evaluation; None where they depend on data.
        rate: Operations a second of a large matrix product on the same provider and threads.
        predicted: Bytes that the explanation takes beside the loaded model, by count.
        loaded: Bytes resident in a fresh process after an explanation of one evaluation.
        peak: Most bytes resident in it until the whole explanation was there.
        tolerance: Relative error of the explanation.
        seconds: Seconds of the explanation, from warm sessions to the result.
        evaluations: Gradient evaluations in it.
        error: Its estimated relative error.
        rounds: How many times each was timed.
        provenance: Versions and digest.
        peer: The same in torch, where it was asked for.
    """

    model: str
    provider: str
    threads: int | None
    inputs: str
    chunk: int
    at_once: int
    forward: float
    evaluation: float
    around: float
    flops: int | None
    rate: float
    predicted: int
    loaded: int
    peak: int
    tolerance: float
    seconds: float
    evaluations: int
    error: float
    rounds: int
    provenance: Mapping[str, Any]
    peer: Peer | None = None

    @property
    def to_forward(self) -> float:
        """A gradient evaluation, which includes a forward pass, relative to the pass alone."""
        return self.evaluation / self.forward

    @property
    def share(self) -> float | None:
        """Operations a second of the matrix products in an evaluation, relative to `rate`."""
        return None if self.flops is None else self.flops / self.evaluation / self.rate

    def summary(self) -> dict[str, Any]:
        """All of it for JSON."""
        peer = self.peer
        return {
            "model": self.model,
            "provider": self.provider,
            "threads": self.threads,
            "inputs": self.inputs,
            "rounds": self.rounds,
            "forward_ms": 1e3 * self.forward,
            "evaluation_ms": 1e3 * self.evaluation,
            "ratio_to_forward": self.to_forward,
            "around_model": self.around,
            "product_flops": self.flops,
            "product_rate": self.rate,
            "share_of_product_rate": self.share,
            "chunk": self.chunk,
            "at_once": self.at_once,
            "predicted_bytes": self.predicted,
            "loaded_bytes": self.loaded,
            "peak_bytes": self.peak,
            "tolerance": self.tolerance,
            "seconds": self.seconds,
            "evaluations": self.evaluations,
            "error": self.error,
            "peer": peer
            and {
                "name": "captum",
                "converter": peer.converter,
                "evaluation_ms": 1e3 * peer.evaluation,
                "batch": peer.batch,
                "seconds": peer.seconds,
                "evaluations": peer.evaluations,
                "difference": peer.apart,
                "ratio_of_evaluations": self.evaluation / peer.evaluation,
                "ratio_of_seconds": self.seconds / peer.seconds,
            },
            "provenance": dict(self.provenance),
        }


__all__ = ["Measurement", "Peer"]
