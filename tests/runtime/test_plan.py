"""How many rows a run takes, and how a budget is shared out."""

import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from igrt.errors import InputError
from igrt.runtime import plan as module
from igrt.runtime.plan import Keeping, Need, Plan, in_words, plan, require_positive
from igrt.runtime.usage import Usage

MIB, GIB = 1 << 20, 1 << 30


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is counted is all there is, so that figures are round."""
    monkeypatch.setattr(module, "_SLACK", 1.0)
    monkeypatch.setattr(module, "BESIDE", 0)


def needed(**options: Any) -> Need:
    """A row takes a mebibyte, and nothing else takes anything."""
    keep = {"least": 0, "most": 0, "result_bytes": 0, "rows": 10_000}
    keep |= {n: options.pop(n) for n in list(options) if n in keep}
    usage = Usage(options.pop("row", MIB), options.pop("fixed", 0), options.pop("point", 0))
    given = {"buffers": 0, "beside": 0, "keep": Keeping(**keep), **options}
    return Need(usage, **given)


@pytest.mark.parametrize(
    ("need", "given", "rows"),
    [
        ({}, {"memory": 10 * MIB}, 10),
        ({"row": 3 * MIB}, {"memory": 10 * MIB}, 3),
        ({"fixed": 5 * MIB}, {"memory": 10 * MIB}, 5),
        ({}, {"memory": 100 * GIB}, 16),
        ({"row": 1}, {"memory": 100 * GIB}, 256),
        ({"row": 0}, {"memory": 100 * GIB}, 256),
        ({"row": 8 * MIB}, {"memory": 100 * GIB}, 2),  # 16 MiB of activations pay
        ({"row": GIB}, {"memory": 100 * GIB}, 1),
        ({"row": 1, "rows": 15}, {"memory": 100 * GIB}, 15),  # no more than there are
        ({"most_rows": 4}, {"memory": 10 * MIB}, 4),
        ({"most_rows": 1}, {"memory": 10 * MIB}, 1),
        ({"most_rows": 40}, {"memory": 10 * MIB}, 10),
        # the user's word over what is fastest, and over the default budget, but not over his own
        ({}, {"internal_batch_size": 7}, 7),
        ({}, {"internal_batch_size": 10**9}, 10**9),
        ({}, {"internal_batch_size": 1000, "memory": 64 * MIB}, 64),
        ({"most_rows": 1}, {"internal_batch_size": 7}, 1),
        # half is for what is kept, unless that is less
        ({"most": GIB}, {"memory": 20 * MIB}, 10),
        ({"most": 4 * MIB}, {"memory": 20 * MIB}, 16),
        ({"most": GIB, "least": 15 * MIB}, {"memory": 20 * MIB}, 5),
    ],
)
def test_rows(need: dict[str, Any], given: dict[str, Any], rows: int) -> None:
    assert plan(needed(**need), available=100 * GIB, **given).chunk == rows


@pytest.mark.parametrize(
    ("need", "given", "found"),
    [
        # the rows of a chunk are shared out
        ({}, {}, (4, 4)),
        ({"row": 6 * MIB}, {}, (1, 4)),
        ({"most_rows": 1}, {}, (1, 4)),
        ({}, {"internal_batch_size": 5}, (5, 4)),
        # too few rows, too small ones, too large ones
        ({"rows": 7}, {}, (7, 1)),
        ({"row": 1 << 10}, {}, (256, 1)),
        ({"row": 41 * MIB}, {}, (1, 1)),
        # a budget that does not hold as many: half of it is for what is kept
        ({"row": 5 * MIB}, {"memory": 19 * MIB}, (3, 1)),
        ({"row": 5 * MIB}, {"memory": 20 * MIB}, (1, 4)),
        ({"row": 5 * MIB, "fixed": MIB}, {"memory": 23 * MIB}, (3, 1)),
        ({"row": 5 * MIB, "fixed": MIB}, {"memory": 24 * MIB}, (1, 4)),
    ],
)
def test_runs_at_the_same_time(
    need: dict[str, Any], given: dict[str, Any], found: tuple[int, int]
) -> None:
    planned = plan(needed(**need), available=100 * GIB, cores=4, **given)
    assert (planned.chunk, planned.at_once) == found
    assert planned.limit <= planned.budget


def test_memory_for_one_run_instead_of_several_is_taken_by_one() -> None:
    planned = plan(needed(row=4 * MIB), memory=17 * MIB, cores=4)
    assert (planned.chunk, planned.at_once) == (1, 4)
    dearer = planned.instead(usage=Usage(5 * MIB, 0))
    assert (dearer.chunk, dearer.at_once) == (1, 1)
    assert dearer.limit <= dearer.budget


def test_what_one_does_not_need_the_other_may_have() -> None:
    need = needed(fixed=MIB, least=MIB, most=GIB, rows=2)
    found = plan(need, memory=20 * MIB)
    assert found == Plan(need, 2, 17 * MIB, 20 * MIB)
    assert found.limit == 20 * MIB
    assert found.facts() == {
        "chunk": 2,
        "at_once": 1,
        "row_bytes": MIB,
        "fixed_bytes": MIB,
        "keep_bytes": 17 * MIB,
        "budget": 20 * MIB,
        "limit": 20 * MIB,
        "peak": 20 * MIB,
    }
    assert found.facts(kept=2 * MIB)["peak"] == 5 * MIB
    assert found.facts(kept=2 * MIB, rows=1)["peak"] == 4 * MIB


def test_rows_that_share_a_point_take_less() -> None:
    found = plan(needed(row=MIB, point=3 * MIB), memory=12 * MIB)
    assert (found.chunk, found.limit) == (3, 12 * MIB)
    assert found.peak(0, rows=3, points=1) == (3 + 3) * MIB


def test_the_model_alone_counts_where_it_takes_more() -> None:
    found = plan(needed(rows=3, before=10 * MIB), memory=20 * MIB)
    assert (found.chunk, found.limit) == (3, 10 * MIB)


def test_another_graph_has_the_same_budget() -> None:
    """As many rows as there is room for; a number beyond the budget is the user's own."""
    found = plan(needed(rows=15), memory=20 * MIB)
    other = found.instead(usage=Usage(3 * MIB, MIB), beside=MIB)
    assert (found.chunk, other.chunk, other.most) == (15, 6, 6)
    own = plan(needed(), internal_batch_size=100, available=20 * MIB)
    assert own.instead(buffers=MIB).chunk == 100
    assert own.instead(buffers=MIB).limit == 200 * MIB


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    row=st.integers(0, 1 << 34),
    fixed=st.integers(0, 1 << 34),
    least=st.integers(0, 1 << 34),
    more=st.integers(0, 1 << 34),
    rows=st.integers(1, 1000),
    spare=st.integers(0, 1 << 36),
    wanted=st.one_of(st.none(), st.integers(1, 1 << 20)),
)
def test_a_budget_is_kept(
    row: int, fixed: int, least: int, more: int, rows: int, spare: int, wanted: int | None
) -> None:
    need = needed(row=row, fixed=fixed, least=least, most=least + more, rows=rows)
    memory = need.least + spare
    found = plan(need, memory=memory, internal_batch_size=wanted)
    assert 1 <= found.chunk and found.limit <= memory
    assert least <= found.keep_bytes <= max(least, need.keep.most)


