"""What runs take, as onnxruntime's allocator counted it."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from onnx import parser

from igrt.runtime.session import Arena, OrtSession
from igrt.runtime.usage import SharedUsage, Usage, peaks

WIDTH = 1 << 14


@pytest.fixture(scope="module")
def model() -> bytes:
    """Three tensors are alive while a fourth of their size together is made."""
    text = f"""<ir_version: 8, opset_import: ["": 18]>
    g (float[N, {WIDTH}] x) => (float[N, M] y) {{
      a = Exp(x)  b = Sin(x)  c = Cos(x)  y = Concat<axis = 1>(a, b, c) }}"""
    return parser.parse_model(text).SerializeToString()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def session(model: bytes, **options: bool) -> OrtSession:
    return OrtSession(model, provider="cpu", threads=1, arena=Arena.HELD, **options)


def test_runs_are_counted_one_by_one(model: bytes, folder: Path) -> None:
    opened = session(model, recorded=True)
    for rows in (1, 3):
        opened.run(["y"], {"x": np.zeros((rows, WIDTH), np.float32)})
    found, left = opened.peaks()
    assert left > 0
    assert not list(folder.iterdir())
    row = (3 + 3) * 4 * WIDTH
    assert found == pytest.approx([row, 3 * row], abs=6 * 256)  # to which the allocator rounds up
    assert opened.peaks() == ([], 0)
    opened.run(["y"], {"x": np.zeros((1, WIDTH), np.float32)})


def test_a_session_leaves_no_files(model: bytes, folder: Path) -> None:
    opened = session(model, recorded=True)
    assert len(list(folder.iterdir())) == 1
    del opened
    assert not list(folder.iterdir())
    assert session(model).peaks() == ([], 0)
    assert not list(folder.iterdir())


def test_without_a_place_for_files_nobody_counts(
    model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    opened = session(model, recorded=True)
    opened.run(["y"], {"x": np.zeros((1, WIDTH), np.float32)})
    assert opened.peaks() == ([], 0)


def profile(*runs: list[tuple[int, int, int]]) -> list[str]:
    """Events as onnxruntime writes them: bytes held, their change, and the most so far."""
    lines = []
    for run in runs:
        for held, change, peak in run:
            lines.append(
                f'{{"cat" : "Node","name" :"n","args" : {{"mem_in_use_delta" : "{change}",'
                f'"mem_bytes_in_use" : "{held}","mem_in_use_peak" : "{peak}"}}}},'
            )
        lines.append('{"cat" : "Session","name" :"model_run","args" : {}},')
    return ["[", *lines, "]"]


def test_the_peak_tells_of_a_run_only_where_it_has_risen() -> None:
    # 100 bytes of weights, 500 at the peak of loading them: runs of 30 and 60 bytes stay below
    assert peaks(profile([(110, 10, 500), (130, 20, 500)], [(160, 60, 500)])) == [30, 60]
    # a kernel's own 450 bytes go before its node is done, and show in the peak alone
    assert peaks(profile([(110, 10, 500), (130, 20, 560)], [(160, 60, 560)])) == [460, 60]


def test_nothing_is_made_of_what_does_not_count() -> None:
    assert peaks([]) == []
    assert peaks(profile([])) == []
    assert (
        peaks(['{"cat" : "Node","name" :"n","args" : {"output_size" : "4"}},', *profile([])]) == []
    )


def test_a_line_through_one_row_and_two() -> None:
    assert Usage.between(10, 17) == Usage(7, 3)
    assert Usage.between(10, 30) == Usage(20, 0)
    assert Usage.between(10, 9) == Usage(0, 10)


def test_rows_that_share_points_never_take_more_than_is_said() -> None:
    """Of a run with tensors alive at three moments, whatever comes last, by hand."""
    moments = np.array([[100, 0], [40, 10], [5, 30]])  # bytes per point, and per row

    def taken(points: int, rows: int) -> int:
        return int((moments @ [points, rows]).max())

    for counted in (2, 5):
        found = SharedUsage(taken(1, 1), taken(1, counted), counted)
        for most in (2, 5, 9):
            usage = found.of(most)
            for points in range(1, 6):
                for rows in range(points, most * points + 1):
                    assert rows * usage.row + points * usage.point >= taken(points, rows)
    assert SharedUsage(100, 180, 5, 7).of(5) == Usage(20, 7, 80)
