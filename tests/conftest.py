"""What all tests share."""

import os

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # one process per core already; torch reads this when it is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def cache_folder(tmp_path_factory):
    """A cache of the tests' own: none of them writes into the user's."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("IGRT_CACHE_DIR", str(folder))
        yield folder
