"""Models from files: what is read, what is refused, and with which words."""

import hashlib
import os
import pathlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from igrt.errors import ModelLoadError
from igrt.graph.load import external_files, load, serialise


def small():
    return parser.parse_model("""
        <ir_version: 8, opset_import: ["": 18]>
        g (float[2] x) => (float[2] y) { y = Exp (x) }
    """)


DATA = small().SerializeToString()


# -- what is read ---------------------------------------------------------------------------------


def test_from_a_path(tmp_path):
    path = tmp_path / "small.onnx"
    path.write_bytes(DATA)
    for given in (path, str(path)):
        source = load(given)
        assert source.model == small()
        assert (source.name, source.folder) == ("small.onnx", tmp_path)
        assert source.sha256 == hashlib.sha256(DATA).hexdigest()


def test_from_bytes_and_from_memory():
    for given in (DATA, small()):
        source = load(given)
        assert source.model == small()
        assert (source.name, source.folder) == ("model", None)
        assert source.sha256 == hashlib.sha256(DATA).hexdigest()


def test_serialise_gives_the_bytes_back():
    assert serialise(load(DATA).model) == DATA


# -- what is refused ------------------------------------------------------------------------------


def refusal(given):
    with pytest.raises(ModelLoadError) as caught:
        load(given)
    assert caught.value.__cause__ is None
    return caught.value


@pytest.mark.parametrize("given", [None, 3, ["a.onnx"], np.zeros(3)])
def test_other_types(given):
    assert type(given).__name__ in refusal(given).message


def test_missing_file(tmp_path):
    (tmp_path / "resnet50.onnx").write_bytes(DATA)
    assert "resnet50.onnx" in refusal(tmp_path / "resnet5.onnx").hint
    assert refusal(tmp_path / "zebra.onnx").hint == "check the path"
    assert "does not exist" in refusal(tmp_path / "no" / "model.onnx").hint


def test_folder(tmp_path):
    assert "is not a file" in refusal(tmp_path).message


def test_path_with_a_null_character(tmp_path):
    assert "no such model file" in refusal(f"{tmp_path}/a\0b.onnx").message


def test_empty(tmp_path):
    (tmp_path / "empty.onnx").touch()
    assert "is empty" in refusal(tmp_path / "empty.onnx").message
    assert refusal(b"").message == "the byte string is empty"


@pytest.mark.parametrize("length", range(1, len(DATA)))
def test_every_truncation(length):
    # some cuts leave a whole message: then a part that every model has is missing
    refusal(DATA[:length])


@pytest.mark.parametrize(
    "start, hint",
    [
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"PK\x03\x04\x14\x00", "zip"),
        (b"\x80\x02}q\x00.", "pickle"),
        (b"\x80\x04\x95\x10", "pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x1c\x00\x00\x00TFL3", "TensorFlow Lite"),
        (b"\x1c\x00\x00\x00ORTM", ".ort"),
        (b"<!DOCTYPE html><html>", "completely"),
        (b"\x00" * 64, "completely"),
        (b"\xff" * 64, "completely"),
        (b"\x12", "completely"),
    ],
)
def test_other_formats(start, hint):
    error = refusal(start)
    assert hint in error.hint
    assert "ONNX" in error.message


def test_another_onnx_message():
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "weight")
    assert "ONNX" in refusal(tensor.SerializeToString()).message


def test_no_graph():
    assert "no ONNX graph" in refusal(onnx.ModelProto()).message


def test_no_outputs():
    model = small()
    del model.graph.output[:]
    assert "no outputs" in refusal(model).message


@pytest.mark.parametrize("domain", [None, "ai.onnx.ml"])
def test_no_opset(domain):
    model = small()
    del model.opset_import[:]
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 3))
    assert "operator set" in refusal(model).message


def test_a_model_without_standard_operators_needs_no_opset_for_them():
    text = """
        <ir_version: 8, opset_import: ["ai.onnx.ml": 3]>
        g (float[N,3] x) => (float[N,3] y) { y = ai.onnx.ml.Scaler <scale = [2.0]> (x) }
    """
    model = onnx.parser.parse_model(text)
    assert [o.version for o in load(model).model.opset_import if not o.domain] == [18]
    assert len(model.opset_import) == 1  # the caller's own


