"""Processor cores: of the machine, of this process, of its control groups."""

import os
from pathlib import Path

import pytest

from igrt.runtime import available
from igrt.runtime import cores as module
from igrt.runtime.cores import cores


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of /proc and /sys are looked for in a folder instead; there are eight threads."""

    def there(path: str) -> Path:
        return tmp_path / path.lstrip("/").replace("/", "_")

    for place in (available, module):
        monkeypatch.setattr(place, "Path", there)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path


def test_threads_of_one_core_count_once(files: Path) -> None:
    assert cores() == 8
    for cpu in range(8):
        name = f"sys_devices_system_cpu_cpu{cpu}_topology_thread_siblings_list"
        (files / name).write_text(f"{cpu % 4},{cpu % 4 + 4}")
    assert cores() == 4


@pytest.mark.parametrize(
    ("groups", "found"),
    [
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "200000 100000"}, 2),
        ({"cpu.max": "250000 100000"}, 3),  # what is left of a core is used as well
        ({"cpu.max": "10000 100000"}, 1),
        ({"cpu.max": "nonsense"}, 8),
        ({"cpu_cpu.cfs_quota_us": "400000", "cpu_cpu.cfs_period_us": "100000"}, 4),
        ({"cpu_cpu.cfs_quota_us": "-1", "cpu_cpu.cfs_period_us": "100000"}, 8),
    ],
)
def test_time_in_a_control_group_counts_as_cores(
    files: Path, groups: dict[str, str], found: int
) -> None:
    for name, text in groups.items():
        (files / f"sys_fs_cgroup_{name}").write_text(text)
    assert cores() == found


def test_a_limit_stands_at_any_group_around_the_process(files: Path) -> None:
    (files / "proc_self_cgroup").write_text("0::/service/worker\n")
    (files / "sys_fs_cgroup_service_worker_cpu.max").write_text("300000 100000")
    (files / "sys_fs_cgroup_service_cpu.max").write_text("200000 100000")
    assert cores() == 2


def test_a_system_that_says_nothing_has_its_processors(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert cores() == 5
