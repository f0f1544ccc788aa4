"""Sessions: strict providers, and what is loaded from where."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as real
import pytest
from onnx import TensorProto, helper

from igrt.errors import DeadlineExceeded, InputError, ModelLoadError, ProviderError
from igrt.runtime.providers import Cuda
from igrt.runtime.session import OrtSession, full_name
from igrt.runtime.watch import Watch

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

TANH = onnx.parser.parse_model(
    '<ir_version: 8, opset_import: ["" : 17]> g (float[N,3] x) => (float[N,3] y) { y = Tanh(x) }'
).SerializeToString()

ROW = {"x": np.array([[0.5, -1.0, 2.0]], np.float32)}

Fake = Callable[..., Any]


class FakeSession:
    """Stands for a session that runs on the providers it is told to have."""

    def __init__(self, runs_on: str) -> None:
        self.runs_on = runs_on

    def get_providers(self) -> list[str]:
        return [self.runs_on]


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Pretends to be another wheel of onnxruntime; records how sessions were asked for."""

    def pretend(available: list[str], cuda: str | Exception = CUDA) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []

        def create(model: bytes, options: Any, *, providers: list[Any], **others: Any) -> Any:
            calls.append({"options": options, "providers": providers} | others)
            first = providers[0] if isinstance(providers[0], str) else providers[0][0]
            if first == CUDA and isinstance(cuda, Exception):
                raise cuda
            return FakeSession(cuda if first == CUDA else first)  # type: ignore[arg-type]

        monkeypatch.setattr(real, "get_available_providers", lambda: available)
        monkeypatch.setattr(real, "InferenceSession", create)
        return calls

    return pretend


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("auto", "auto"),
        ("AUTO", "auto"),
        ("cpu", CPU),
        ("Cuda", CUDA),
        (CUDA, CUDA),
        ("CoreMLExecutionProvider", "CoreMLExecutionProvider"),
    ],
)
def test_names_of_providers(short: str, full: str) -> None:
    assert full_name(short) == full


@pytest.mark.parametrize(("name", "hint"), [("cud", "`cuda`"), ("gpu", "cpu"), ("", "`auto`")])
def test_unknown_names_are_refused(name: str, hint: str) -> None:
    with pytest.raises(InputError, match="unknown provider") as caught:
        full_name(name)
    assert hint in caught.value.hint


@pytest.mark.parametrize("provider", ["auto", "cpu", CPU])
def test_a_cpu_wheel_runs_on_the_cpu(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real, "get_available_providers", lambda: ["AzureExecutionProvider", CPU])
    session = OrtSession(TANH, provider=provider)
    assert session.provider == CPU
    # onnxruntime's float32 tanh is a rational approximation, good to a few units of 6e-8
    np.testing.assert_allclose(session.run(["y"], ROW)[0], np.tanh(ROW["x"]), rtol=1e-6)


@pytest.mark.parametrize("provider", ["cuda", CUDA, "TensorrtExecutionProvider"])
def test_a_provider_that_the_wheel_lacks_is_an_error(
    provider: str, wheel: Callable[..., list[dict[str, Any]]]
) -> None:
    calls = wheel([CPU])
    with pytest.raises(ProviderError, match="is not part of the installed onnxruntime") as caught:
        OrtSession(TANH, provider=provider)
    assert CPU in caught.value.message
    assert ("igrt[gpu]" if full_name(provider) == CUDA else "auto") in caught.value.hint
    assert calls == []


def test_cuda_is_asked_for_without_a_way_back(wheel: Callable[..., list[dict[str, Any]]]) -> None:
    calls = wheel([CUDA, CPU])
    assert OrtSession(TANH, provider="cuda").provider == CUDA
    (call,) = calls
    assert call["enable_fallback"] == 0
    (name, asked), last = call["providers"]
    assert (name, last) == (CUDA, CPU)
    assert asked["use_tf32"] == "0"
    assert asked["arena_extend_strategy"] == "kSameAsRequested"
    assert {"user_compute_stream", "enable_cuda_graph", "gpu_mem_limit"}.isdisjoint(asked)


def test_what_the_cuda_provider_can_be_asked_for(
    wheel: Callable[..., list[dict[str, Any]]],
) -> None:
    calls = wheel([CUDA, CPU])
    cuda = Cuda(tf32=True, memory=1 << 30, stream=4096, graph=True)
    assert OrtSession(TANH, provider="cuda", cuda=cuda).no_graph == ""
    asked = calls[0]["providers"][0][1]
    # names that onnxruntime's provider reads; a wrong one is an error there, not here
    wanted = {"use_tf32": "1", "gpu_mem_limit": "1073741824", "user_compute_stream": "4096"}
    assert asked.items() >= (wanted | {"enable_cuda_graph": "1"}).items()


