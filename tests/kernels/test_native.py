"""Builds the C++ kernels, runs their tests, and compares the shared library with the reference."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from igrt.kernels import reference

Array = npt.NDArray[Any]

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [str(c) for c in command],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


needs_cmake = pytest.mark.skipif(
    shutil.which("cmake") is None or not (ROOT / "CMakeLists.txt").exists(),
    reason="needs cmake and a source tree",
)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shared build of the project."""
    if shutil.which("cmake") is None or not (ROOT / "CMakeLists.txt").exists():
        pytest.skip("needs cmake and a source tree")
    if not any(shutil.which(c) for c in (os.environ.get("CXX", "c++"), "g++", "clang++", "cl")):
        pytest.skip("needs a C++ compiler")
    folder = tmp_path_factory.mktemp("native")
    install = folder / "install"
    run("cmake", "-S", ROOT, "-B", folder, "-DBUILD_SHARED_LIBS=ON",
        f"-DCMAKE_INSTALL_PREFIX={install}", "-DCMAKE_INSTALL_LIBDIR=lib",
        "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_COMPILE_WARNING_AS_ERROR=ON")  # fmt: skip
    run("cmake", "--build", folder, "--config", "Release")
    return folder


@pytest.fixture(scope="module")
def library(build: Path) -> ctypes.CDLL:
    names = ("libigrt.so", "libigrt.dylib", "igrt.dll")
    loaded = ctypes.CDLL(str(next(p for n in names for p in build.rglob(n))))
    loaded.igrt_status_message.restype = ctypes.c_char_p
    return loaded


def call(library: ctypes.CDLL, name: str, arrays: list[Array], *sizes: int) -> None:
    suffix = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}[arrays[1].dtype]
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in arrays]
    status = getattr(library, f"igrt_{name}_{suffix}")(*pointers, *map(ctypes.c_int64, sizes))
    assert status == 0, library.igrt_status_message(status)


def normal(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def test_its_own_tests_pass(build: Path) -> None:
    output = run("ctest", "--test-dir", build, "-C", "Release", "--output-on-failure")
    assert "100% tests passed" in output


# Comparisons with the reference are exact: the library is built without contraction, so both do the
# same IEEE operations in the same order.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("features", [1, 4103])
def test_interpolate(library: ctypes.CDLL, dtype: Any, features: int) -> None:
    b, x = normal((3, features), dtype), normal((3, features), dtype, 1)
    b[0, 0] = x[0, 0] = -np.inf
    rows, alphas = np.array([2, 0, 2, 1], np.int64), np.array([0.3, 0.0, 1.0, 0.7])
    result, expected = np.full((2, 4, features), 7, dtype)
    call(library, "interpolate", [b, x, rows, alphas, result], 3, 4, features)
    reference.interpolate(b, x, rows, alphas, expected)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("features", [1, 4103])
def test_accumulate(library: ctypes.CDLL, dtype: Any, features: int) -> None:
    rows = np.array([1, 1, 0, 1, 0], np.int64)
    gradients, weights = normal((5, features), dtype), normal((2, 5), np.float64, 1)
    gradients[2], weights[1, 2] = np.nan, 0.0
    result, expected = np.ones((2, 3, 2, features))
    call(library, "accumulate", [result, gradients, rows, weights], 3, 2, 5, features)
    reference.accumulate(expected, gradients, rows, weights)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_multiply_difference(library: ctypes.CDLL, dtype: Any) -> None:
    x, b, mean = (normal((2, 999), t, s) for s, t in enumerate((dtype, dtype, np.float64)))
    b[:, ::3], mean[:, ::6] = x[:, ::3], np.nan
    result, expected = np.full((2, 2, 999), 7.0)
    call(library, "multiply_difference", [mean, x, b, result], 2, 999)
    reference.multiply_difference(mean, x, b, expected)
    np.testing.assert_array_equal(result, expected)


def test_another_project_finds_the_installed_library(build: Path, tmp_path: Path) -> None:
    run("cmake", "--install", build, "--config", "Release")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.18)\n"
        "project(consumer CXX)\n"
        "find_package(igrt CONFIG REQUIRED)\n"
        "add_executable(consumer main.cpp)\n"
        "target_link_libraries(consumer igrt::igrt)\n"
    )
    (tmp_path / "main.cpp").write_text(
        "#include <igrt/kernels.h>\n"
        "int main() { return igrt_status_message(IGRT_OK)[0] == 'o' ? 0 : 1; }\n"
    )
    binary = tmp_path / "build"
    run("cmake", "-S", tmp_path, "-B", binary, f"-Digrt_DIR={build / 'install/lib/cmake/igrt'}")
    run("cmake", "--build", binary, "--config", "Release")
    run(next(p for p in binary.rglob("consumer*") if p.name in ("consumer", "consumer.exe")))


@needs_cmake
def test_nothing_is_built_for_the_python_package(tmp_path: Path) -> None:
    output = run("cmake", "-S", ROOT, "-B", tmp_path, "-DSKBUILD=2")
    assert "nothing to build" in output
    run("cmake", "--build", tmp_path)


@needs_cmake
def test_nothing_is_built_without_a_compiler(tmp_path: Path) -> None:
    output = run("cmake", "-S", ROOT, "-B", tmp_path, CXX=str(tmp_path / "missing"))
    assert "the native kernels are not built" in output
    run("cmake", "--build", tmp_path)
