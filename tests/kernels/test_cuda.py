"""Runs cuda_cases.py and cuda_kept_cases.py on Numba's CUDA simulator, in another process.

Numba reads NUMBA_ENABLE_CUDASIM when it is imported, and with it CUDA is simulated for the whole
process.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = [Path(__file__).with_name(n) for n in ("cuda_cases.py", "cuda_kept_cases.py")]


@pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba, whose simulator runs CUDA kernels"
)
def test_cuda_kernels_on_the_simulator(tmp_path: Path) -> None:
    # Our own options only: neither plugins' options of the outer run nor its cache.
    options = ["-q", "-o", "addopts=", "-p", "no:cacheprovider", "--import-mode=importlib"]
    command = [sys.executable, "-P", "-m", "pytest", *options]
    environment = {
        **os.environ,
        "NUMBA_ENABLE_CUDASIM": "1",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    environment.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(
        [*command, f"--basetemp={tmp_path / 'inner'}", *map(str, CASES)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
