"""Choosing an implementation: what loads what, and what happens when something is missing."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from igrt.kernels import DEVICES, jit, reference, select


def run(code: str, **environment: str) -> str:
    """Run code in a fresh interpreter that imports what this one can."""
    search = os.pathsep.join(p for p in sys.path if p)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**clean, "PYTHONPATH": search, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_reference() -> None:
    kernels = select("reference")
    assert (kernels.name, kernels.fallback) == ("reference", None)
    assert kernels.interpolate is reference.interpolate


def test_a_kernel_set_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        select("reference").name = "other"  # type: ignore[misc]  # the point of the test


def test_unknown_device() -> None:
    with pytest.raises(ValueError, match="expected one of auto, cpu, cuda, reference, got 'tpu'"):
        select("tpu")
    assert DEVICES == ("auto", "cpu", "cuda", "reference")


def test_importing_loads_neither_numba_nor_cuda() -> None:
    code = "import sys, igrt.kernels as k; k.select('reference'); print('numba' in sys.modules)"
    assert run(code) == "False"


def test_cpu_does_not_load_cuda_and_compiles_nothing_yet() -> None:
    code = (
        "import sys, igrt.kernels as k; s = k.select('cpu')\n"
        "from igrt.kernels import cpu\n"
        "print(s.name, 'igrt.kernels.cuda' in sys.modules, cpu._INTERPOLATE._built)"
    )
    assert run(code) == "cpu False {}"


def test_cpu_falls_back_without_the_compiler() -> None:
    code = "import igrt.kernels as k; s = k.select('cpu'); print(s.name, '|', s.fallback)"
    assert run(code, NUMBA_DISABLE_JIT="1") == "reference | NUMBA_DISABLE_JIT is set"
    assert run(code, NUMBA_DISABLE_JIT="0") == "cpu | None"
    hidden = "import sys; sys.modules['numba'] = None; " + code
    assert run(hidden).startswith("reference | numba cannot be imported")


def test_cuda_without_a_device_says_so() -> None:
    code = (
        "import sys, types, igrt.kernels as k\n"
        "from igrt.kernels import cuda\n"
        "cuda.available = lambda: False\n"
        "try: k.select('cuda')\n"
        "except RuntimeError as error: print(error)"
    )
    message = run(code)
    assert "need a CUDA device" in message
    assert "hint:" in message


def test_cuda_without_numba_says_so() -> None:
    code = (
        "import sys; sys.modules['numba'] = None; import igrt.kernels as k\n"
        "try: k.select('cuda')\n"
        "except RuntimeError as error: print(error)"
    )
    message = run(code)
    assert "cannot be imported" in message
    assert "hint:" in message


def test_kernels_compile_where_nothing_can_be_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba raises at decoration when it finds no directory for its cache."""
    attempts = []

    def compile_(self: jit.Lazy, signature: object, cache: bool) -> object:
        attempts.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return original(self, signature, cache)

    original = jit.Lazy._compile
    monkeypatch.setattr(jit.Lazy, "_compile", compile_)

    def negate(x, out):  # type: ignore[no-untyped-def]  # for Numba
        for i in range(x.shape[0]):
            out[i] = -x[i]
        return True

    lazy = jit.Lazy(negate, "T1 T1!")
    out = np.empty(2, np.float32)
    assert lazy.get("f")(np.array([1, 2], np.float32), out)
    np.testing.assert_array_equal(out, [-1, -2])
    assert lazy.get("f") is lazy.get("f")
    assert attempts == [True, False]


def test_a_cache_directory_that_cannot_be_made(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    code = (
        "import numpy as np, igrt.kernels as k\n"
        "x = np.ones((1, 1), np.float32); o = np.zeros((1, 1))\n"
        "k.select('cpu').multiply_difference(o + 3, x, x * 0, o); print(o[0, 0])"
    )
    assert run(code, NUMBA_CACHE_DIR=str(blocked)) == "3.0"


def test_auto_loads_numba_only_when_numpy_has_taken_its_time() -> None:
    """The switch is by time; the test makes the time, not the clock."""
    code = (
        "import sys, numpy as np, igrt.kernels as k\n"
        "from igrt.kernels import patient\n"
        "x, out = np.arange(6, dtype=np.float32).reshape(1, 6), np.empty((2, 6), np.float32)\n"
        "def fill(kernels):\n"
        "    kernels.interpolate(x * 0, x, np.zeros(2, np.int64), np.array([0.3, 0.7]), out)\n"
        "    return out.tobytes(), 'numba' in sys.modules\n"
        "auto = k.select('auto')\n"
        "first = fill(auto)\n"
        "patient._OF_THE_PROCESS._left = 1e-9\n"
        "fill(auto)\n"  # takes the rest of the time
        "last = fill(auto)\n"
        "print(auto.name, first[1], last[1], first[0] == last[0])"
    )
    assert run(code) == "auto False True True"


def test_what_measures_need_not_wait_for_numba() -> None:
    code = (
        "import sys, numpy as np, igrt.kernels as k\n"
        "from igrt.kernels.patient import settle\n"
        "auto = k.select('auto')\n"
        "before = 'numba' in sys.modules\n"
        "settle()\n"
        "auto.multiply_difference(*(np.ones((1, 2)) for _ in range(4)))\n"
        "print(before, 'numba' in sys.modules)"
    )
    assert run(code) == "False True"


def test_auto_takes_numba_where_it_is_loaded_already() -> None:
    code = "import numba, igrt.kernels as k; print(k.select('auto').name)"
    assert run(code) == "cpu"
