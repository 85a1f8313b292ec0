"""Settings -> the stores of one process, sharing one client and one circuit breaker."""

from __future__ import annotations

from dataclasses import dataclass

from shared.protocols import Sink
from shared.settings import Settings
from shared.store.embeddings import EmbeddingStore, MemoryEmbeddings
from shared.store.embeddings_redis import RedisEmbeddings
from shared.store.images import ImageStore
from shared.store.images_memory import MemoryImageStore
from shared.store.images_redis import RedisImageStore
from shared.store.jobs import Caps, JobStore
from shared.store.jobs_memory import MemoryJobStore
from shared.store.jobs_redis import RedisJobStore
from shared.store.redis import RedisClient

_DELETION_MARGIN = 2.0
"""A deletion is remembered for so many request deadlines, and at least as long as what is written at that moment: a
store that evicts what expires first would else give up the memory of it first."""


@dataclass(frozen=True, slots=True)
class Stores:
    """Images, embeddings and jobs of this process; `client` is None where no Redis is configured."""

    images: ImageStore
    embeddings: EmbeddingStore
    jobs: JobStore
    client: RedisClient | None

    async def close(self) -> None:
        """Write what still waits, then close the connections."""
        await self.embeddings.close()
        if self.client is not None:
            await self.client.close()


def open_stores(settings: Settings, sink: Sink, *, packed: bool = False) -> Stores:
    """The stores that `settings` ask for; connects at the first call. `packed`: embeddings as int8.

    Without `redis_url` they live in this process alone: gateway and pipelines must then share one `Stores`. Raises
    `SettingsError` for a bad URL.
    """
    client = RedisClient.from_settings(settings, sink)
    near = MemoryEmbeddings(settings.memory_tier_bytes, settings.embedding_life_s, sink)
    if client is None:
        embeddings = EmbeddingStore(near, None, sink, packed=packed)
        images: ImageStore = MemoryImageStore(
            settings.image_memory_bytes, settings.image_ttl_s, sink, on_delete=embeddings.forget
        )
        jobs: JobStore = MemoryJobStore(caps_of(settings), settings.job_memory_bytes)
        return Stores(images, embeddings, jobs, None)
    cap = settings.max_stored_bytes
    deletion_s = max(settings.request_timeout_s * _DELETION_MARGIN, settings.embedding_life_s, settings.image_ttl_s)
    images = RedisImageStore(client, settings.image_ttl_s, deletion_s, cap, sink)
    shared_tier = RedisEmbeddings(client, settings.embedding_life_s, 2 * cap, sink)
    jobs = RedisJobStore(client, caps_of(settings), cap)
    return Stores(images, EmbeddingStore(near, shared_tier, sink, packed=packed), jobs, client)


def caps_of(settings: Settings) -> Caps:
    """What jobs may take."""
    return Caps(
        settings.max_jobs_per_tenant, settings.max_job_bytes_per_tenant, settings.job_ttl_s, settings.job_lease_s
    )