def test_a_graph_that_cannot_be_captured_is_given_up_with_the_reason(
    wheel: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = wheel([CUDA, CPU])
    create = real.InferenceSession

    def refuse(model: bytes, options: Any, *, providers: list[Any], **others: Any) -> Any:
        if "enable_cuda_graph" in providers[0][1]:
            raise RuntimeError(
                "This session cannot use the graph capture feature as requested by the user as all "
                "compute graph nodes have not been partitioned to the CUDAExecutionProvider"
            )
        return create(model, options, providers=providers, **others)

    monkeypatch.setattr(real, "InferenceSession", refuse)
    session = OrtSession(TANH, provider="cuda", cuda=Cuda(graph=True))
    assert "have not been partitioned" in session.no_graph
    assert len(calls) == 1


def test_nodes_are_counted_where_onnxruntime_keeps_count() -> None:
    assert OrtSession(TANH, provider="cpu").nodes == {}


def test_auto_takes_cuda_where_it_works(wheel: Callable[..., list[dict[str, Any]]]) -> None:
    wheel([CUDA, CPU])
    assert OrtSession(TANH).provider == CUDA


BROKEN = [
    pytest.param(CPU, "silently chose CPUExecutionProvider", id="no libraries"),
    pytest.param(RuntimeError("CUDA failure 35: driver too old\nmore"), "failure 35", id="no card"),
]


@pytest.mark.parametrize(("cuda", "words"), BROKEN)
def test_cuda_that_does_not_work_is_an_error(
    cuda: str | Exception, words: str, wheel: Callable[..., list[dict[str, Any]]]
) -> None:
    wheel([CUDA, CPU], cuda)
    with pytest.raises(ProviderError, match=words) as caught:
        OrtSession(TANH, provider="cuda")
    assert "\n" not in caught.value.message
    assert "igrt doctor" in caught.value.hint


@pytest.mark.parametrize(("cuda", "words"), BROKEN)
def test_auto_falls_back_to_the_cpu_and_says_so(
    cuda: str | Exception,
    words: str,
    wheel: Callable[..., list[dict[str, Any]]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    wheel([CUDA, CPU], cuda)
    with caplog.at_level(logging.WARNING, logger="igrt"):
        assert OrtSession(TANH).provider == CPU
    (record,) = caplog.records
    assert "CUDA is not used" in record.message
    assert words in record.message


def test_a_broken_model_on_cuda_is_not_blamed_on_the_card(
    wheel: Callable[..., list[dict[str, Any]]],
) -> None:
    invalid = type("InvalidGraph", (Exception,), {})("This is an invalid model.")
    wheel([CUDA, CPU], invalid)
    for provider in ("cuda", "auto"):
        with pytest.raises(ModelLoadError, match="invalid model"):
            OrtSession(TANH, provider=provider)


def test_options(wheel: Callable[..., list[dict[str, Any]]]) -> None:
    calls = wheel([CPU])
    OrtSession(TANH, threads=3, provider="cpu")
    OrtSession(TANH, provider="cpu")
    first, second = (c["options"] for c in calls)
    assert (first.intra_op_num_threads, second.intra_op_num_threads) == (3, 0)
    # the arena settles at one chunk; the C allocator's peak varies by a third from run to run
    assert first.enable_cpu_mem_arena is True
    assert first.log_severity_level == 4


@pytest.mark.parametrize("model", [b"", b"not a model", TANH[:-20]])
def test_what_is_no_model_is_refused(model: bytes) -> None:
    with pytest.raises(ModelLoadError, match="onnxruntime cannot load the model"):
        OrtSession(model, provider="cpu")


def test_external_data_comes_from_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights.bin")
    shape = ["N", 3]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [weight],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, ir_version=8, opset_imports=opset).SerializeToString()
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(np.array([1, 2, 4], np.float32).tobytes())
    monkeypatch.chdir(tmp_path)
    (found,) = OrtSession(model, folder=folder, provider="cpu").run(["y"], ROW)
    assert found.tolist() == [[0.5, -2.0, 8.0]]
    with pytest.raises(ModelLoadError):
        OrtSession(model, provider="cpu")


def test_a_session_may_be_shared_between_threads() -> None:
    from concurrent.futures import ThreadPoolExecutor

    session = OrtSession(TANH, provider="cpu", threads=1)
    inputs = [np.full((4, 3), i / 16, np.float32) for i in range(64)]
    alone = [session.run(["y"], {"x": x})[0] for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda x: session.run(["y"], {"x": x})[0], inputs))
    assert all(np.array_equal(a, t) for a, t in zip(alone, together, strict=True))


def test_threads_that_are_shared_by_the_whole_process_are_no_obstacle() -> None:
    """Other code may have called `set_global_thread_pool_sizes`, once and for the process."""
    code = f"""
import onnxruntime
onnxruntime.set_global_thread_pool_sizes(2, 1)
import numpy as np
from igrt.runtime.session import OrtSession
session = OrtSession({TANH!r}, provider="cpu", threads=2)
print(session.run(["y"], {{"x": np.zeros((1, 3), np.float32)}})[0].tolist())
"""
    outcome = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"},
    )
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "[[0.0, 0.0, 0.0]]\n", "")


def test_loading_ends_with_its_call() -> None:
    nodes = [helper.make_node("Tanh", [f"t{i}"], [f"t{i + 1}"]) for i in range(5000)]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 3]) for n in ("t0", "t5000")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, ir_version=8, opset_imports=opset).SerializeToString()
    with Watch(deadline=time.monotonic() + 0.01), pytest.raises(DeadlineExceeded):
        OrtSession(model, provider="cpu")
