"""Large tensors of a model in one file: what is taken out, and that nobody notices."""

import gc
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import igrt
from igrt import weights
from igrt.errors import ModelLoadError
from igrt.source import LOCATION, read
from igrt.verify import verify
from igrt.weights import Shared, taken_out

pytest.importorskip("fcntl", reason="weights stay in the model where files cannot be locked")

ROOT = Path(__file__).parents[1]
CAT = ROOT / "models/inception_cifar"


@pytest.fixture
def small(monkeypatch):
    """Takes small tensors for large ones."""
    monkeypatch.setattr(weights, "_LEAST", 1 << 10)
    monkeypatch.setattr(weights, "_LARGER", 100)
    monkeypatch.setattr(weights, "_SHARED", 0)


def product_model(*tensors):
    """y = x W₀ W₁ …, with the matrices as they are given."""
    model = parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        g (float[N, 16] x) => (float[N, 16] y) { y = Identity (x) }""")
    model.graph.node.pop()
    last = "x"
    for i, tensor in enumerate(tensors):
        made = "y" if i == len(tensors) - 1 else f"h{i}"
        model.graph.node.append(helper.make_node("MatMul", [last, tensor.name], [made]))
        model.graph.initializer.append(tensor)
        last = made
    return model


def matrix(name, seed, dtype=np.float32):
    draw = np.random.default_rng(seed)
    return numpy_helper.from_array(draw.standard_normal((16, 16)).astype(dtype), name)


def test_what_is_taken_out_can_be_put_back(small):
    kept = numpy_helper.from_array(np.arange(600, dtype=np.int64), "whole numbers")
    listed = helper.make_tensor("listed", TensorProto.FLOAT, [16, 16], np.ones(256), raw=False)
    model = product_model(matrix("a", 0), listed, matrix("ünï", 1))
    model.graph.initializer.append(kept)
    given = read(model)
    lean, found = taken_out(given)
    assert found is not None and len(lean.data) < len(given.data) - 2 * 900
    assert lean.sha256 == given.sha256  # of the model as the user knows it
    made = onnx.ModelProto.FromString(lean.data)
    outside = [t.name for t in made.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    assert outside == ["a", "ünï"]
    onnx.load_external_data_for_model(made, str(found.folder))
    for tensor in made.graph.initializer:
        tensor.ClearField("data_location")
    assert made == model


def test_sizes_in_one_field_are_read_as_those_in_several(small):
    tensor = matrix("a", 0)
    assert tensor.SerializeToString().startswith(b"\x08\x10\x08\x10")  # one field for each size
    packed = b"\x0a\x02\x10\x10" + tensor.SerializeToString()[4:]
    data = product_model(tensor, matrix("b", 1)).SerializeToString()
    whole = tensor.SerializeToString()
    assert data.count(whole) == 1 and len(packed) == len(whole)
    lean, found = taken_out(read(data.replace(whole, packed)))
    assert found is not None and found.size == 4096 + 1024
    made = onnx.ModelProto.FromString(lean.data)
    assert [list(t.dims) for t in made.graph.initializer] == [[16, 16], [16, 16]]


@pytest.mark.parametrize("cut", [1, 9, 100, 700, 1500])
def test_a_truncated_model_is_left_alone(small, cut):
    data = product_model(matrix("a", 0), matrix("b", 1)).SerializeToString()
    given = read(data[:-cut])
    assert taken_out(given) == (given, None)
    with pytest.raises(ModelLoadError, match="truncated"):
        igrt.Explainer(data[:-cut])


def external(folder, model):
    """The model with its matrices in a file beside it."""
    proto = onnx.ModelProto.FromString(model.SerializeToString())
    file = folder / "m.onnx"
    onnx.save(proto, file, save_as_external_data=True, location="w", size_threshold=0)
    return file


def test_numbers_without_an_end_are_no_model(small):
    given = read(b"\xff" * 200_000)
    assert taken_out(given) == (given, None)


@pytest.mark.parametrize("offset", ["-1024", "2048", "here"])
def test_references_outside_a_file_are_left_to_onnxruntime(monkeypatch, tmp_path, offset):
    monkeypatch.setattr(weights, "_SHARED", 0)
    model = product_model(matrix("a", 0), matrix("b", 1))
    file = external(tmp_path, model)
    moved = onnx.load(file, load_external_data=False)
    at = {e.key: e for e in moved.graph.initializer[1].external_data}
    at["offset"].value = offset
    file.write_bytes(moved.SerializeToString())
    assert list(Shared().arrays(moved.SerializeToString(), tmp_path)) == ["a"]
    with pytest.raises(ModelLoadError):
        igrt.explain(file, np.ones((1, 16), np.float32), target=0)


def test_references_into_other_files_are_left_alone(small, tmp_path):
    model = product_model(matrix("a", 0), matrix("b", 1))
    file = external(tmp_path, model)
    mixed = onnx.load(file, load_external_data=False)
    mixed.graph.initializer[0].CopyFrom(matrix("a", 0))
    file.write_bytes(mixed.SerializeToString())
    given = read(file)
    assert taken_out(given) == (given, None)
    x = np.ones((1, 16), np.float32)
    # matrices that are not packed are added up in another order
    np.testing.assert_allclose(
        igrt.explain(file, x, target=0).values["x"],
        igrt.explain(model, x, target=0).values["x"],
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("name", ["inception_cifar", "sst2_attention", "trec_cnn", "en_de_gru"])
def test_attributions_stay(monkeypatch, name, small, tmp_path):
    file = ROOT / f"models/{name}/{name}.onnx"
    draw = np.random.default_rng(0)

    def explained(cache):
        explainer = igrt.Explainer(file, provider="cpu", threads=1, cache=cache)
        feeds = {}
        for spec in explainer.inputs:
            shape = [d if isinstance(d, int) else {"batch": 1}.get(d, 9) for d in spec.shape]
            whole = "int" in spec.dtype
            values = np.arange(np.prod(shape)) % 7 + 3 if whole else draw.standard_normal(shape)
            feeds[spec.name] = np.reshape(values, shape).astype(spec.dtype)
        return explainer, feeds

    made, feeds = explained(tmp_path)
    assert made._weights is not None
    target = (0,) * (made.of.rank - 1)
    outside = made.explain(feeds, target=target, n_steps=8)
    again, _ = explained(tmp_path)  # with the graphs in the cache
    warm = again.explain(feeds, target=target, n_steps=8)
    monkeypatch.setattr(weights, "_LEAST", 1 << 40)
    plain, _ = explained(tmp_path)  # whose graphs have other keys
    assert plain._weights is None
    inside = plain.explain(feeds, target=target, n_steps=8)
    for key, values in inside.values.items():
        assert np.array_equal(outside.values[key], warm.values[key])
        # matrices that are not packed are added up in another order
        np.testing.assert_allclose(
            outside.values[key], values, rtol=0, atol=2e-6 * np.abs(values).max()
        )
    assert outside.provenance["sha256"] == inside.provenance["sha256"]


def test_checks_have_the_weights(small):
    model = product_model(matrix("a", 0), matrix("b", 1))
    report = verify(model, np.ones((2, 16), np.float32), target=0)
    assert report.holds


def test_float16_is_made_of_the_weights_themselves(small):
    explainer = igrt.Explainer(product_model(matrix("a", 0)), precision="fp16")
    assert explainer._weights is None


def test_sessions_share_one_mapping(small):
    lean, found = taken_out(read(product_model(matrix("a", 0), matrix("b", 1))))
    shared = Shared()
    first = shared.arrays(lean.data, found.folder)
    second = shared.arrays(lean.data, found.folder)
    assert list(first) == ["a", "b"]
    assert all(np.shares_memory(first[n], second[n]) for n in first)
    assert np.array_equal(first["a"], numpy_helper.to_array(matrix("a", 0)))
    shared.let_go()  # from memory, but not from the file
    assert np.array_equal(first["b"], numpy_helper.to_array(matrix("b", 1)))


def test_external_data_out_of_line_is_left_to_onnxruntime(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "_SHARED", 0)
    model = product_model(matrix("a", 0), matrix("b", 1))
    file = external(tmp_path, model)
    moved = onnx.load(file, load_external_data=False)
    at = {e.key: e for e in moved.graph.initializer[1].external_data}
    odd = int(at["offset"].value) + 1
    stored = (tmp_path / "w").read_bytes()[: odd - 1] + b"\0" + model.graph.initializer[1].raw_data
    (tmp_path / "w").write_bytes(stored)
    at["offset"].value = str(odd)
    file.write_bytes(moved.SerializeToString())
    assert list(Shared().arrays(moved.SerializeToString(), tmp_path)) == ["a"]
    found = igrt.explain(file, np.ones((1, 16), np.float32), target=0)
    a, b = (numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer)
    # float32 products of 16 numbers
    np.testing.assert_allclose(found.values["x"][0], (a @ b)[:, 0], rtol=1e-5, atol=1e-6)


def test_the_file_ends_with_the_explainer(small):
    explainer = igrt.Explainer(product_model(matrix("a", 0), matrix("b", 1)))
    folder = explainer._weights.folder
    assert folder.stat().st_mode & 0o77 == 0  # nobody else comes to the file
    del explainer
    gc.collect()
    assert not folder.exists()


HOLDS = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from igrt import source, weights
weights._LEAST, weights._LARGER = 1 << 10, 100
from test_weights import matrix, product_model
model = product_model(matrix("a", 0), matrix("b", 1))
_, found = weights.taken_out(source.read(model))
"""
FORKS = """
folder, child = found.folder, os.fork()
if not child:
    del found
    sys.exit()
os.waitpid(child, 0)
print(folder.exists())
"""


