"""What holds for every suite: random numbers are the same in each run, whatever ran before.

Hypothesis draws the same examples too, and takes its time on any machine. A change is judged by its own merits then.
`pytest --hypothesis-profile=default` draws new examples.
"""

from __future__ import annotations

import random
import sys
from collections.abc import AsyncIterator

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from shared.settings import Settings
from shared.store.opening import Stores, open_stores
from shared.telemetry.recording import RecordingSink

settings.register_profile("segserve", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("segserve")


def seed() -> None:
    """Set every global generator; torch's only where a test has imported it."""
    random.seed(0)
    np.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(scope="module", autouse=True)
def seeded_module() -> None:
    """Before the module's own fixtures: random weights that they write."""
    seed()


@pytest.fixture(autouse=True)
def seeded(seeded_module: None) -> None:
    """Before each test."""
    seed()


@pytest.fixture
def sink() -> RecordingSink:
    """What is counted."""
    return RecordingSink()


@pytest.fixture
async def stores(settings: Settings, sink: RecordingSink) -> AsyncIterator[Stores]:
    """The stores of a process that has the `settings` of the test's own folder or module."""
    opened = open_stores(settings, sink)
    yield opened
    await opened.close()
