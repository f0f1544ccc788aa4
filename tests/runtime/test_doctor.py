"""What `igrt doctor` finds on machines that are not this one."""

import os
from importlib import metadata
from typing import Any

import onnxruntime as real
import pytest

from igrt.errors import ModelLoadError, ProviderError
from igrt.runtime import doctor
from igrt.runtime.doctor import examine

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def finding(name: str) -> dict[str, Any]:
    (found,) = [f for f in examine() if f["name"] == name]
    return found


def test_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "1")
    findings = examine()
    assert [f for f in findings if f["ok"] is False] == []
    assert all(f.keys() == {"name", "ok", "text", "hint"} for f in findings)
    names = [f["name"] for f in findings]
    assert len(set(names)) == len(names)
    assert {"Python", "onnx", "numba", "onnxruntime", CPU, CUDA, "kernels", "memory"} <= set(names)
    assert finding(CPU)["text"] == "works"


def test_both_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    owners = {"onnxruntime": ["onnxruntime-gpu", "onnxruntime", "onnxruntime"]}
    monkeypatch.setattr(metadata, "packages_distributions", lambda: owners)
    monkeypatch.setattr(metadata, "version", lambda name: "1.2.3")
    found = finding("onnxruntime")
    assert found["ok"] is False
    assert found["text"] == "onnxruntime 1.2.3, onnxruntime-gpu 1.2.3"
    assert "uninstall both, install one" in found["hint"]


def test_no_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ProviderError("onnxruntime cannot be imported: nothing there")

    monkeypatch.setattr(metadata, "packages_distributions", dict)
    monkeypatch.setattr(doctor, "onnxruntime", missing)
    found = finding("onnxruntime")
    assert found["ok"] is False
    assert "nothing there" in found["text"]
    assert "igrt[cpu]" in found["hint"] and "igrt[gpu]" in found["hint"]
    assert CPU not in [f["name"] for f in examine()]


def test_a_wheel_built_from_source_has_no_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "packages_distributions", dict)
    found = finding("onnxruntime")
    assert (found["ok"], found["text"]) == (True, real.__version__)


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def without_pillow(name: str) -> str:
        if name == "pillow":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", without_pillow)
    found = finding("pillow")
    assert (found["ok"], found["text"]) == (False, "not installed")
    assert found["hint"] == "pip install pillow"


def test_a_wheel_for_cuda_on_a_machine_without_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise RuntimeError("kernels for cuda need a CUDA device, and Numba finds none\n\nmore")

    monkeypatch.setattr(real, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(doctor, "described", broken)
    found = finding("CUDA kernels")
    assert found["ok"] is None
    assert found["text"] == "do not work: kernels for cuda need a CUDA device, and Numba finds none"
    assert "numba-cuda" in found["hint"]
    monkeypatch.setattr(doctor, "described", lambda: "NVIDIA H200, compute capability 9.0")
    assert (finding("CUDA kernels")["ok"], finding("CUDA kernels")["text"]) == (
        True,
        "Numba on NVIDIA H200, compute capability 9.0",
    )


def test_no_cuda_in_the_wheel_is_for_information(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real, "get_available_providers", lambda: [CPU])
    found = finding(CUDA)
    assert found["ok"] is None
    assert "igrt[gpu]" in found["hint"]


@pytest.mark.parametrize(("broken", "ok"), [(CUDA, None), (CPU, False)])
def test_a_provider_that_does_not_work(
    monkeypatch: pytest.MonkeyPatch, broken: str, ok: bool | None
) -> None:
    class Session:
        def __init__(self, model: bytes, *, provider: str) -> None:
            if provider == broken:
                raise ProviderError(f"{provider} has no card", hint="plug it in")

        def run(self, *_: Any) -> None: ...

    monkeypatch.setattr(real, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr("igrt.runtime.session.OrtSession", Session)
    found = finding(broken)
    assert found["ok"] is ok
    assert found["text"] == f"does not work: {broken} has no card"
    assert found["hint"] == "plug it in"
    assert finding(CPU if broken == CUDA else CUDA)["text"] == "works"


def test_a_provider_that_loads_but_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise ModelLoadError("it broke")

    monkeypatch.setattr("igrt.runtime.session.OrtSession.run", fails)
    assert finding(CPU)["ok"] is False


def test_telemetry_that_someone_left_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    found = finding("onnxruntime telemetry")
    assert (found["ok"], found["text"]) == (False, "on")
    assert "ORT_DISABLE_TELEMETRY=1" in found["hint"]
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "0"


@pytest.mark.parametrize(("fallback", "ok"), [("", True), ("Numba failed", None)])
def test_kernels(monkeypatch: pytest.MonkeyPatch, fallback: str, ok: bool | None) -> None:
    class Kernels:
        def __init__(self) -> None:
            self.fallback = fallback

    monkeypatch.setattr("igrt.kernels.select", lambda _: Kernels())
    found = finding("kernels")
    assert found["ok"] is ok
    assert fallback in found["text"]


def test_memory_is_in_gibibytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "available_memory", lambda: 3 << 29)
    assert finding("memory")["text"].startswith("1.5 GiB")
