"""Signals while the model runs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

# a run that nobody lives to see the end of
ENDLESS = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,3] x) => (float[N,3] y) <int64 n = {1000000000000}, bool go = {1}> {
    y = Loop(n, go, x) <body = b (int64 i, bool c, float[N,3] s) => (bool d, float[N,3] t)
        { d = Identity(c) t = Tanh(s) }>
}"""

# says when onnxruntime begins to run
SCRIPT = """
import signal, sys
from igrt.cli.main import main
from igrt.runtime.session import OrtSession
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may have ignored it
run = OrtSession.run
def told(*arguments):
    print("running", flush=True)
    return run(*arguments)
OrtSession.run = told
main(sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals between processes")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_while_the_model_runs(number: int, tmp_path: Path) -> None:
    onnx.save(onnx.parser.parse_model(ENDLESS), tmp_path / "endless.onnx")
    np.save(tmp_path / "x.npy", np.ones((1, 3), np.float32))
    command = [sys.executable, "-c", SCRIPT, "explain", "endless.onnx", "-i", "x.npy"]
    child = subprocess.Popen(
        [*command, "-o", "x.json", "--no-cache"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "running\n"
    child.send_signal(number)
    try:
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert (child.returncode, out, err.strip()) == (130, "", "interrupted")
    assert sorted(os.listdir(tmp_path)) == ["endless.onnx", "x.npy"]
