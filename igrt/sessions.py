"""`Sessions`: opens the graphs that are made of one model, the way that the user asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, final

from igrt.derived import Derived
from igrt.errors import InputError
from igrt.gradient import GradientGraph
from igrt.precision import check
from igrt.runtime import cuda
from igrt.runtime.cores import cores
from igrt.runtime.lane import LaneMaker
from igrt.runtime.ort import give_back
from igrt.runtime.plan import require_positive
from igrt.runtime.providers import Cuda
from igrt.runtime.session import Arena, OrtSession, Session, on_host
from igrt.weights import Shared, Weights

_CUDA = Cuda()


@final
@dataclass(frozen=True)
class Resources:
    """What sessions run on, and in which numbers.

    Args:
        provider: ``auto``, ``cpu``, ``cuda``, or onnxruntime's name of a provider.
        threads: Threads that work for a call at the same time; None for one per core.
        memory: Bytes that an explanation may take beside the loaded model; a share of what is free
            by default.
        precision: Of the gradients: ``float32``, ``tf32`` or ``fp16``.

    Raises:
        InputError: If one of them is not usable.
        ProviderError: If the provider is another than the precision needs.
    """

    provider: str
    threads: int | None
    memory: int | None
    precision: str

    def __post_init__(self) -> None:
        threads = self.threads
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise InputError(
                f"threads must be a positive whole number, not {threads!r}",
                hint="leave it out to have it chosen",
            )
        require_positive("memory", self.memory)
        check(self.precision, self.provider)


@final
class Sessions:
    """Opens sessions of graphs that are made of one model.

    Args:
        resources: What they run on.
        folder: Folder that external data of the model is relative to; None if it has none.
        external: Whether it has weights in files of its own.
        weights: Its weights where they were taken out of it.
    """

    def __init__(
        self, resources: Resources, folder: Path | None, *, external: bool, weights: Weights | None
    ) -> None:
        self.resources = resources
        """What they run on."""
        self._folder, self._external, self._weights = folder, external, weights
        self._shared = Shared()
        self._lanes: dict[Session, LaneMaker] = {}
        self.on_cuda: dict[str, Any] = {}
        """How the last gradient session runs on a CUDA device; empty where none does."""

    def open(
        self,
        model: Derived,
        *,
        options: Cuda = _CUDA,
        arena: Arena = Arena.RELEASED,
        recorded: bool = False,
        threads: int | None = None,
    ) -> OrtSession:
        """A session of a graph; see `OrtSession` for the options."""
        opened = partial(
            OrtSession,
            model.data,
            provider=self.resources.provider,
            threads=threads or self.resources.threads,
            cuda=options,
            arena=arena,
            recorded=recorded,
        )
        folder = self._folder if self._weights is None else self._weights.folder
        if folder is None or not (self._external or self._weights):
            return opened(folder=folder)
        made = opened(folder=folder, stored=self._shared.arrays(model.data, folder))
        give_back()
        return made

    def gradient(
        self, graph: GradientGraph, arena: Arena, recorded: bool, threads: int | None = None
    ) -> Session:
        """A session of a gradient graph in the precision asked for, on its device if it has one."""
        self._shared.let_go()
        asked = self.resources
        device, reason = cuda.opened(asked.provider)
        # the rewrites were measured, and tried, on the CPU in float32
        plain = asked.precision != "float32" or device is not None
        model = graph.model if plain else graph.lowered
        if asked.precision == "fp16":
            names = sorted(graph.gradients.values())
            model = model.then("half", cotangent=graph.cotangent, gradients=names)
        options = Cuda(tf32=asked.precision == "tf32")
        if device is not None:
            options = replace(options, stream=device.address, graph=True)
        if asked.memory is not None and not self._external:
            # a budget is for what comes beside the loaded model
            stored = 0 if self._weights is None else self._weights.size
            options = replace(options, memory=asked.memory + len(model.data) + stored)
        opened = self.open(model, options=options, arena=arena, recorded=recorded, threads=threads)
        on_cuda = opened.provider == "CUDAExecutionProvider"
        if asked.precision == "tf32" and not on_cuda:
            check("tf32", opened.provider)
        if on_cuda:
            self._lanes[opened] = cuda.Lanes(opened, device)
            self.on_cuda = {
                "nodes": opened.nodes,
                "graph": opened.no_graph or "captured",
                "path": f"through the host: {reason}" if device is None else "on the device",
            }
        return opened

    @property
    def cores(self) -> int:
        """Runs that may be under way at the same time: one per thread, but a device takes one."""
        asked = self.resources
        if asked.precision != "float32" or not on_host(asked.provider):
            return 1
        return asked.threads or cores()

    def lanes(self, session: Session) -> LaneMaker | None:
        """What makes the lanes of a gradient session on its device; None where it has none."""
        return self._lanes.get(session)


__all__ = ["Resources", "Sessions"]
