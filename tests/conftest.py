"""Fixtures that several folders of tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

_SHARED_DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real networks and benchmark images beside the checkout."""
    if not _SHARED_DATA.is_dir():
        pytest.skip(f"the networks and images of {_SHARED_DATA.name} are not beside this checkout")
    return _SHARED_DATA
