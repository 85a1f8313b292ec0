"""What the stores count: names and closed label sets, declared for export in `shared.telemetry.metrics`."""

from __future__ import annotations

from typing import Literal

LOOKUPS = "segserve_store_lookups_total"
"""Counter {tier, outcome}: where images and embeddings were looked for, and what came of it. Tiers: memory, redis,
computed: an embedding on its way down. image: the image record, which is the authority."""
CALL_SECONDS = "segserve_store_call_seconds"
"""Histogram {operation}: seconds of one call to Redis, whatever its end; calls skipped by the breaker are not in it."""
ERRORS = "segserve_store_errors_total"
"""Counter {operation, reason}: calls that did not do their work."""
BYTES = "segserve_store_bytes"
"""Gauge {tier}: bytes that this process keeps in memory: of embeddings (memory), and of images (image) where no Redis
is configured."""
EVICTIONS = "segserve_store_evictions_total"
"""Counter {tier, reason}: entries that left this process's memory though nobody deleted them; tiers as of `BYTES`."""
BREAKER_OPEN = "segserve_store_breaker_open"
"""Gauge: 1 while calls to Redis are skipped, else 0."""

Outcome = Literal["hit", "miss", "corrupt", "error", "run", "joined", "failed"]
"""hit, miss, corrupt, error: of a lookup (error: the store did not answer). run, joined, failed: of `computed`: the
encoder ran, another caller's run was shared, the run raised."""
Operation = Literal[
    "image_put", "image_get", "image_head", "image_delete", "embedding_get", "embedding_put",
    "embedding_marks", "ping",
    "job_put", "job_get", "job_list", "job_delete", "job_look", "job_take", "job_renew", "job_end",
]  # fmt: skip
Eviction = Literal["room", "expired"]
"""room: pushed out by others. expired: found too old."""
Reason = Literal[
    "timeout", "connection", "open", "crowded", "full", "too_large", "refused", "corrupt", "dropped", "internal"
]
"""timeout, connection: the server is slow or away. open: skipped by the breaker. crowded: not tried, this process has
too many calls under way. full: out of memory. too_large: over the cap, not sent. refused: any other error reply.
corrupt: read back altered. dropped: too much waits to be written. internal: a defect of ours, in the log."""
