"""`.npy`, `.npz` and `.json`: what is read, and what files claim that is not so."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from igrt.errors import InputError
from igrt.inputs import read
from igrt.inputs.arrays import read_json
from igrt.specs import TensorSpec

X = TensorSpec("x", "float32", ("n", 3))
ANY = TensorSpec("x", "float64", None)
TEXT = TensorSpec("x", "string", ("n",))


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def header(shape, descr="<f4"):
    buffer = io.BytesIO()
    record = {"shape": shape, "fortran_order": False, "descr": descr}
    np.lib.format.write_array_header_1_0(buffer, record)
    return buffer.getvalue()


def npz(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def encrypted():
    data = bytearray(npz(x=npy(np.ones(3))))
    data[6] |= 1  # the flag in the local header
    data[data.rindex(b"PK\x01\x02") + 8] |= 1  # and in the directory
    return bytes(data)


def corrupt():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.npy", npy(np.ones(3)))
    data = bytearray(buffer.getvalue())
    data[data.index(b"NUMPY") + 130] ^= 255  # a byte of the numbers, so that the checksum is off
    return bytes(data)


GOOD = npy(np.ones((2, 3)))

BAD = {
    "text.npy": (b"hello", "no intact .npy file"),
    "magic.npy": (b"\x93NUMPY\x01\x00", "no intact .npy file"),
    "version9.npy": (b"\x93NUMPY\x09\x00" + GOOD[8:], "no intact .npy file|version 9.0"),
    "version3.npy": (b"\x93NUMPY\x03\x00" + GOOD[8:], "version 3.0, which holds records"),
    "cut.npy": (GOOD[:-8], "is cut off"),
    "header.npy": (GOOD[:40], "no intact .npy file"),
    "huge.npy": (header((10**12, 3)), "is cut off"),
    "negative.npy": (header((-1, 3)), "impossible shape"),
    "evil.npy": (header("__import__('os').abort()"), "no intact .npy file"),
    "objects.npy": (npy(np.array([[1, "a", None]], object), allow_pickle=True), "Python objects"),
    "pickle.npy": (pickle.dumps([1.0, 2.0, 3.0]), "no intact .npy file"),
    "records.npy": (npy(np.zeros(3, [("a", "f4")])), "holds records"),
    "complex.npy": (npy(np.ones(3, complex)), "complex"),
    "dates.npy": (npy(np.zeros(3, "M8[s]")), "holds dates"),
    "shape.npy": (npy(np.ones((2, 4))), r"expected shape \[n, 3\], got \[2, 4\]"),
    "rank.npy": (npy(np.ones((1, 1, 2, 3))), r"got \[1, 1, 2, 3\]"),
    "none.npy": (npy(np.ones((0, 3))), "is empty: its shape"),
    "nan.npy": (npy(np.array([1.0, np.nan, 2.0])), r"nan at index \[1\]"),
    "inf.npy": (npy(np.array([[1.0, 2.0, 3.0], [1.0, 2.0, -np.inf]])), r"-inf at index \[1, 2\]"),
    "text.npz": (b"hello", "no intact .npz file"),
    "cut.npz": (npz(x=GOOD)[:-30], "no intact .npz file"),
    "nothing.npz": (npz(), "holds no arrays"),
    "several.npz": (npz(a=GOOD, b=GOOD), "holds 2 arrays and none is named `x`: `a`, `b`"),
    "bomb.npz": (npz(x=header((10**9, 3)) + bytes(10**6)), "is cut off"),
    "shape.npz": (npz(x=npy(np.ones((2, 4)))), r"array `x` in .* expected shape"),
    "member.npz": (npz(x=b"hello"), "no intact .npz file"),
    "encrypted.npz": (encrypted(), "no intact .npz file"),
    "corrupt.npz": (corrupt(), "no intact .npz file"),
    "objects.npz": (npz(x=npy(np.array([None]), allow_pickle=True)), "Python objects"),
    "text.json": (b"hello", "is not JSON"),
    "open.json": (b"[[1, 2", "is not JSON"),
    "nan.json": (b"[[1, 2, NaN]]", "it holds NaN"),
    "infinity.json": (b"[[1, 2, -Infinity]]", "it holds -Infinity"),
    "overflow.json": (b"[[1, 2, 1e999]]", r"inf at index \[0, 2\]"),
    "deep.json": (b"[" * 100_000, "nested too deeply"),
    "tall.json": (b"[" * 60 + b"1" + b"]" * 60, "nested more than 32 deep"),
    "ragged.json": (b"[[1, 2, 3], [4, 5]]", "ragged: at depth 2, lists have 2 to 3 items"),
    "mixed.json": (b"[1, [2], 3]", "mixes lists and numbers at depth 1"),
    "words.json": (b'[1, "2", 3]', "mixes numbers and strings"),
    "null.json": (b"[1, null, 3]", "mixes null and numbers"),
    "nulls.json": (b"[null, null]", "holds null, not numbers"),
    "object.json": (b'{"x": [1, 2, 3]}', "holds an object"),
    "objects.json": (b'[{"x": 1}]', "holds objects, not numbers"),
    "large.json": (b"[1, 2, " + b"9" * 400 + b"]", "too large"),
    "larger.json": (b"[1, 2, " + b"9" * 5000 + b"]", "is not JSON"),
    "real.json": (b"[1.5, 2, " + b"9" * 400 + b"]", "too large"),
    "utf16.json": ("[1, 2, 3]".encode("utf-16"), "is not UTF-8 text"),
    "list.json": (b"[]", r"is empty|expected shape"),
    "number.json": (b"7", r"expected shape \[n, 3\], got \[\]"),
    "wrong.json": (b"[[1, 2]]", r"expected shape \[n, 3\], got \[1, 2\]"),
    "string.json": (b'["a", "b", "c"]', "holds text"),
    "empty.npy": (b"", "is empty"),
    "empty.npz": (b"", "is empty"),
    "empty.json": (b"", "is empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused(tmp_path, name):
    data, message = BAD[name]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        read(path, X)
    assert name in caught.value.message
    assert "\n" not in caught.value.message


def test_a_bomb_that_fits_is_refused_by_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr("igrt.inputs.arrays.ARRAY_LIMIT", 1000)
    path = tmp_path / "x.npz"
    path.write_bytes(npz(x=npy(np.zeros((1000, 3)))))
    with pytest.raises(InputError, match=r"takes 24,128 bytes; at most 1,000"):
        read(path, X)


def test_a_member_does_not_read_past_its_size(tmp_path):
    # the header claims less than the archive holds: only that is read
    path = tmp_path / "x.npz"
    path.write_bytes(npz(x=npy(np.ones((1, 3))) + bytes(1000)))
    assert read(path, X).array.tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", ">i4", "?"])
def test_npy_round_trip(tmp_path, order, dtype):
    array = np.asarray([[0, 1, 1], [1, 0, 1]], dtype, order=order)
    path = tmp_path / "x.npy"
    np.save(path, array)
    loaded = read(path, X)
    assert loaded.array.dtype == np.float32
    assert loaded.array.flags.c_contiguous
    assert loaded.array.tolist() == array.tolist()
    assert loaded.sources == ("x.npy[0]", "x.npy[1]")


def test_one_example_gets_its_batch_axis(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.arange(3.0))
    loaded = read(path, X)
    assert loaded.array.tolist() == [[0, 1, 2]]
    assert loaded.sources == ("x.npy",)


def test_npz_takes_the_only_array_or_the_one_named_like_the_tensor(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, other=np.ones((1, 3)))
    assert read(path, X).array.tolist() == [[1, 1, 1]]
    np.savez_compressed(path, other=np.ones((1, 3)), x=np.zeros((1, 3)))
    assert read(path, X).array.tolist() == [[0, 0, 0]]


def test_a_name_that_looks_like_the_tensor_is_suggested(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, imagf=np.ones(3), other=np.ones(3))
    with pytest.raises(InputError) as caught:
        read(path, TensorSpec("image", "float32", ("n", 3)))
    assert caught.value.hint == "did you mean `imagf`?"


def test_json_numbers_and_text(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("[[1, 2.5, true]]")
    assert read(path, X).array.tolist() == [[1, 2.5, 1]]
    path.write_text('["a", "bcd"]')
    assert read(path, TEXT).array.tolist() == ["a", "bcd"]
    path.write_text("[9007199254740993]")
    assert read(path, TensorSpec("x", "int64", ("n",))).array.tolist() == [2**53 + 1]
    path.write_text("[18446744073709551615]")
    assert read(path, TensorSpec("x", "uint64", ("n",))).array.tolist() == [2**64 - 1]
    path.write_text("[true, false]")
    assert read(path, TensorSpec("x", "bool", ("n",))).array.tolist() == [True, False]


@settings(deadline=None)  # disks are slow at times
@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=0, max_dims=4, max_side=4),
        elements=st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_json_keeps_every_float(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("json") / "x.json"
    path.write_text(json.dumps(array.tolist()))
    np.testing.assert_array_equal(read_json(path, ANY), array)
