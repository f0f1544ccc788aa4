"""Runs device_cases.py on Numba's CUDA simulator, in another process; see tests/kernels."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("device_cases.py")


@pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba, whose simulator runs CUDA kernels"
)
def test_the_device_lane_on_the_simulator(tmp_path: Path) -> None:
    options = ["-q", "-o", "addopts=", "-p", "no:cacheprovider", "--import-mode=importlib"]
    environment = {
        **os.environ,
        "NUMBA_ENABLE_CUDASIM": "1",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    environment.pop("PYTEST_ADDOPTS", None)
    command = [sys.executable, "-P", "-m", "pytest", *options]
    done = subprocess.run(
        [*command, f"--basetemp={tmp_path / 'inner'}", str(CASES)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
