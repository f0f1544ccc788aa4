"""How many rows a run takes."""

from pathlib import Path
from typing import Any

import pytest

from igrt.errors import InputError
from igrt.runtime import plan as module
from igrt.runtime.plan import available_memory, plan

MIB, GIB = 1 << 20, 1 << 30


def chunk(**options: Any) -> int:
    given = {"row_bytes": MIB, "memory": None, "internal_batch_size": None, "most_rows": None}
    return plan(**(given | options)).chunk


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"memory": 10 * MIB}, 10),
        ({"memory": 10 * MIB, "row_bytes": 3 * MIB}, 3),
        ({"memory": MIB // 2}, 1),  # one row is always tried: onnxruntime knows better
        ({"memory": 1}, 1),
        ({"memory": 100 * GIB}, 16),
        ({"memory": 100 * GIB, "row_bytes": 1}, 256),
        ({"memory": 100 * GIB, "row_bytes": 0}, 256),
        ({"memory": 100 * GIB, "row_bytes": 8 * MIB}, 2),  # 16 MiB of activations pay
        ({"memory": 100 * GIB, "row_bytes": GIB}, 1),
        ({"memory": 10 * MIB, "most_rows": 4}, 4),
        ({"memory": 10 * MIB, "most_rows": 1}, 1),
        ({"memory": 10 * MIB, "most_rows": 40}, 10),
        ({"internal_batch_size": 7}, 7),
        ({"internal_batch_size": 1000, "memory": MIB}, 1000),  # the user's word over the estimate
        ({"internal_batch_size": 7, "most_rows": 1}, 1),
    ],
)
def test_rows(options: dict[str, Any], rows: int) -> None:
    assert chunk(**options) == rows


def test_the_budget_is_half_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_memory", lambda: 20 * MIB)
    found = plan(row_bytes=MIB, memory=None, internal_batch_size=None, most_rows=None)
    assert (found.budget, found.chunk, found.row_bytes) == (10 * MIB, 10, MIB)
    given = plan(row_bytes=MIB, memory=8 * MIB, internal_batch_size=None, most_rows=None)
    assert (given.budget, given.chunk) == (8 * MIB, 8)


@pytest.mark.parametrize("name", ["memory", "internal_batch_size"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "1", True])
def test_refusals(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name} must be a positive whole number") as caught:
        chunk(**{name: value})
    assert repr(value) in caught.value.message
    assert caught.value.hint


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of /proc and /sys are looked for in a folder instead."""

    def there(path: str) -> Path:
        return tmp_path / path.lstrip("/").replace("/", "_")

    monkeypatch.setattr(module, "Path", there)
    return tmp_path


V2 = ("sys_fs_cgroup_memory.max", "sys_fs_cgroup_memory.current")
V1 = ("sys_fs_cgroup_memory_memory.limit_in_bytes", "sys_fs_cgroup_memory_memory.usage_in_bytes")


def write(folder: Path, *, machine: int | None, **groups: Any) -> None:
    if machine is not None:
        text = f"MemTotal: 1 kB\nMemFree: 2 kB\nMemAvailable:   {machine // 1024} kB\n"
        (folder / "proc_meminfo").write_text(text)
    for version, texts in groups.items():
        for name, text in zip(V2 if version == "v2" else V1, texts, strict=True):
            (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("machine", "groups", "free"),
    [
        (8 * GIB, {}, 8 * GIB),
        (8 * GIB, {"v2": (f"{2 * GIB}\n", f"{GIB}\n")}, GIB),
        (8 * GIB, {"v2": ("max\n", f"{GIB}\n")}, 8 * GIB),
        (8 * GIB, {"v1": (f"{3 * GIB}\n", f"{GIB}\n")}, 2 * GIB),
        # version 1 writes a huge number where there is no limit
        (8 * GIB, {"v1": ("9223372036854771712\n", f"{GIB}\n")}, 8 * GIB),
        (GIB, {"v2": (f"{4 * GIB}\n", "0\n")}, GIB),
        (None, {"v2": (f"{4 * GIB}\n", "0\n")}, 4 * GIB),
        # over its limit, or just about: a little is always left to try with
        (8 * GIB, {"v2": (f"{GIB}\n", f"{GIB + 5}\n")}, 64 * MIB),
        (8 * GIB, {"v2": ("nonsense\n", "1\n")}, 8 * GIB),
    ],
)
def test_memory_of_the_machine_and_of_the_control_group(
    files: Path, machine: int | None, groups: dict[str, Any], free: int
) -> None:
    write(files, machine=machine, **groups)
    assert available_memory() == free


@pytest.mark.parametrize("text", ["", "MemFree: 1 kB\n", "MemAvailable: much\n", "MemAvailable:\n"])
def test_without_any_word_it_is_the_whole_machine(
    files: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (files / "proc_meminfo").write_text(text)
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1 << 20}
    monkeypatch.setattr(module.os, "sysconf", sizes.__getitem__)
    assert available_memory() == 4 * GIB


def test_where_not_even_that_is_known_two_gibibytes_are_assumed(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(module.os, "sysconf")
    assert available_memory() == 2 * GIB


def test_this_machine_has_memory() -> None:
    assert available_memory() >= 64 * MIB
