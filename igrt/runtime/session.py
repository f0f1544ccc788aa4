"""`Session`: a loaded model that turns arrays into arrays."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np

from igrt.errors import InputError, ProviderError, did_you_mean
from igrt.runtime.available import give_back
from igrt.runtime.clock import timed
from igrt.runtime.ort import onnxruntime, translated
from igrt.runtime.providers import Cuda
from igrt.runtime.usage import Recorder
from igrt.runtime.watch import Watch, current_watch
from igrt.specs import Array, Feeds

log = logging.getLogger("igrt")

_SHORT = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
}


_OF_THE_MODEL = {"InvalidGraph", "InvalidProtobuf", "NoModel", "NoSuchFile", "UnicodeDecodeError"}
"""What onnxruntime raises for a broken model; anything else while CUDA starts is blamed on CUDA."""

_NO_GRAPH = re.compile(r"graph capture", re.IGNORECASE)
"""What onnxruntime says where some nodes have no CUDA kernel, or are of control flow."""

_CUDA = Cuda()
_NOTHING: Feeds = {}

_SPIN = "20"
"""Microseconds that a thread of onnxruntime waits awake for the next operator. Its own default,
about ten milliseconds, keeps cores busy between runs and takes them from others
(docs/guides/embedding.md)."""

_SHRINK = {"memory.enable_memory_arena_shrinkage": "cpu:0"}
"""Run option with which the arena of the host gives back what it has free."""


class Arena(Enum):
    """How onnxruntime comes by the memory of a run on the CPU (docs/performance.md)."""

    RELEASED = "released"
    """Tensor by tensor, and all of it is given back after the run: for runs now and then."""
    HELD = "held"
    """Tensor by tensor, and it stays for the next run: a run takes what its tensors take."""
    PATTERN = "pattern"
    """As one block from the second run on, beside what the first one left. That takes twice as
    much as HELD, and up to a tenth less time where a run takes 0.2 ms; nothing less from 10 ms."""


class Session(Protocol):
    """What the runtime needs of a loaded model."""

    @property
    def provider(self) -> str:
        """The execution provider that really runs the model."""
        ...

    def run(self, outputs: Sequence[str], feeds: Feeds, *, release: bool = False) -> list[Array]:
        """The named outputs for the given inputs; whether to give all memory back behind them."""
        ...

    def bind(self, feeds: Feeds, made: Mapping[str, Array]) -> Callable[[], None] | None:
        """A run that reads these very arrays and writes into those; None where that cannot be."""
        ...

    def peaks(self) -> tuple[list[int], int]:
        """Most bytes beside the weights of each run so far, and what the count took itself.

        Nothing where nobody counted.
        """
        ...


@final
class OrtSession:
    """A model loaded into onnxruntime. Safe to share between threads.

    Args:
        model: Serialised ONNX model.
        folder: Folder that its external data is relative to; None if it has none.
        provider: ``auto``, ``cpu``, ``cuda``, or onnxruntime's name of a provider.
        threads: Threads within one operator; None leaves it to onnxruntime.
        cuda: What the CUDA provider is asked for, where it is used.
        arena: How runs come by their memory.
        recorded: Whether to count what runs take, until `peaks` is asked for.
        stored: Arrays in place of initialisers in external files. On the CPU they are read where
            they are, and nothing is made of any initialiser beforehand.

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
        cuda: Cuda = _CUDA,
        arena: Arena = Arena.RELEASED,
        recorded: bool = False,
        stored: Feeds = _NOTHING,
    ) -> None:
        options = onnxruntime().SessionOptions()
        options.log_severity_level = 4
        options.enable_mem_pattern = arena is Arena.PATTERN
        if threads is not None:
            options.intra_op_num_threads = threads
        self._recorder = _recorder(options) if recorded else None
        value = onnxruntime().OrtValue.ortvalue_from_numpy
        self._stored = {n: value(a) for n, a in stored.items()}
        self._session, self.no_graph = _create(model, options, folder, provider, cuda, self._stored)
        """Why runs are not captured into a CUDA graph, in words; empty where they are."""
        # a captured run reads the buffers it was captured with
        self._apart = {} if self.no_graph else {"gpu_graph_id": "-1"}
        self._entries: dict[str, str] = {}
        if arena is Arena.RELEASED and self.provider == "CPUExecutionProvider":
            self._entries |= _SHRINK

    @property
    def provider(self) -> str:
        """The execution provider that really runs the model."""
        return str(self._session.get_providers()[0])

    @property
    def nodes(self) -> dict[str, int]:
        """Nodes that each provider runs; empty where onnxruntime did not keep count."""
        try:
            parts = self._session.get_provider_graph_assignment_info()
        except Exception:  # older than the method, or told not to record
            return {}
        counts: Counter[str] = Counter()
        for part in parts:
            counts[part.ep_name] += len(part.get_nodes())
        return dict(counts)

    def run(self, outputs: Sequence[str], feeds: Feeds, *, release: bool = False) -> list[Array]:
        """The named outputs for the given inputs.

        Args:
            outputs: Names of the outputs.
            feeds: Arrays by input.
            release: Whether to give all memory back, whatever the arena of the session.

        Raises:
            OutOfMemory: If memory does not suffice.
            InputError: If a shape does not fit.
        """
        # a row of a vector is a NumPy scalar, which onnxruntime refuses
        arrays = {n: np.asarray(a) for n, a in feeds.items()}
        shrinks = release and self.provider == "CPUExecutionProvider"
        entries = _SHRINK if shrinks else self._entries
        made = _guarded(self._session.run, list(outputs), arrays, entries=self._apart | entries)
        if shrinks:
            give_back()
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
        run = self._session.run_with_iobinding
        return lambda: _guarded(run, binding, entries=self._entries)

    def peaks(self) -> tuple[list[int], int]:
        """Most bytes beside the weights of each run so far, and what the count took itself.

        Nothing where nobody counted. Ends the counting.
        """
        recorder, self._recorder = self._recorder, None
        if recorder is None:
            return [], 0
        found = recorder.peaks(self._session)
        return found, recorder.left

    def new_binding(self) -> Any:
        """A binding of onnxruntime's to this session; it belongs to one thread at a time."""
        return self._session.io_binding()

    def run_bound(self, binding: Any, entries: Mapping[str, str]) -> None:
        """Run with what is bound.

        Args:
            binding: One of `new_binding`.
            entries: Run options.

        Raises:
            OutOfMemory: If memory does not suffice.
        """
        _guarded(self._session.run_with_iobinding, binding, entries=entries)


