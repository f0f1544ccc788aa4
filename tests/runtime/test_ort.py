"""The import of onnxruntime, and its errors in our words."""

import importlib
import os
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime as real
import pytest

from igrt.errors import (
    Cancelled,
    IgrtError,
    InputError,
    InternalError,
    ModelLoadError,
    OutOfMemory,
    ProviderError,
)
from igrt.runtime.ort import onnxruntime, translated


def import_gives(monkeypatch: pytest.MonkeyPatch, given: ModuleType | Exception) -> None:
    def fake(name: str, package: str | None = None) -> ModuleType:
        assert name == "onnxruntime"
        if isinstance(given, Exception):
            raise given
        return given

    monkeypatch.setattr(importlib, "import_module", fake)


def test_it_is_the_module() -> None:
    assert onnxruntime() is real


def test_telemetry_is_off_before_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    def fake(name: str, package: str | None = None) -> ModuleType:
        seen.append(os.environ.get("ORT_DISABLE_TELEMETRY"))
        return real

    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    monkeypatch.setattr(importlib, "import_module", fake)
    onnxruntime()
    assert seen == ["1"]


def test_who_wants_telemetry_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    onnxruntime()
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "0"


def test_a_missing_onnxruntime_names_both_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    import_gives(monkeypatch, ModuleNotFoundError("No module named 'onnxruntime'"))
    with pytest.raises(ProviderError, match="No module named 'onnxruntime'") as caught:
        onnxruntime()
    assert "pip install 'igrt[cpu]'" in caught.value.hint
    assert "pip install 'igrt[gpu]'" in caught.value.hint
    assert caught.value.exit_code == 1


def test_a_broken_library_is_said_to_be_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    import_gives(monkeypatch, ImportError("libcudart.so.12: cannot open shared object file"))
    with pytest.raises(ProviderError, match=r"libcudart\.so\.12"):
        onnxruntime()


def test_the_folder_that_an_uninstalled_twin_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    import_gives(monkeypatch, ModuleType("onnxruntime"))
    with pytest.raises(ProviderError, match="both installed") as caught:
        onnxruntime()
    assert "--force-reinstall" in caught.value.hint


def ort_error(kind: str, text: str) -> Exception:
    return type(kind, (Exception,), {})(text)


RUNNING, LOADING = "running the model", "loading the model"

# what onnxruntime raises, by name and text, as seen in tries (notes/onnxruntime.md, 1.6)
TABLE: list[tuple[Exception, str, type[IgrtError]]] = [
    (
        ort_error(
            "Fail",
            "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Conv node."
            " Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void*"
            " onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) Failed to allocate memory"
            " for requested buffer of size 137438953472",
        ),
        RUNNING,
        OutOfMemory,
    ),
    (ort_error("RuntimeException", "… : std::bad_alloc"), RUNNING, OutOfMemory),
    (MemoryError(), RUNNING, OutOfMemory),
    (
        ort_error("Fail", "Available memory of 1024 is smaller than requested bytes of 4096"),
        RUNNING,
        OutOfMemory,
    ),
    (RuntimeError("CUDA failure 2: out of memory ; GPU=0"), RUNNING, OutOfMemory),
    (RuntimeError("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED"), RUNNING, OutOfMemory),
    (RuntimeError("CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED"), LOADING, OutOfMemory),
    (
        ort_error("InvalidArgument", "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid"),
        RUNNING,
        InputError,
    ),
    (ort_error("InvalidGraph", "This is an invalid model."), LOADING, ModelLoadError),
    (ort_error("InvalidProtobuf", "Protobuf parsing failed."), LOADING, ModelLoadError),
    (ort_error("NoSuchFile", "File doesn't exist"), LOADING, ModelLoadError),
    (ort_error("Fail", "Opset 99 is under development"), LOADING, ModelLoadError),
    (
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        LOADING,
        ModelLoadError,
    ),
    (ort_error("Fail", "Exiting due to terminate flag being set to true."), RUNNING, Cancelled),
    (RuntimeError(), RUNNING, InternalError),
]


@pytest.mark.parametrize(("error", "doing", "kind"), TABLE)
def test_errors_become_ours(error: Exception, doing: str, kind: type[IgrtError]) -> None:
    found = translated(error, doing=doing)
    assert type(found) is kind
    assert found.hint


def test_our_own_errors_stay_what_they_are() -> None:
    error = ProviderError("no card", hint="get one")
    assert translated(error, doing=RUNNING) is error


def test_messages_do_not_name_the_machine_that_built_onnxruntime() -> None:
    found = translated(
        ort_error(
            "Fail",
            "[ONNXRuntimeError] : 1 : FAIL : /onnxruntime_src/onnxruntime/core/graph/model.cc:181 "
            "onnxruntime::Model::Model(…) Unknown model file format version.\nsecond line",
        ),
        doing=LOADING,
    )
    assert found.message == (
        "onnxruntime cannot load the model: onnxruntime::Model::Model(…) Unknown model file format"
        " version."
    )


def test_long_messages_are_cut() -> None:
    found = translated(RuntimeError("x" * 5000), doing=RUNNING)
    assert len(found.message) < 400
    assert found.message.endswith("…")


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({"x": np.ones((1, 4), np.float32)}, "dimensions"),
        ({"x": np.ones((1, 1, 3), np.float32)}, "rank"),
        ({"x": np.ones((1, 3))}, "double"),
        ({"y": np.ones((1, 3), np.float32)}, "y"),
    ],
)
def test_what_onnxruntime_really_says_of_wrong_inputs(feeds: dict[str, Any], words: str) -> None:
    import onnx

    from igrt.runtime.session import OrtSession

    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,3] x) => (float[N,3] y){ y = Tanh(x) }'
    )
    session = OrtSession(model.SerializeToString(), provider="cpu")
    with pytest.raises(IgrtError) as caught:
        session.run(["y"], feeds)
    assert words in caught.value.message
    assert "\n" not in caught.value.message
