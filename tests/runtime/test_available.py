"""What this process may take: of the machine, of its control groups, of its own limits."""

import subprocess
import sys
from pathlib import Path

import pytest

from igrt.runtime import available as module
from igrt.runtime.available import available_memory

MIB, GIB = 1 << 20, 1 << 30


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of /proc and /sys are looked for in a folder instead."""

    def there(path: str) -> Path:
        return tmp_path / path.lstrip("/").replace("/", "_")

    monkeypatch.setattr(module, "Path", there)
    return tmp_path


def write(folder: Path, machine: int | None = None, **texts: str) -> None:
    if machine is not None:
        text = f"MemTotal: 1 kB\nMemFree: 2 kB\nMemAvailable:   {machine // 1024} kB\n"
        (folder / "proc_meminfo").write_text(text)
    for name, text in texts.items():
        (folder / name.replace("__", ".")).write_text(text)


def group(place: str, limit: str, used: int, stat: str = "", *, version: int = 2) -> dict[str, str]:
    """The files of a control group."""
    root = "sys_fs_cgroup" + ("_memory" if version == 1 else "") + place.replace("/", "_")
    names = ("memory__max", "memory__current")
    if version == 1:
        names = ("memory__limit_in_bytes", "memory__usage_in_bytes")
    return {
        f"{root}_{names[0]}": limit,
        f"{root}_{names[1]}": f"{used}\n",
        f"{root}_memory__stat": stat,
    }


@pytest.mark.parametrize(
    ("machine", "groups", "free"),
    [
        (8 * GIB, {}, 8 * GIB),
        (8 * GIB, group("", f"{2 * GIB}\n", GIB), GIB),
        (8 * GIB, group("", "max\n", GIB), 8 * GIB),
        (8 * GIB, group("", f"{3 * GIB}\n", GIB, version=1), 2 * GIB),
        # version 1 writes a huge number where there is no limit
        (8 * GIB, group("", "9223372036854771712\n", GIB, version=1), 8 * GIB),
        (GIB, group("", f"{4 * GIB}\n", 0), GIB),
        (None, group("", f"{4 * GIB}\n", 0), 4 * GIB),
        # over its limit, or just about: a little is always left to try with
        (8 * GIB, group("", f"{GIB}\n", GIB + 5), 64 * MIB),
        (8 * GIB, group("", "nonsense\n", 1), 8 * GIB),
        # files that were read count as used, and are given up when memory is asked for
        (
            8 * GIB,
            group("", f"{2 * GIB}", GIB, f"anon 1\ninactive_file {GIB // 2}\n"),
            3 * GIB // 2,
        ),
        (
            8 * GIB,
            group("", f"{2 * GIB}", GIB, f"total_inactive_file {GIB // 2}\n", version=1),
            3 * GIB // 2,
        ),
        (8 * GIB, group("", f"{2 * GIB}", GIB, "inactive_file much\n"), GIB),
    ],
)
def test_memory_of_the_machine_and_of_the_control_group(
    files: Path, machine: int | None, groups: dict[str, str], free: int
) -> None:
    write(files, machine, **groups)
    assert available_memory() == free


@pytest.mark.parametrize(
    ("line", "version"), [("0::/app/job\n", 2), ("4:cpu,memory:/app/job\n", 1)]
)
@pytest.mark.parametrize("place", ["/app/job", "/app", ""])
def test_a_limit_may_stand_at_any_parent(files: Path, line: str, version: int, place: str) -> None:
    (files / "proc_self_cgroup").write_text(f"7:pids:/other\n{line}")
    write(files, 8 * GIB, **group(place, f"{2 * GIB}", GIB, version=version))
    write(files, **group("/other", f"{GIB}", GIB // 2, version=version))  # not around us
    assert available_memory() == GIB


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


def test_the_address_space_may_be_limited() -> None:
    resource = pytest.importorskip("resource", reason="there are no such limits on Windows")
    if not Path("/proc/self/statm").exists():
        pytest.skip("the system does not say how much is taken")
    assert resource.RLIMIT_AS is not None
    child = (
        "import resource, sys; from igrt.runtime.available import available_memory as a; "
        "free = a(); taken = int(open('/proc/self/statm').read().split()[0]) * 4096; "
        "limit = taken + 300 * 2**20; resource.setrlimit(resource.RLIMIT_AS, (limit, limit)); "
        "print(free, a())"
    )
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
    free, limited = map(int, done.stdout.split())
    # what the interpreter itself has taken since is a few pages
    assert abs(limited - min(free, 300 * MIB)) < MIB


def test_this_machine_has_memory() -> None:
    assert available_memory() >= 64 * MIB
