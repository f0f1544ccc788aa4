"""What people get wrong: every mistake ends with an error and a hint, and leaves nothing behind."""

import os
import pickle
import random
import shlex
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

PICKLE = pickle.dumps({"weights": [1.0]})

NOT_MODELS = {
    "empty": b"",
    "json": b'{"graph": {"node": []}}',
    "pickle": PICKLE,
    "zip": b"PK\x03\x04\x14\x00\x00\x00\x08\x00",
    "hdf5": b"\x89HDF\r\n\x1a\n\x00\x00",
    "tflite": b"\x1c\x00\x00\x00TFL3\x14\x00\x20\x00",
    "ort": b"\x24\x00\x00\x00ORTM\x00\x00\x00\x00",
    "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n",
    "text": b"These are the release notes of a model.\n",
    "noise": random.Random(0).randbytes(500),
}

BAD_MODELS = {
    "no_outputs": '<ir_version: 8, opset_import: ["" : 17]> g (float[N,3] x) => () { y = Tanh(x) }',
    "no_opset": '<ir_version: 8, opset_import: ["ai.onnx.ml" : 3]>'
    " g (float[N,3] x) => (float[N,3] y) { y = Tanh(x) }",
    "opset_0": '<ir_version: 3, opset_import: ["" : 0]>'
    " g (float[N,3] x) => (float[N,3] y) { y = Tanh(x) }",
    "opset_99": '<ir_version: 8, opset_import: ["" : 99]>'
    " g (float[N,3] x) => (float[N,3] y) { y = Tanh(x) }",
    "ir_99": '<ir_version: 99, opset_import: ["" : 17]>'
    " g (float[N,3] x) => (float[N,3] y) { y = Tanh(x) }",
    "cyclic": '<ir_version: 8, opset_import: ["" : 17]>'
    " g (float[N,3] x) => (float[N,3] y) { a = Add(x, b) b = Tanh(a) y = Tanh(b) }",
    "dangling": '<ir_version: 8, opset_import: ["" : 17]>'
    " g (float[N,3] x) => (float[N,3] y) { y = Add(x, nowhere) }",
    "unknown_operator": '<ir_version: 8, opset_import: ["" : 17]>'
    " g (float[N,3] x) => (float[N,3] y) { y = Frobnicate(x) }",
    "foreign": '<ir_version: 8, opset_import: ["" : 17, "com.example" : 1]>'
    " g (float[N,3] x) => (float[N,3] y) { y = com.example.Secret(x) }",
    "beside_foreign": '<ir_version: 8, opset_import: ["" : 17, "com.example" : 1]>'
    " g (float[N,3] x) => (float[N,3] y) { h = com.example.Secret(x) z = Tanh(x) y = Add(z, h) }",
    "argmax": '<ir_version: 8, opset_import: ["" : 17]>'
    " g (float[N,3] x) => (int64[N,1] y) { h = Tanh(x) y = ArgMax<axis = 1>(h) }",
    "rounded": '<ir_version: 8, opset_import: ["" : 17]>'
    " g (float[N,3] x) => (float[N,3] y) { y = Round(x) }",
    "whole": '<ir_version: 8, opset_import: ["" : 17]>'
    " g (int64[N,3] x) => (float[N,3] y) { h = Cast<to = 1>(x) y = Tanh(h) }",
    "wrong_types": '<ir_version: 8, opset_import: ["" : 17]>'
    " g (float[N,3] x) => (float[N,3] y) <int64[3] w = {1, 2, 3}> { y = Add(x, w) }",
    "orphan": '<ir_version: 8, opset_import: ["" : 17]>'
    " g (float[N,3] x) => (float[N,3] y) { z = Tanh(x) }",
    "constant": '<ir_version: 8, opset_import: ["" : 17]>'
    " g () => (float[2] y) <float[2] w = {1, 2}> { y = Tanh(w) }",
    "twice": '<ir_version: 8, opset_import: ["" : 17]>'
    " g (float[N,3] x) => (float[N,3] y) { y = Tanh(x) y = Sigmoid(x) }",
    "sequence": '<ir_version: 8, opset_import: ["" : 17]>'
    " g (float[N,3] x) => (seq(float[N,3]) y) { y = SequenceConstruct(x) }",
    "strings": '<ir_version: 8, opset_import: ["" : 17]>'
    " g (string[N,3] x) => (float[N,3] y) { y = Cast<to = 1>(x) }",
    "zero_axis": '<ir_version: 8, opset_import: ["" : 17]>'
    " g (float[N,0] x) => (float[N,0] y) { y = Tanh(x) }",
    # tanh(inf) = 1, but the slope at 0 is 1e60, more than float32 holds
    "steep": '<ir_version: 8, opset_import: ["" : 17]>'
    " g (float[N,3] x) => (float[N,3] y) <float large = {1e30}>"
    " { a = Mul(x, large) b = Mul(a, large) y = Tanh(b) }",
}