def test_the_opset_of_its_functions_is_then_that_of_a_model():
    text = """
        <ir_version: 8, opset_import: ["local": 1]>
        g (float[N,3] x) => (float[N,3] y) { y = local.F(x) }
        <domain: "local", opset_import: ["": 21]>
        F (x) => (y) { y = Tanh(x) }
    """
    model = load(onnx.parser.parse_model(text)).model
    assert [o.version for o in model.opset_import if not o.domain] == [21]


def test_the_long_name_of_the_standard_domain_counts():
    model = small()
    model.opset_import[0].domain = "ai.onnx"
    assert load(model).model == model


# -- external data --------------------------------------------------------------------------------


def outside(location):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    if location is not None:
        tensor.external_data.add(key="location", value=location)
    return tensor


def with_external(location):
    model = small()
    model.graph.initializer.append(outside(location))
    return model


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "sub").mkdir()
    for name in ("secret.bin", "models/w.bin", "models/sub/w.bin"):
        (tmp_path / name).write_bytes(np.float32([1, 2]).tobytes())
    return tmp_path / "models"


def at(folder, model):
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


@pytest.mark.parametrize("location", ["w.bin", "sub/w.bin", "./w.bin"])
def test_data_inside_the_folder_stays_a_reference(folder, location):
    source = load(at(folder, with_external(location)))
    assert source.folder == folder
    assert source.model == with_external(location)


def test_data_is_not_opened(folder, monkeypatch):
    path, opened = at(folder, with_external("w.bin")), []
    read = pathlib.Path.read_bytes
    monkeypatch.setattr(pathlib.Path, "read_bytes", lambda p: (opened.append(p), read(p))[1])
    load(path)
    assert opened == [path]


@pytest.mark.parametrize(
    "location",
    [
        "",
        None,
        "../secret.bin",
        "sub/../../secret.bin",
        "sub/..",
        "..\\secret.bin",
        "sub\\..\\..\\secret.bin",
        "/etc/passwd",
        "\\\\server\\share",
        "C:\\secret.bin",
        "C:secret.bin",
        "w.bin\0.txt",
    ],
)
def test_data_outside_the_folder(folder, location):
    assert "outside its own folder" in refusal(at(folder, with_external(location))).message


@pytest.mark.parametrize("location", ["missing.bin", "sub"])
def test_missing_data(folder, location):
    error = refusal(at(folder, with_external(location)))
    assert "missing" in error.message
    assert str(folder) in error.hint


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_data_in_no_regular_file(folder):
    os.mkfifo(folder / "pipe")
    assert "missing" in refusal(at(folder, with_external("pipe"))).message


@pytest.mark.parametrize(
    "given", [with_external("w.bin"), with_external("w.bin").SerializeToString()]
)
def test_a_model_from_memory_has_no_folder(given):
    error = refusal(given)
    assert "only a file can have" in error.message
    assert "path" in error.hint


def hidden(place):
    model, tensor = small(), outside("../secret.bin")
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    body = helper.make_graph([constant], "b", [], [helper.make_tensor_value_info("c", 1, [2])])
    match place:
        case "constant":
            model.graph.node.append(constant)
        case "list":
            model.graph.node.append(helper.make_node("Odd", [], ["c"], tensors=[tensor]))
        case "branch":
            branch = helper.make_node("If", ["x"], ["c"], then_branch=body, else_branch=body)
            model.graph.node.append(branch)
        case "initializer of a branch":
            body.initializer.append(tensor)
            del body.node[:]
            model.graph.node.append(helper.make_node("If", ["x"], ["c"], then_branch=body))
        case "sparse":
            model.graph.sparse_initializer.add(values=tensor, dims=[2])
        case "function":
            ops = [helper.make_opsetid("", 18)]
            model.functions.append(helper.make_function("d", "F", [], ["c"], [constant], ops))
    return model


@pytest.mark.parametrize(
    "place", ["constant", "list", "branch", "initializer of a branch", "sparse", "function"]
)
def test_data_outside_the_folder_is_found_anywhere_in_the_model(folder, place):
    assert external_files(hidden(place)) == ["../secret.bin"]
    assert "outside its own folder" in refusal(at(folder, hidden(place))).message
