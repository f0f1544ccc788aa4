"""Large models: weights beyond 2 GB stay on disk, and 60,000 nodes take seconds."""

import os
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, parser

import igrt
from igrt.export.augmented import save_augmented
from igrt.graph.load import load
from igrt.graph.normalize import normalize
from igrt.vjp.augment import differentiate


def external_model(folder, rows, columns, data):
    """y = tanh(x W) with W in a file beside the model."""
    model = parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        g (float[N, {rows}] x) => (float[N, {columns}] y) {{ h = MatMul (x, W)  y = Tanh (h) }}""")
    tensor = model.graph.initializer.add()
    tensor.name, tensor.data_type = "W", TensorProto.FLOAT
    tensor.dims.extend([rows, columns])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "weights.bin"), ("length", str(4 * rows * columns))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    if data is None:
        with open(folder / "weights.bin", "wb") as file:
            file.truncate(4 * rows * columns)  # a hole: takes no room on disk
    else:
        (folder / "weights.bin").write_bytes(data.astype(np.float32).tobytes())
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


PEAK = """
import resource, sys
import igrt
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model = igrt.augment(sys.argv[1])
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(model.SerializeToString()), after - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs sparse files and KiB from getrusage")
def test_weights_beyond_2_gb_are_never_read(tmp_path):
    path = external_model(tmp_path, 5_000, 131_072, None)
    assert (tmp_path / "weights.bin").stat().st_size > 2.5e9
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    size, kibibytes = map(int, done.stdout.split())
    assert size < 10_000
    # what importing onnx and the rules on first use takes, and nothing of 2.6 GB
    assert kibibytes < 200_000
    os.remove(tmp_path / "weights.bin")


def test_external_weights_are_found_by_sessions_and_copies(tmp_path):
    w = np.random.default_rng(0).standard_normal((6, 3))
    path = external_model(tmp_path, 6, 3, w)
    x = np.float32([[0.1, -0.2, 0.3, 0.4, -0.5, 0.6]])
    result = igrt.explain(path, x, target=1)
    # the path from zero is a line in h = x W, so each input gets its share of tanh(h)
    h = x @ w
    np.testing.assert_allclose(
        result.values["x"], x * w[:, 1] / h[0, 1] * np.tanh(h[0, 1]), rtol=1e-5
    )
    other = tmp_path / "elsewhere"
    other.mkdir()
    save_augmented(path, other / "augmented.onnx")
    path.unlink()
    (tmp_path / "weights.bin").unlink()
    again = igrt.explain(
        other / "augmented.onnx",
        {"x": x, "igrt/cotangent/y": 0 * x[:, :3]},
        of="y",
        wrt=["x"],
        target=1,
    )
    np.testing.assert_allclose(again.values["x"], result.values["x"], rtol=1e-6)


MIX = [
    # (operator, attributes, second operand)
    ("MatMul", {}, "square"),
    ("Add", {}, "row"),
    ("LayerNormalization", {"axis": -1}, "row"),
    ("Relu", {}, None),
    ("Transpose", {"perm": [0, 2, 1]}, None),
    ("Transpose", {"perm": [0, 2, 1]}, None),
    ("Softmax", {"axis": -1}, None),
    ("Mul", {}, "row"),
    ("Tanh", {}, None),
    ("Sigmoid", {}, None),
]


def deep(count, opset=17):
    """A network of so many nodes in a row."""
    nodes = []
    for i in range(count):
        op_type, attributes, other = MIX[i % len(MIX)]
        operands = [f"t{i}", *([other] if other else [])]
        nodes.append(helper.make_node(op_type, operands, [f"t{i + 1}"], **attributes))
    rng = np.random.default_rng(0)
    stored = {"square": rng.standard_normal((8, 8)) / 3, "row": rng.standard_normal(8)}
    graph = helper.make_graph(
        nodes,
        "deep",
        [helper.make_tensor_value_info("t0", TensorProto.FLOAT, ["N", 4, 8])],
        [helper.make_tensor_value_info(f"t{count}", TensorProto.FLOAT, ["N", 4, 8])],
        [onnx.numpy_helper.from_array(a.astype(np.float32), n) for n, a in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    return model


def seconds(count):
    model = deep(count)
    start = time.process_time()
    normal = normalize(load(model).model)
    middle = time.process_time()
    made = differentiate(normal)
    assert len(made.model.graph.node) > 2 * count
    return middle - start, time.process_time() - middle


@pytest.mark.slow
def test_sixty_thousand_nodes():
    """Measured: 60,000 nodes normalise in 2 s and differentiate in 20 s of one slow core."""
    differentiate(normalize(deep(50)))  # loads the rules
    small, large = sum(seconds(6_000)), sum(seconds(60_000))
    # ten times the nodes: linear but for the caches of the processor; quadratic would be 100
    assert large < 25 * small
    assert large < 120