def external(location: str) -> onnx.ModelProto:
    """A model whose weight is in another file."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    shape = ["N", 3]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [weight],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def png_chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")


def png_bomb(side: int) -> bytes:
    """A black picture of one bit per pixel: 50 MB of zeros in 50 kB."""
    header = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    rows = zlib.compress(bytes((side // 8 + 1) * side), 1)
    chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*c) for c in chunks)


@pytest.fixture(scope="module")
def workshop(shared_folder: Path) -> Path:
    """Good files and hostile ones."""
    here = shared_folder
    for name, data in NOT_MODELS.items():
        (here / f"{name}.onnx").write_bytes(data)
    for name, text in BAD_MODELS.items():
        model = onnx.parser.parse_model(text)
        (here / f"{name}.onnx").write_bytes(model.SerializeToString())
    whole = (here / "mlp.onnx").read_bytes()
    (here / "truncated.onnx").write_bytes(whole[: len(whole) * 2 // 3])
    for name, location in (("lost", "weights.bin"), ("upwards", "../w"), ("absolute", "/etc/w")):
        (here / f"{name}.onnx").write_bytes(external(location).SerializeToString())
    # all fields before and behind keep their lengths, so that only the changed one is wrong
    tanh = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,3] xx) => (float[N,3] y)'
        "{ y = Tanhh(xx) }"
    ).SerializeToString()
    (here / "latin.onnx").write_bytes(tanh.replace(b"xx", b"x\xe9").replace(b"Tanhh", b"Hardm"))
    (here / "latin_operator.onnx").write_bytes(tanh.replace(b"Tanhh", b"Tanh\xe9"))
    typed = onnx.parser.parse_model(BAD_MODELS["rounded"])
    typed.graph.input[0].type.tensor_type.elem_type = 77
    (here / "new_type.onnx").write_bytes(typed.SerializeToString())
    (here / "folder.onnx").mkdir()
    os.mkfifo(here / "pipe.npy")

    x = np.ones((1, 3), np.float32)
    arrays: dict[str, Any] = {
        "wide": np.ones((1, 5), np.float32),
        "deep": np.ones((1, 1, 1, 3), np.float32),
        "words": np.array([["a", "b", "c"]]),
        "fractions": np.array([[0.5, 1.0]]),
        "nan": x * np.array([1, np.nan, 1], np.float32),
        "infinite": x * np.array([1, 1, np.inf], np.float32),
        "no_rows": np.ones((0, 3), np.float32),
        "no_columns": np.ones((1, 0), np.float32),
        "complex": x.astype(np.complex64),
        "three_rows": np.ones((3, 2), np.float32),
    }
    for name, array in arrays.items():
        np.save(here / f"{name}.npy", array)
    np.save(here / "objects.npy", np.array([[{}, {}, {}]], dtype=object), allow_pickle=True)
    np.savez(here / "several.npz", a=x, b=x)
    np.savez(here / "objects.npz", x=np.array([[{}]], dtype=object))
    (here / "cut.npy").write_bytes((here / "row.npy").read_bytes()[:-4])
    with zipfile.ZipFile(here / "no_arrays.npz", "w"):
        pass

    picture = (here / "picture.png").read_bytes()
    (here / "cut.png").write_bytes(picture[: len(picture) // 2])
    (here / "prose.png").write_text("not a picture")
    (here / "bomb.png").write_bytes(png_bomb(20_000))
    texts = {
        "std.toml": "std = [0.0]",
        "key.toml": "means = [0.5]",
        "type.toml": 'mean = "half"',
        "broken.toml": "mean = [0.5",
        "words.csv": "a,b,c\n1,two,3\n",
        "narrow.csv": "a,b\n1,2\n",
        "ragged.csv": "1,2,3\n1,2\n",
        "empty.csv": "",
        "header.csv": "a,b,c\n",
        "broken.json": "[[1, 2, 3",
        "nan.json": "[[1, NaN, 3]]",
        "ragged.json": "[[1, 2, 3], [1, 2]]",
        "object.json": '{"x": [1, 2, 3]}',
        "row.xyz": "1 2 3",
        "row.pkl": "1 2 3",
        "twins.txt": "ant\nbee\nant\ndog\n",
        "empty.txt": "",
    }
    for name, text in texts.items():
        (here / name).write_text(text)
    return here


class Bad(NamedTuple):
    """One mistake: the command, its exit code, and words that its message or hint must have."""

    command: str
    code: int
    words: tuple[str, ...]


def bad(command: str, code: int, *words: str) -> Any:
    return pytest.param(Bad(command, code, words), id=command.replace("/", "_"))


MODEL = [
    bad("explain missing.onnx -i row.npy", 1, "no such model file", "missing.onnx"),
    bad("explain mlpp.onnx -i row.npy", 1, "no such model file", "did you mean mlp.onnx?"),
    bad("explain nowhere/mlp.onnx -i row.npy", 1, "folder nowhere does not exist"),
    bad("explain folder.onnx -i row.npy", 1, "folder.onnx is not a file"),
    bad("explain truncated.onnx -i row.npy", 1, "not an ONNX model, or is truncated"),
    bad("explain empty.onnx -i row.npy", 1, "empty.onnx is empty"),
    bad("explain json.onnx -i row.npy", 1, "not an ONNX model"),
    bad("explain pickle.onnx -i row.npy", 1, "not an ONNX model", "pickle"),
    bad("explain zip.onnx -i row.npy", 1, "not an ONNX model", "PyTorch"),
    bad("explain hdf5.onnx -i row.npy", 1, "no ONNX graph", "HDF5"),
    bad("explain tflite.onnx -i row.npy", 1, "not an ONNX model", "TensorFlow Lite"),
    bad("explain ort.onnx -i row.npy", 1, "not an ONNX model", ".ort format"),
    bad("explain lfs.onnx -i row.npy", 1, "not an ONNX model", "git lfs pull"),
    bad("explain text.onnx -i row.npy", 1, "not an ONNX model"),
    bad("explain noise.onnx -i row.npy", 1, "not an ONNX model"),
    bad("explain picture.png -i row.npy", 1, "not an ONNX model"),
    bad("inspect truncated.onnx", 1, "truncated"),
    bad("inspect dangling.onnx", 1, "`nowhere`", "neither an input"),
    bad("explain no_outputs.onnx -i row.npy", 1, "no outputs"),
    bad("explain no_opset.onnx -i row.npy", 1, "opset"),
    bad("explain opset_0.onnx -i row.npy", 1, "opset 0", "1 and newer"),
    bad("explain opset_99.onnx -i row.npy", 1, "opset 99", "up to 26"),
    bad("explain ir_99.onnx -i row.npy", 1, "IR version 99"),
    bad("explain cyclic.onnx -i row.npy", 1, "circle", "`Add`"),
    bad("explain dangling.onnx -i row.npy", 1, "`nowhere`", "Add"),
    bad("explain unknown_operator.onnx -i row.npy", 1, "Frobnicate"),
    bad("explain foreign.onnx -i row.npy", 1, "com.example.Secret"),
    bad("explain beside_foreign.onnx -i row.npy", 1, "com.example.Secret"),
    bad("explain beside_foreign.onnx -i row.npy --wrt h", 2, "`h`", "type"),
    bad("explain orphan.onnx -i row.npy", 1, "`y`"),
    bad("inspect orphan.onnx", 1, "`y`"),
    bad("augment orphan.onnx -o more.onnx", 1, "`y`"),
    bad("explain latin.onnx -i row.npy", 1, "not UTF-8", r"b'x\xe9'"),
    bad("explain latin_operator.onnx -i row.npy", 1, "not UTF-8", r"b'Tanh\xe9'"),
    bad("explain new_type.onnx -i row.npy", 2, "float", "x: unknown[N, 3]"),
    bad("explain wrong_types.onnx -i row.npy", 1, "onnxruntime", "Add", "tensor(int64)"),
    bad("explain lost.onnx -i row.npy", 1, "weights.bin", "missing"),
    bad("explain upwards.onnx -i row.npy", 1, "../w", "outside its own folder"),
    bad("explain absolute.onnx -i row.npy", 1, "/etc/w", "outside its own folder"),
    bad("explain twice.onnx -i row.npy", 1, "two nodes", "`y`"),
    bad("inspect twice.onnx", 1, "two nodes", "`y`"),
    bad("explain sequence.onnx -i row.npy", 1, "no output", "sequence"),
    bad("explain argmax.onnx -i row.npy", 1, "no output", "int64", "--of h"),
    bad("explain rounded.onnx -i row.npy", 1, "locally constant", "Round"),
    bad("explain nan.onnx -i row.npy", 1, "NaN or infinite"),
    bad("explain steep.onnx -i row.npy --rule left --steps 8", 1, "gradient of `x`", "alpha = 0"),
]

NAMES = [
    bad("explain constant.onnx -i row.npy", 1, "no output", "depends on an input"),
    bad("explain strings.onnx -i words.npy", 2, "no input", "string"),
    bad("explain whole.onnx -i ids.npy", 2, "float", "int64"),
    bad("explain whole.onnx -i ids.npy --wrt x", 2, "cannot attribute to x: int64"),
    bad("explain mlp.onnx -i row.npy --of score", 2, "`score`", "did you mean `scores`?"),
    bad("explain mlp.onnx -i row.npy --wrt X", 2, "`X`", "`x`"),
    bad("explain mlp.onnx -i row.npy --wrt w", 2, "`w`", "stored constant"),
    bad("explain mlp.onnx -i row.npy --wrt x --wrt x", 2, "twice"),
    bad("explain mlp.onnx -i y=row.npy", 2, "no input `y`", "`x`"),
    bad("explain two.onnx -i pair.npy", 2, "2 inputs", "left, right"),
    bad("explain two.onnx -i left=pair.npy", 2, "right", "missing"),
    bad("explain two.onnx -i left=pairs.npy -i right=three_rows.npy", 2, "numbers of examples"),
    bad("augment mlp.onnx -o more.onnx --of score", 2, "did you mean `scores`?"),
    bad("ops Gem", 2, "`Gem`", "did you mean `Gemm`?"),
]

FILES = [
    bad("explain mlp.onnx -i nowhere.npy", 2, "nowhere.npy", "does not exist"),
    bad("explain mlp.onnx -i folder.onnx", 2, "folder"),
    bad("explain mlp.onnx -i pipe.npy", 2, "pipe"),
    bad("explain mlp.onnx -i row.xyz", 2, "unknown suffix `.xyz`", ".npy"),
    bad("explain mlp.onnx -i row.pkl", 2, "pickles can run code"),
    bad("explain mlp.onnx -i wide.npy", 2, "`x`", "[N, 3]", "[1, 5]"),
    bad("explain mlp.onnx -i deep.npy", 2, "`x`", "[N, 3]", "[1, 1, 1, 3]"),
    bad("explain mlp.onnx -i words.npy", 2, "words.npy", "text"),
    bad("explain mlp.onnx -i complex.npy", 2, "complex"),
    bad("explain tokens.onnx -i fractions.npy --wrt embedded", 2, "0.5", "whole numbers"),
    bad("explain mlp.onnx -i nan.npy", 2, "nan.npy", "not finite", "[0, 1]"),
    bad("explain mlp.onnx -i infinite.npy", 2, "infinite.npy", "not finite", "[0, 2]"),
    bad("explain mlp.onnx -i no_rows.npy", 2, "no_rows.npy", "empty"),
    bad("explain zero_axis.onnx -i no_columns.npy", 2, "no_columns.npy", "empty"),
    bad("explain mlp.onnx -i cut.npy", 2, "cut off"),
    bad("explain open.onnx -i short.npy -i long.npy", 2, "long.npy", "[6]", "short.npy", "[5]"),
    bad("explain mlp.onnx -i objects.npy", 2, "Python objects"),
    bad("explain mlp.onnx -i objects.npz", 2, "Python objects"),
    bad("explain mlp.onnx -i several.npz", 2, "2 arrays", "`x`"),
    bad("explain mlp.onnx -i no_arrays.npz", 2, "no arrays"),
    bad("explain mlp.onnx -i words.csv", 2, "line 2, column 2", "`two`"),
    bad("explain mlp.onnx -i narrow.csv", 2, "2 columns", "3 features"),
    bad("explain mlp.onnx -i ragged.csv", 2, "line 2", "2 columns"),
    bad("explain mlp.onnx -i empty.csv", 2, "empty.csv", "empty"),
    bad("explain mlp.onnx -i header.csv", 2, "header.csv", "no rows"),
    bad("explain mlp.onnx -i broken.json", 2, "broken.json", "not JSON"),
    bad("explain mlp.onnx -i nan.json", 2, "NaN"),
    bad("explain mlp.onnx -i ragged.json", 2, "ragged"),
    bad("explain mlp.onnx -i object.json", 2, "object"),
]

PICTURES = [
    bad("explain picture.onnx -i picture.png", 2, "picture.png", "pixels", "imagenet"),
    bad("explain picture.onnx -i cut.png --preprocess unit", 2, "cut.png", "damaged"),
    bad("explain picture.onnx -i prose.png --preprocess unit", 2, "not a picture"),
    bad("explain picture.onnx -i bomb.png --preprocess unit", 2, "bomb.png", "50,000,000 pixels"),
    bad("explain picture.onnx -i picture.png --preprocess std.toml", 2, "`std`", "above 0"),
    bad("explain picture.onnx -i picture.png --preprocess key.toml", 2, "`means`", "`mean`"),
    bad("explain picture.onnx -i picture.png --preprocess type.toml", 2, "`mean`", "finite"),
    bad("explain picture.onnx -i picture.png --preprocess broken.toml", 2, "not TOML"),
    bad("explain picture.onnx -i picture.png --preprocess no.toml", 2, "no.toml", "not exist"),
    bad("explain picture.onnx -i picture.png --preprocess imagnet", 2, "did you mean `imagenet`"),
    bad("explain mlp.onnx -i picture.png --preprocess unit", 2, "picture"),
]

TARGETS = [
    bad("explain mlp.onnx -i row.npy --target 4", 2, "target 4", "last index is 3"),
    bad("explain mlp.onnx -i row.npy --target -5", 2, "target -5", "outside"),
    bad("explain mlp.onnx -i row.npy --target top5", 2, "top5", "4 elements"),
    bad("explain mlp.onnx -i row.npy --target top0", 2, "top0"),
    bad("explain mlp.onnx -i row.npy --target banana", 2, "banana", "--labels"),
    bad("explain mlp.onnx -i row.npy --target [0,0]", 2, "2 indices", "[4]"),
    bad("explain grid.onnx -i cells.npy", 2, "[2, 3]", "which element"),
    bad("explain grid.onnx -i cells.npy --target 5", 2, "[2, 3]", "one index per axis"),
    bad("explain grid.onnx -i cells.npy --target [0,3]", 2, "target 3", "last index is 2"),
    bad("explain grid.onnx -i cells.npy --target [2:,0]", 2, "[2:, 0] selects nothing"),
    bad("explain grid.onnx -i cells.npy --target sum[:]", 2, "1 index", "[:, top1]"),
    bad("explain grid.onnx -i cells.npy --target [:,cat]", 2, "item 'cat'", "labels"),
    bad("explain grid.onnx -i cells.npy --target mask:no.npy", 2, "no.npy", "not exist"),
    bad(
        "explain grid.onnx -i cells.npy --target mask:row.npy", 2, "[2, 3]", "without a batch axis"
    ),
    bad("explain grid.onnx -i cells.npy --target mask:labels.txt", 2, "no intact .npy"),
    bad("explain mlp.onnx -i row.npy --labels labels.txt --target cta", 2, "did you mean `cat`?"),
    bad("explain mlp.onnx -i row.npy --labels twins.txt --target ant", 2, "2 classes", "index"),
    bad("explain mlp.onnx -i row.npy --labels no.txt --target ant", 2, "no.txt", "not exist"),
    bad("explain mlp.onnx -i row.npy --labels empty.txt", 2, "empty.txt", "empty"),
]

BASELINES = [
    bad("explain mlp.onnx -i row.npy -b black", 2, "unknown baseline 'black'", "zeros"),
    bad("explain mlp.onnx -i row.npy -b constant", 2, "unknown baseline 'constant'"),
    bad("explain mlp.onnx -i row.npy -b constant:one", 2, "'one' is not a number"),
    bad("explain mlp.onnx -i row.npy -b constant:inf", 2, "not finite"),
    bad("explain mlp.onnx -i row.npy -b mean", 2, "several rows"),
    bad("explain mlp.onnx -i row.npy -b blur:2", 2, "no spatial axes"),
    bad("explain picture.onnx -i picture.png --preprocess unit -b blur:0", 2, "sigma above 0"),
    bad("explain mlp.onnx -i row.npy -b uniform:-1", 2, "seed", "-1"),
    bad("explain mlp.onnx -i row.npy -b uniform:1.5", 2, "seed", "1.5"),
    bad("explain mlp.onnx -i row.npy -b wide.npy", 2, "wide.npy", "[1, 5]"),
    bad("explain mlp.onnx -i rows.npy -b pairs.npy", 2, "pairs.npy", "[2, 2]"),
    bad("explain mlp.onnx -i row.npy -b rows.npy", 2, "baseline of `x`", "[4, 3]", "[1, 3]"),
    bad("explain mlp.onnx -i row.npy -b nowhere.npy", 2, "nowhere.npy", "does not exist"),
    bad("explain mlp.onnx -i row.npy -b nan.npy", 2, "nan.npy", "not finite"),
]

OPTIONS = [
    bad("explain mlp.onnx -i row.npy --method gradcam", 2, "unknown method `gradcam`"),
    bad("explain mlp.onnx -i row.npy --steps 8 --rule simson", 2, "did you mean `simpson`?"),
    bad("explain mlp.onnx -i row.npy --rule midpoint", 2, "`midpoint`", "number of steps"),
    bad("explain mlp.onnx -i row.npy --steps 8 --rule simpson", 2, "odd", "use 7 or 9"),
    bad("explain mlp.onnx -i row.npy --steps 8 --rule gauss_kronrod", 2, "odd", "use 7 or 9"),
    bad("explain mlp.onnx -i row.npy --steps 1 --rule trapezoid", 2, "at least 2"),
    bad("explain mlp.onnx -i row.npy --steps 0", 2, "between 1 and 100000, not 0"),
    bad("explain mlp.onnx -i row.npy --steps -3", 2, "between 1 and 100000, not -3"),
    bad("explain mlp.onnx -i row.npy --steps 1000000000", 2, "between 1 and 100000"),
    bad("explain mlp.onnx -i row.npy --steps many", 2, "'--steps'", "'many'", "integer"),
    bad("explain mlp.onnx -i row.npy --tolerance 0", 2, "between 0 and 1, not 0"),
    bad("explain mlp.onnx -i row.npy --tolerance 2", 2, "between 0 and 1, not 2"),
    bad("explain mlp.onnx -i row.npy --tolerance nan", 2, "between 0 and 1, not nan"),
    bad("explain mlp.onnx -i row.npy --deadline 0", 2, "positive number of seconds"),
    bad("explain mlp.onnx -i row.npy --deadline nan", 2, "positive number of seconds"),
    bad(
        "explain mlp.onnx -i row.npy --deadline 1e-9",
        1,
        "deadline passed before the first gradient",
    ),
    bad("explain mlp.onnx -i row.npy --batch-size 0", 2, "internal_batch_size", "not 0"),
    bad("explain mlp.onnx -i row.npy --threads 0", 2, "threads", "not 0"),
    bad("explain mlp.onnx -i row.npy --provider gpu", 2, "unknown provider `gpu`"),
    bad("explain mlp.onnx -i row.npy --provider FastExecutionProvider", 1, "not part of"),
    bad("explain mlp.onnx", 2, "--input"),
    bad("explain -i row.npy", 2, "MODEL"),
    bad("explain mlp.onnx -i row.npy --strcit", 2, "--strcit", "--strict"),
    bad("explian mlp.onnx -i row.npy", 2, "'explian'", "--help"),
    bad("augment mlp.onnx", 2, "--output"),
]

OUTPUTS = [
    bad("explain mlp.onnx -i row.npy -o result.txt", 2, "unknown suffix `.txt`", ".npz"),
    bad("explain mlp.onnx -i row.npy -o result", 2, "unknown suffix ``"),
    bad("explain mlp.onnx -i row.npy -o a.npz -o no/b.npz", 2, "no such folder", "mkdir"),
    bad("explain mlp.onnx -i row.json -o row.json", 2, "row.json", "is read as well"),
    bad("explain mlp.onnx -i x=row.json -o ./row.json", 2, "row.json", "is read as well"),
    bad("explain mlp.onnx -i row.npy -b row.json -o row.json", 2, "is read as well"),
    bad("explain mlp.onnx -i row.npy -o taken.npz", 2, "taken.npz", "folder"),
    bad("augment mlp.onnx -o mlp.onnx", 2, "the model itself", "another name"),
    bad("augment mlp.onnx -o ./././mlp.onnx", 2, "the model itself"),
    bad("augment mlp.onnx -o more.bin", 2, ".onnx"),
    bad("augment mlp.onnx -o no/more.onnx", 2, "no/more.onnx", "folder"),
    bad("augment argmax.onnx -o more.onnx", 1, "no output", "float"),
    bad("augment truncated.onnx -o more.onnx", 1, "truncated"),
]

ALL = [*MODEL, *NAMES, *FILES, *PICTURES, *TARGETS, *BASELINES, *OPTIONS, *OUTPUTS]


def check_error(outcome: Any, row: Bad, *, as_json: bool) -> None:
    assert outcome.code == row.code, outcome.err
    assert outcome.err.startswith("error: "), outcome.err
    assert "\nhint: " in outcome.err, outcome.err
    assert "Traceback" not in outcome.err
    assert "unexpected" not in outcome.err, outcome.err
    for word in row.words:
        assert word in outcome.err, outcome.err
    if as_json:
        error = outcome.document["error"]
        assert outcome.document.keys() == {"error"}
        assert f"error: {error['message']}\nhint: {error['hint']}\n" == outcome.err
    else:
        assert outcome.out == ""


@pytest.mark.parametrize("as_json", [False, True], ids=["", "json"])
@pytest.mark.parametrize("row", ALL)
def test_a_mistake_ends_with_an_error_and_a_hint(
    row: Bad,
    as_json: bool,
    workshop: Path,
    run: Callable[..., Any],
    names: Callable[[Path], set[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(workshop)
    (workshop / "taken.npz").mkdir(exist_ok=True)
    arguments = shlex.split(row.command)
    if arguments[0] == "explain" and "-o" not in arguments:
        arguments += ["-o", "result.npz", "-o", "result.html"]
    before = names(workshop)
    outcome = run(*arguments, *["--json"] * as_json)
    check_error(outcome, row, as_json=as_json)
    assert names(workshop) == before


def test_cuda_is_an_error_on_a_cpu_wheel(
    workshop: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workshop)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    outcome = run("explain", "mlp.onnx", "-i", "row.npy", "--provider", "cuda")
    row = Bad("", 1, ("CUDAExecutionProvider is not part of", "igrt[gpu]"))
    check_error(outcome, row, as_json=False)


def test_names_with_control_characters_cannot_reach_the_terminal(
    workshop: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workshop)
    outcome = run("explain", "mlp.onnx", "-i", "row.npy", "--of", "\x1b]0;title\x07")
    check_error(outcome, Bad("", 2, (r"\x1b]0;title\x07",)), as_json=False)
    assert "\x1b" not in outcome.err


def test_mutated_models_end_in_an_answer_or_an_error(
    workshop: Path, run: Callable[..., Any], tmp_path: Path
) -> None:
    data = (workshop / "mlp.onnx").read_bytes()
    rng = random.Random(20260)
    mutant, codes = tmp_path / "mutant.onnx", []
    for round_ in range(200):
        changed = bytearray(data)
        for _ in range(rng.randint(1, 2)):
            at = rng.randrange(len(changed))
            match rng.randrange(4):
                case 0:
                    changed[at] = rng.randrange(256)
                case 1:
                    changed[at] ^= 1 << rng.randrange(8)
                case 2:
                    del changed[at : at + rng.randint(1, 8)]
                case 3:
                    changed[at:at] = rng.randbytes(rng.randint(1, 8))
        mutant.write_bytes(changed)
        outcome = run("inspect", mutant)
        said = f"mutant {round_}: {bytes(changed)!r}\n{outcome.err}"
        assert outcome.code in (0, 1, 2), said
        assert "Traceback" not in outcome.err and "unexpected" not in outcome.err, said
        codes.append(outcome.code)
    # changes that were all fatal, or all harmless, would test nothing
    assert codes.count(0) > 10 and codes.count(1) > 10