_NONE: Mapping[str, str] = {}


def _guarded(run: Callable[..., Any], *arguments: Any, entries: Mapping[str, str] = _NONE) -> Any:
    """Run under the watch of this thread's call, with our errors in place of onnxruntime's.

    Args:
        run: Method of a session.
        arguments: Its arguments but the last, which is run options.
        entries: What these options say.
    """
    watch = _watch()
    try:
        with timed():
            return run(*arguments, watch.run_options(entries))
    except Exception as error:
        watch.check()
        raise translated(error, doing="running the model") from None


_UNWATCHED = Watch()
"""For runs that belong to no call."""


def _watch() -> Watch:
    """The watch of this thread's call; one that ends nothing where there is no call."""
    return current_watch() or _UNWATCHED


def _recorder(options: Any) -> Recorder | None:
    try:
        return Recorder(options)
    except OSError:  # no place for temporary files
        return None


def _create(
    model: bytes,
    options: Any,
    folder: Path | None,
    provider: str,
    cuda: Cuda,
    stored: Mapping[str, Any],
) -> tuple[Any, str]:
    ort = onnxruntime()
    if folder is not None:
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(folder)
        )
    name = full_name(provider)
    if name == "auto":
        if "CUDAExecutionProvider" in ort.get_available_providers():
            try:
                return _with_graph(ort, model, options, cuda)
            except ProviderError as error:
                log.warning("CUDA is not used: %s", error.message)
        name = "CPUExecutionProvider"
    if name == "CUDAExecutionProvider":
        return _with_graph(ort, model, options, cuda)
    if stored and name == "CPUExecutionProvider":
        options.add_session_config_entry("session.disable_prepacking", "1")
        for initialiser, value in stored.items():
            options.add_initializer(initialiser, value)
    return _open(ort, model, options, name, cuda), f"{name} has none"


def _with_graph(ort: Any, model: bytes, options: Any, cuda: Cuda) -> tuple[Any, str]:
    """A session on CUDA that captures its runs if asked for and possible, and why it does not."""
    name = "CUDAExecutionProvider"
    reason = "not asked for"
    if cuda.graph:
        try:
            return _open(ort, model, options, name, cuda), ""
        except ProviderError as error:
            if not _NO_GRAPH.search(error.message):
                raise
            reason = error.message
    return _open(ort, model, options, name, replace(cuda, graph=False)), reason


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


def on_host(provider: str) -> bool:
    """Whether sessions run on the CPU for certain, by a provider as it is asked for."""
    name = full_name(provider)
    if name == "auto":
        return "CUDAExecutionProvider" not in onnxruntime().get_available_providers()
    return name == "CPUExecutionProvider"


def _open(ort: Any, model: bytes, options: Any, provider: str, cuda: Cuda) -> Any:
    available = ort.get_available_providers()
    on_cuda = provider == "CUDAExecutionProvider"
    if provider not in available:
        raise ProviderError(
            f"{provider} is not part of the installed onnxruntime: it has {', '.join(available)}",
            hint="pip install 'igrt[gpu]' in an environment without igrt[cpu]"
            if on_cuda
            else "use one of these, or auto",
        )
    if on_cuda:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        providers: list[Any] = [(provider, cuda.options()), "CPUExecutionProvider"]
    else:
        providers = [provider]
    try:
        session = _load(ort, model, options, providers)
    except Exception as error:
        _watch().check()
        reason = translated(error, doing="loading the model")
        if on_cuda and type(error).__name__ not in _OF_THE_MODEL:
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


def _load(ort: Any, model: bytes, options: Any, providers: list[Any]) -> Any:
    """A session, however this process shares out its threads."""
    options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN)
    create = partial(ort.InferenceSession, model, options, providers=providers, enable_fallback=0)
    with _watch().ending(lambda: options.set_load_cancellation_flag(True)):
        try:
            return create()
        except RuntimeError as error:
            if "global thread pool" not in str(error):
                raise
            # set_global_thread_pool_sizes() was called: then sessions have no threads of their own
            options.use_per_session_threads, options.intra_op_num_threads = False, 0
            return create()


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
        _load(ort, model, options, ["CPUExecutionProvider"])
    except Exception as error:
        _watch().check()
        raise translated(error, doing="loading the model") from None


__all__ = ["OrtSession", "Session", "full_name", "on_host", "save_optimised"]