def test_there_is_more_than_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SLACK", 1.25)
    monkeypatch.setattr(module, "BESIDE", MIB)
    need = needed(fixed=4 * MIB, least=MIB)
    assert (need.row_bytes, need.fixed_bytes) == (5 * MIB // 4, 6 * MIB)
    assert plan(need, memory=20 * MIB) == Plan(need, 10, MIB, 20 * MIB)


def test_a_budget_too_small_for_one_row_is_refused_with_what_it_takes() -> None:
    need = needed(fixed=MIB, least=2 * MIB)
    with pytest.raises(InputError, match=r"memory=4194303 \(4.0 MiB\) is too small") as caught:
        plan(need, memory=4 * MIB - 1)
    assert "takes 4.0 MiB beside the loaded model" in caught.value.message
    assert "allow 4194304 bytes or more" in caught.value.hint
    assert plan(need, memory=4 * MIB).chunk == 1


def test_the_default_budget_is_half_of_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_memory", lambda **_: 20 * MIB)
    found = plan(needed())
    assert (found.budget, found.chunk, found.need.row_bytes) == (10 * MIB, 10, MIB)
    assert plan(needed(), available=8 * MIB).chunk == 4


def test_one_row_is_always_tried_by_default_but_not_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, logger="igrt"):
        assert plan(needed(row=8 * MIB), available=10 * MIB).budget == 8 * MIB
        assert not caplog.records
        assert plan(needed(row=80 * MIB), available=10 * MIB).chunk == 1
    assert caplog.messages == ["one row per run takes 80.0 MiB, and 10.0 MiB are free"]


@pytest.mark.parametrize("name", ["memory", "internal_batch_size"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "1", True])
def test_refusals(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name} must be a positive whole number") as caught:
        plan(needed(), **{name: value})
    assert repr(value) in caught.value.message
    assert caught.value.hint
    require_positive(name, None)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1536, "1.5 KiB"),
        (GIB, "1.0 GiB"),
        (1 << 50, "1024.0 TiB"),
    ],
)
def test_bytes_in_words(count: int, text: str) -> None:
    assert in_words(count) == text
