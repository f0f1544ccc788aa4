"""What all tests share."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def cache_folder(tmp_path_factory):
    """A cache of the tests' own: none of them writes into the user's."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("IGRT_CACHE_DIR", str(folder))
        yield folder