def test_a_fork_leaves_the_file_to_its_process():
    done = subprocess.run(
        [sys.executable, "-c", HOLDS + FORKS],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == ["True"]


def test_a_file_that_was_swept_is_written_again(small):
    x = np.ones((1, 16), np.float32)
    model = product_model(matrix("a", 0), matrix("b", 1))
    explainer = igrt.Explainer(model)
    folder = explainer._weights.folder
    (folder / LOCATION).unlink()
    folder.rmdir()
    found = explainer.explain(x, target=0)
    assert (folder / LOCATION).exists()
    assert np.array_equal(found.values["x"], igrt.explain(model, x, target=0).values["x"])


def test_what_a_killed_process_left_is_swept(small, tmp_path, monkeypatch):
    code = HOLDS + "print(found.folder, flush=True)\nsys.stdin.read()"
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    folder = Path(process.stdout.readline().strip())
    file = folder / LOCATION
    old = time.time() - 2 * weights._UNLOCKED
    os.utime(file, (old, old))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _, found = taken_out(read(product_model(matrix("a", 0), matrix("b", 1))))
    assert file.exists()  # its process lives
    process.kill()
    process.communicate()
    _, another = taken_out(read(product_model(matrix("a", 0), matrix("b", 1))))
    assert not folder.exists()
    assert found.folder.exists() and another.folder.exists()


def test_without_a_place_the_weights_stay_in_the_model(small, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    given = read(product_model(matrix("a", 0), matrix("b", 1)))
    assert taken_out(given) == (given, None)


PEAK = """
import sys
from pathlib import Path
import numpy as np
import igrt
def peak():
    return 1024 * int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
small, large = sys.argv[1:]
x = np.ones((1, 1024), np.float32)
igrt.explain(small, x, target=0, n_steps=2, provider="cpu", threads=1)
before = peak()
igrt.explain(large, x, target=0, n_steps=2, provider="cpu", threads=1)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are read from /proc")
def test_weights_are_in_memory_once_and_a_bit(tmp_path):
    draw = np.random.default_rng(0)

    def written(name, count):
        model = parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
            g (float[N, 1024] x) => (float[N, 1024] h0) { h0 = Tanh (x) }""")
        for i in range(count):
            # far from the numbers below which products of them are slow
            w = 0.05 * draw.standard_normal((1024, 1024), dtype=np.float32)
            model.graph.initializer.append(numpy_helper.from_array(w, f"w{i}"))
            model.graph.node.append(helper.make_node("MatMul", [f"h{i}", f"w{i}"], [f"p{i}"]))
            model.graph.node.append(helper.make_node("Tanh", [f"p{i}"], [f"h{i + 1}"]))
        model.graph.output[0].name = f"h{count}"
        onnx.save(model, tmp_path / name)
        return tmp_path / name

    files = written("small.onnx", 1), written("large.onnx", 24)  # 4 and 96 MiB
    command = [sys.executable, "-c", PEAK, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # once while the file is read, once mapped: not at the same time; what is left is the graphs'
    assert int(done.stdout) < 1.5 * (96 << 20)
