"""One embedded Valkey for this folder, emptied before each test; stores opened on it as a process would."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from deploy.valkey import EmbeddedValkey
from shared.settings import Settings
from shared.store.opening import Stores, open_stores
from shared.telemetry.recording import RecordingSink


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(memory_bytes=128 * 2**20) as valkey:
        yield valkey


@pytest.fixture
def by_hand(server: EmbeddedValkey) -> Iterator[redis.Redis]:
    """A plain client on the empty store, for looking at it and for doing harm."""
    with redis.Redis(unix_socket_path=str(server.socket_path)) as client:
        client.flushall()
        yield client


@pytest.fixture
def settings(server: EmbeddedValkey, by_hand: redis.Redis) -> Settings:
    """Settings of a process that uses the store."""
    return Settings.model_validate(
        {"redis_url": server.url, "redis_timeout_s": 10, "image_ttl_s": 60, "embedding_ttl_s": 120}
    )


@pytest.fixture
async def elsewhere(settings: Settings) -> AsyncIterator[Stores]:
    """The stores of another process: same Valkey, memory of its own."""
    opened = open_stores(settings, RecordingSink())
    yield opened
    await opened.close()
