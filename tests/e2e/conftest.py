"""One running platform with its default applications for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.platform import Platform, running


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    """The platform with the default applications."""
    with running(SEGSERVE_REDIS_TIMEOUT_S="10") as started:  # a busy machine is no silent store
        yield started


@pytest.fixture(scope="session")
def server_url(platform: Platform) -> str:
    """Base URL of the running platform."""
    return platform.url


@pytest.fixture
def http(server_url: str) -> Iterator[httpx.Client]:
    """A client of the running platform."""
    with httpx.Client(base_url=server_url, timeout=120) as client:
        yield client
