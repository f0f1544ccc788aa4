"""`read` and `join`: what kind of file it is, before anything opens it."""

import os
import socket

import numpy as np
import pytest
from PIL import Image

from igrt.errors import InputError
from igrt.inputs import SUFFIXES, Loaded, Preprocess, join, read
from igrt.specs import TensorSpec

X = TensorSpec("x", "float32", ("n", 3))


def test_a_missing_file_suggests_its_neighbour(tmp_path):
    (tmp_path / "zebra.npy").write_bytes(b"x")
    with pytest.raises(InputError, match="does not exist") as caught:
        read(tmp_path / "zerba.npy", X)
    assert caught.value.hint == "did you mean `zebra.npy`?"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("no/x.npy", "there is no folder"), ("quite-different.npy", "check the name")],
)
def test_a_missing_file_without_neighbours(tmp_path, name, hint):
    (tmp_path / "a.bin").write_bytes(b"x")
    with pytest.raises(InputError, match="does not exist") as caught:
        read(tmp_path / name, X)
    assert hint in caught.value.hint


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"x")
    with pytest.raises(InputError, match="does not exist"):
        read(tmp_path / "a.npy" / "b.npy", X)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_folders_are_refused_whatever_their_name(tmp_path, suffix):
    path = tmp_path / f"folder{suffix}"
    path.mkdir()
    with pytest.raises(InputError, match="is a folder"):
        read(path, X)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pipes_do_not_hang(tmp_path, suffix):
    path = tmp_path / f"pipe{suffix}"
    os.mkfifo(path)
    with pytest.raises(InputError, match="is a pipe, a socket or a device"):
        read(path, X)


def test_sockets_and_devices_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.npy")
        with pytest.raises(InputError, match="is a pipe, a socket or a device"):
            read("s.npy", X)
    with pytest.raises(InputError, match="is a pipe, a socket or a device"):
        read("/dev/zero", X)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_without_permission(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"secret{suffix}"
    path.write_bytes(b"x")

    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    # chmod does not stop root, who runs the tests in containers
    monkeypatch.setattr("io.open", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(InputError, match=r"cannot read .*secret.*: Permission denied"):
        read(path, TensorSpec("x", "float32", ("n", 3, 4, 4)), Preprocess())


@pytest.mark.parametrize("name", ["a\0b.npy", "x" * 5000 + ".npy"])
def test_impossible_names(name):
    with pytest.raises(InputError, match=r"is not a file name|cannot read|does not exist"):
        read(name, X)


def test_names_that_are_no_text_can_be_shown(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\x1b[31m\n.npy")
    with pytest.raises(InputError, match="does not exist") as caught:
        read(path, X)
    assert "\x1b" not in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.message.encode()


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("x.pkl", "unknown suffix `.pkl`", "pickles can run code"),
        ("x.pt", "unknown suffix `.pt`", "pickles can run code"),
        ("x.nyp", "unknown suffix `.nyp`", "`.npy`?"),
        ("x.flac", "unknown suffix `.flac`", "the suffixes read are .npy"),
        ("x", "it has no suffix", "the suffixes read are .npy"),
    ],
)
def test_unknown_suffixes(tmp_path, name, message, hint):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path / name, X)
    assert hint in caught.value.hint


def test_suffixes_are_read_in_any_case(tmp_path):
    path = tmp_path / "X.NPY"
    with path.open("wb") as file:
        np.save(file, np.ones(3))
    assert read(str(path), X).array.tolist() == [[1, 1, 1]]


def test_a_vector_for_a_tensor_without_batch_axis_is_one_source(tmp_path):
    np.save(tmp_path / "v.npy", np.ones(3))
    assert read(tmp_path / "v.npy", TensorSpec("x", "float32", (3,))).sources == ("v.npy",)


def test_join_makes_a_batch(tmp_path):
    spec = TensorSpec("image", "float32", ("n", 3, 4, 4))
    for name in ("a.png", "b.png"):
        Image.new("RGB", (4, 4), "white").save(tmp_path / name)
    parts = [read(tmp_path / name, spec, Preprocess()) for name in ("a.png", "b.png")]
    batch = join(parts)
    assert batch.array.shape == (2, 3, 4, 4)
    assert len(batch.pictures) == 2
    assert (batch.layout, batch.sources) == ("NCHW", ("a.png", "b.png"))


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (Loaded(np.ones((1, 4)), sources=("b",)), r"does not fit in a batch .* \[4\] and \[3\]"),
        (Loaded(np.ones((1, 3)), ("a", "b", "c"), sources=("b",)), "different kinds of input"),
    ],
)
def test_join_refuses_what_differs(second, message):
    with pytest.raises(InputError, match=message):
        join([Loaded(np.ones((1, 3)), sources=("a",)), second])


def test_join_refuses_tensors_without_batch_axis():
    part = Loaded(np.ones(3), sources=("a",))
    with pytest.raises(InputError, match="does not fit in a batch"):
        join([part, part])
