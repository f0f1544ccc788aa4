"""Augmented models as files."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from igrt.errors import IgrtError, InputError, ModelLoadError
from igrt.export import save_augmented

TEXT = """<ir_version: 8, opset_import: ["" : 13]>
    g (float[N,3] x) => (float[N,2] y)
    <float[3,2] w = {1,2,3,4,5,6}>
    { h = MatMul(x, w) y = Tanh(h) }"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "from"
    folder.mkdir()
    onnx.save(onnx.parser.parse_model(TEXT), folder / "model.onnx")
    return folder / "model.onnx"


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """The same with its weights in another file, in a folder of their own."""
    folder = tmp_path / "big"
    (folder / "data").mkdir(parents=True)
    proto = onnx.parser.parse_model(TEXT)
    (weight,) = proto.graph.initializer
    values = onnx.numpy_helper.to_array(weight).astype(np.float32)
    (folder / "data" / "w.bin").write_bytes(values.tobytes())
    weight.ClearField("float_data")
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="data/w.bin")
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    return folder / "model.onnx"


def gradient(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feeds = {"x": x, "igrt/cotangent/y": np.ones((len(x), 2), np.float32)}
    return np.asarray(session.run(["igrt/grad/x"], feeds)[0])


def expected(x: np.ndarray) -> np.ndarray:
    w = np.array([[1, 2], [3, 4], [5, 6]])
    return np.asarray((1 - np.tanh(x @ w) ** 2) @ w.T)


X = np.array([[0.1, -0.2, 0.05], [0.0, 0.1, 0.1]], np.float32)
# float32 sums of two products of order 1
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def test_the_report_is_what_was_written(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    report = save_augmented(model, out)
    written = onnx.load(out)
    onnx.checker.check_model(written, full_check=True)
    assert report["file"] == str(out)
    assert report["bytes"] == out.stat().st_size
    assert report["nodes"] == len(written.graph.node)
    assert report["added"] == report["nodes"] - 2
    assert report["opset"] == 18
    assert report["of"] == "y: float32[N, 2]"
    assert report["cotangent"] == "igrt/cotangent/y: float32[N, 2]"
    assert report["gradients"] == ["igrt/grad/x: float32[N, 3]"]
    assert written.ir_version <= 10
    np.testing.assert_allclose(gradient(out, X), expected(X), **CLOSE)


def test_the_model_itself_is_not_touched(model: Path, tmp_path: Path) -> None:
    before = model.read_bytes()
    save_augmented(model, tmp_path / "out.onnx")
    assert model.read_bytes() == before
    with pytest.raises(InputError, match="the model itself"):
        save_augmented(model, model.parent / ".." / "from" / "model.onnx")
    assert model.read_bytes() == before


def test_external_data_goes_along(big: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    report = save_augmented(big, other / "out.onnx")
    assert (other / "data" / "w.bin").read_bytes() == (big.parent / "data" / "w.bin").read_bytes()
    assert report["bytes"] < 5000
    np.testing.assert_allclose(gradient(other / "out.onnx", X), expected(X), **CLOSE)


def test_external_data_stays_where_it_is_in_the_same_folder(big: Path) -> None:
    data = big.parent / "data" / "w.bin"
    before = data.stat()
    save_augmented(big, big.parent / "out.onnx")
    assert (data.stat().st_ino, data.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    np.testing.assert_allclose(gradient(big.parent / "out.onnx", X), expected(X), **CLOSE)


def test_external_data_of_another_model_is_not_overwritten(big: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "data"
    other.mkdir(parents=True)
    (other / "w.bin").write_bytes(b"the weights of another model")
    with pytest.raises(InputError, match=r"w\.bin") as caught:
        save_augmented(big, tmp_path / "other" / "out.onnx")
    assert caught.value.hint
    assert (other / "w.bin").read_bytes() == b"the weights of another model"
    assert not (tmp_path / "other" / "out.onnx").exists()


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("out.txt", {}, InputError),
        ("no/out.onnx", {}, InputError),
        ("out.onnx", {"of": "z"}, InputError),
        ("out.onnx", {"wrt": ["w"]}, InputError),
        ("folder.onnx", {}, InputError),
    ],
)
def test_a_refusal_leaves_nothing(
    model: Path, tmp_path: Path, name: str, options: dict[str, str], kind: type[IgrtError]
) -> None:
    (tmp_path / "folder.onnx").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(kind) as caught:
        save_augmented(model, tmp_path / name, **options)
    assert caught.value.hint
    assert sorted(tmp_path.rglob("*")) == before


def test_a_missing_model(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="no such model file"):
        save_augmented(tmp_path / "no.onnx", tmp_path / "out.onnx")


def test_the_same_external_data_may_be_there_already(big: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    save_augmented(big, other / "out.onnx")
    before = (other / "data" / "w.bin").stat()
    save_augmented(big, other / "again.onnx")
    assert (other / "data" / "w.bin").stat().st_ino == before.st_ino
    assert sorted(p.name for p in other.iterdir()) == ["again.onnx", "data", "out.onnx"]
