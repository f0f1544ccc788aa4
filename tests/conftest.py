"""What all tests share."""

import os
import time

import pytest

_BEGAN = time.monotonic()

if "PYTEST_XDIST_WORKER" in os.environ:
    # one process per core already; torch reads this when it is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_runtest_setup(item):
    """Where tests must end in time, as in CI, those left over on a slow machine are skipped."""
    allowed = os.environ.get("IGRT_TEST_SECONDS")
    if allowed and time.monotonic() - _BEGAN > float(allowed):
        pytest.skip("the time that these tests may take is over")


@pytest.fixture(autouse=True, scope="session")
def cache_folder(tmp_path_factory):
    """A cache of the tests' own: none of them writes into the user's."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("IGRT_CACHE_DIR", str(folder))
        yield folder
