"""What tests of the stores have in common."""

from __future__ import annotations

import pytest

from tests.unit.store.clock import Clock


@pytest.fixture
def clock() -> Clock:
    """The time, which stands still until it is told to pass."""
    return Clock()
