"""The gateway that most tests speak to."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.gateway.running import Running, running


@pytest.fixture
async def gateway() -> AsyncIterator[Running]:
    """A gateway with the default services and settings."""
    async with running() as found:
        yield found
