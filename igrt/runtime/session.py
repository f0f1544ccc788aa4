"""`Session`: a loaded model that turns arrays into arrays."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np

from igrt.errors import InputError, ProviderError, did_you_mean
from igrt.runtime.ort import onnxruntime, translated
from igrt.runtime.watch import current_watch
from igrt.specs import Array, Feeds

log = logging.getLogger("igrt")

_SHORT = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
}


_OF_THE_MODEL = {"InvalidGraph", "InvalidProtobuf", "NoModel", "NoSuchFile", "UnicodeDecodeError"}
"""What onnxruntime raises for a broken model; anything else while CUDA starts is blamed on CUDA."""


class Session(Protocol):
    """What the runtime needs of a loaded model."""

    @property
    def provider(self) -> str:
        """The execution provider that really runs the model."""
        ...

    def run(self, outputs: Sequence[str], feeds: Feeds) -> list[Array]:
        """The named outputs for the given inputs."""
        ...

    def bind(self, feeds: Feeds, made: Mapping[str, Array]) -> Callable[[], None] | None:
        """A run that reads these very arrays and writes into those; None where that cannot be."""
        ...


@final
class OrtSession:
    """A model loaded into onnxruntime. Safe to share between threads.

    Args:
        model: Serialised ONNX model.
        folder: Folder that its external data is relative to; None if it has none.
        provider: ``auto``, ``cpu``, ``cuda``, or onnxruntime's name of a provider.
        threads: Threads within one operator; None leaves it to onnxruntime.

    Raises:
        ModelLoadError: If onnxruntime refuses the model.
        ProviderError: If the provider asked for does not work here. Only ``auto`` falls back.
    """

    def __init__(
        self,
        model: bytes,
        *,
        folder: Path | None = None,
        provider: str = "auto",
        threads: int | None = None,
    ) -> None:
        self._session = _create(model, folder, provider, threads)

    @property
    def provider(self) -> str:
        """The execution provider that really runs the model."""
        return str(self._session.get_providers()[0])

    def run(self, outputs: Sequence[str], feeds: Feeds) -> list[Array]:
        """The named outputs for the given inputs.

        Raises:
            OutOfMemory: If memory does not suffice.
            InputError: If a shape does not fit.
        """
        # a row of a vector is a NumPy scalar, which onnxruntime refuses
        arrays = {n: np.asarray(a) for n, a in feeds.items()}
        made = _guarded(self._session.run, list(outputs), arrays)
        return [np.asarray(a) for a in made]

    def bind(self, feeds: Feeds, made: Mapping[str, Array]) -> Callable[[], None] | None:
        """A run that reads these very arrays and writes into those.

        Belongs to one thread at a time. It raises what `run` raises, and InternalError where an
        output has another shape or type than its array.

        Args:
            feeds: C-contiguous arrays by input.
            made: C-contiguous arrays by output.

        Returns:
            None where onnxruntime cannot share the arrays, such as texts.
        """
        value = onnxruntime().OrtValue.ortvalue_from_numpy
        binding = self._session.io_binding()
        try:
            for name, array in feeds.items():
                binding.bind_ortvalue_input(name, value(array))
            for name, array in made.items():
                binding.bind_ortvalue_output(name, value(array))
        except RuntimeError:
            return None
        return lambda: _guarded(self._session.run_with_iobinding, binding)


def _guarded(run: Callable[..., Any], *arguments: Any) -> Any:
    """Run under the watch of this thread's call, with our errors in place of onnxruntime's."""
    watch = current_watch()
    try:
        return run(*arguments, None if watch is None else watch.run_options)
    except Exception as error:
        if watch is not None:
            watch.check()
        raise translated(error, doing="running the model") from None


def _create(model: bytes, folder: Path | None, provider: str, threads: int | None) -> Any:
    ort = onnxruntime()
    name = full_name(provider)
    if name == "auto":
        if "CUDAExecutionProvider" in ort.get_available_providers():
            try:
                return _open(ort, model, folder, "CUDAExecutionProvider", threads)
            except ProviderError as error:
                log.warning("CUDA is not used: %s", error.message)
        name = "CPUExecutionProvider"
    return _open(ort, model, folder, name, threads)


def full_name(provider: str) -> str:
    """Onnxruntime's name of a provider; ``auto`` stays.

    Raises:
        InputError: If it is neither a short name nor looks like one of onnxruntime's.
    """
    if provider.lower() == "auto":
        return "auto"
    if provider.lower() in _SHORT:
        return _SHORT[provider.lower()]
    if provider.endswith("ExecutionProvider"):
        return provider
    raise InputError(
        f"unknown provider `{provider}`", hint=did_you_mean(provider, ["auto", *_SHORT])
    )


def _open(ort: Any, model: bytes, folder: Path | None, provider: str, threads: int | None) -> Any:
    available = ort.get_available_providers()
    cuda = provider == "CUDAExecutionProvider"
    if provider not in available:
        raise ProviderError(
            f"{provider} is not part of the installed onnxruntime: it has {', '.join(available)}",
            hint="pip install 'igrt[gpu]' in an environment without igrt[cpu]"
            if cuda
            else "use one of these, or auto",
        )
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
    if folder is not None:
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(folder)
        )
    if cuda:
        # TF32 keeps 10 bits of mantissa: not enough for a completeness gap of 1e-5
        providers: list[Any] = [(provider, {"use_tf32": "0"}), "CPUExecutionProvider"]
    else:
        providers = [provider]
    try:
        session = ort.InferenceSession(model, options, providers=providers, enable_fallback=0)
    except Exception as error:
        reason = translated(error, doing="loading the model")
        if cuda and type(error).__name__ not in _OF_THE_MODEL:
            raise ProviderError(
                f"{provider} does not work here: {reason.message}",
                hint="`igrt doctor` says what is missing",
            ) from None
        raise reason from None
    chosen = session.get_providers()[0]
    if chosen != provider:
        raise ProviderError(
            f"{provider} was asked for, but onnxruntime silently chose {chosen}",
            hint="its libraries or its driver are missing; `igrt doctor` says more",
        )
    return session


def save_optimised(model: bytes, file: Path) -> None:
    """Write what onnxruntime makes of a model for the CPU, up to its level EXTENDED.

    Raises:
        ModelLoadError: If onnxruntime refuses the model.
    """
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    # the next level lays tensors out for this processor
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(file)
    try:
        ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise translated(error, doing="loading the model") from None


__all__ = ["OrtSession", "Session", "full_name", "save_optimised"]
