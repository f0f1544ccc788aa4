"""What onnxruntime's CUDA provider is asked for: every option in one place, with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Cuda:
    """Options of a session on CUDA.

    Args:
        tf32: Whether products may round their operands to TF32.
        memory: Bytes that the provider's arena may take, weights included; None for no limit.
        stream: Address of the CUDA stream to queue work on; None for one of onnxruntime's own.
        graph: Whether runs on fixed buffers are captured into a CUDA graph and replayed.
    """

    tf32: bool = False
    memory: int | None = None
    stream: int | None = None
    graph: bool = False

    def options(self) -> dict[str, str]:
        """The same in onnxruntime's words."""
        options = {
            # TF32 keeps 10 bits of mantissa: not enough for a completeness gap of 1e-5
            "use_tf32": str(int(self.tf32)),
            # the other strategy doubles the arena, up to twice of what a chunk needs
            "arena_extend_strategy": "kSameAsRequested",
            # the exhaustive search, onnxruntime's default, tries all algorithms of every
            # convolution at every new shape: longer than most explanations take
            "cudnn_conv_algo_search": "HEURISTIC",
            # copies wait for the kernels before them; the other way is documented as a race
            "do_copy_in_default_stream": "1",
        }
        if self.memory is not None:
            options["gpu_mem_limit"] = str(self.memory)
        if self.stream is not None:
            # one queue for onnxruntime's work and ours, so neither waits for the host
            options["user_compute_stream"] = str(self.stream)
        if self.graph:
            options["enable_cuda_graph"] = "1"
        return options


__all__ = ["Cuda"]
