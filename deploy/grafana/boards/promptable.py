"""Embeddings, the store, clicks and everything mode."""

from __future__ import annotations

from deploy.grafana.board import Board
from deploy.grafana.panels import figure, graph

FOUND = {
    "memory": 'sum(segserve:store_lookups:rate5m{tier="memory", outcome="hit"}) or vector(0)',
    "redis": 'sum(segserve:store_lookups:rate5m{tier="redis", outcome="hit"}) or vector(0)',
    "computed": 'sum(segserve:store_lookups:rate5m{tier="computed", outcome=~"run|joined"}) or vector(0)',
}
"""Embeddings a second by where they were found."""
CALLS = "rate(ray_segserve_store_call_seconds_bucket[$__rate_interval])"

EMBEDDINGS = (
    figure(
        "Found in memory",
        "percentunit",
        "Share of embeddings that cost neither the store nor the encoder. Low with many clicks an image: the memory "
        "tier is too small (`SEGSERVE_MEMORY_TIER_BYTES`), or clicks reach other replicas.",
        f'({FOUND["memory"]}) / sum(segserve:store_lookups:rate5m{{tier="memory"}})',
    ),
    figure(
        "Encoder runs",
        "ops",
        "The dear half of promptable. As many as new images: all is well. As many as clicks: nothing is kept.",
        "sum(rate(ray_segserve_encoder_runs_total[5m]))",
    ),
    figure(
        "Prompts",
        "ops",
        "Clicks, boxes and phrases that decoders answer, those of everything mode too.",
        "sum(rate(ray_segserve_decoder_prompts_total[5m]))",
    ),
    figure(
        "Store skipped",
        "none",
        "Processes whose circuit breaker is open: they do not ask the store. Above 0: the store is down, slow or out "
        "of reach; requests that carry their image are still answered.",
        "sum(ray_segserve_store_breaker_open)",
        levels=(1,),
    ),
    figure(
        "Store, p95",
        "s",
        "One call. Calls slower than `SEGSERVE_REDIS_TIMEOUT_S` count as misses.",
        "histogram_quantile(0.95, sum by (le) (rate(ray_segserve_store_call_seconds_bucket[5m])))",
        levels=(0.05, 0.2),
    ),
    figure(
        "In memory",
        "bytes",
        "Embeddings that decoders keep, all replicas.",
        'sum(ray_segserve_store_bytes{tier="memory"})',
    ),
    graph(
        "Where embeddings come from",
        "ops",
        "Memory is microseconds, Redis milliseconds, computed the encoder.",
        FOUND,
        stacked=True,
    ),
    graph(
        "Lookups",
        "ops",
        "Every look into every tier. `corrupt`: altered in the store, and computed anew. `error`: the store did not "
        "answer. `image` misses are 404s: the image was deleted, has expired or was evicted.",
        {"{{tier}} {{outcome}}": "segserve:store_lookups:rate5m"},
    ),
    graph(
        "Encoder runs by model",
        "ops",
        "Images embedded. Compare with new images, `POST /v1/images` and first clicks.",
        {"{{model}}": "sum by (model) (rate(ray_segserve_encoder_runs_total[$__rate_interval]))"},
        stacked=True,
    ),
)
STORE = (
    graph(
        "Store calls, p95",
        "s",
        "By operation. All slow: the server or the network. One slow: its values are large.",
        {"{{operation}}": f"histogram_quantile(0.95, sum by (operation, le) ({CALLS}))"},
    ),
    graph(
        "Store calls",
        "ops",
        "By operation; those skipped by the breaker are not among them.",
        {"{{operation}}": "sum by (operation) (rate(ray_segserve_store_call_seconds_count[$__rate_interval]))"},
        stacked=True,
    ),
    graph(
        "Store errors",
        "ops",
        "`timeout`, `connection`: slow or away. `full`: raise its maxmemory (`SEGSERVE_STORE_MEMORY_BYTES`). "
        "`too_large`: over the cap. `open`: skipped by the breaker. `corrupt`: find out who writes to it.",
        {
            "{{operation}} {{reason}}": "sum by (operation, reason) "
            "(rate(ray_segserve_store_errors_total[$__rate_interval]))"
        },
        stacked=True,
    ),
    graph(
        "Breaker open",
        "none",
        "1 while this replica skips the store.",
        {
            "{{application}}/{{deployment}} {{replica}}": "max by (application, deployment, replica) "
            "(ray_segserve_store_breaker_open)"
        },
        levels=(1,),
    ),
    graph(
        "Bytes in processes",
        "bytes",
        "Embeddings (memory), and images where there is no store (image). At its limit it evicts.",
        {"{{tier}} {{replica}}": "sum by (tier, replica) (ray_segserve_store_bytes)"},
        stacked=True,
    ),
    graph(
        "Evictions in processes",
        "ops",
        "`room`: pushed out; with many of them and a low share found in memory, raise `SEGSERVE_MEMORY_TIER_BYTES`. "
        "`expired`: too old. What the store itself evicts shows as misses of `redis` and `image`.",
        {"{{tier}} {{reason}}": "sum by (tier, reason) (rate(ray_segserve_store_evictions_total[$__rate_interval]))"},
        stacked=True,
    ),
)
CLICKS = (
    graph(
        "Clicks and everything mode",
        "reqps",
        "Requests by route and status. One request of everything mode is hundreds of prompts.",
        {"{{route}} {{status}}": 'segserve:requests:rate5m{route=~"/v1/promptable.*"}'},
        stacked=True,
    ),
    graph(
        "Latency, p95",
        "s",
        "A click on a kept embedding takes some ten milliseconds; more is the queue of the decoder or the encoder.",
        {"{{route}}": 'segserve:request_seconds:p95_5m{route=~"/v1/promptable.*"}'},
    ),
    graph(
        "Stages, p95",
        "s",
        "`embedding`: the look-up, and the encoder where it runs. `predict`: the decoder with its queue.",
        {"{{stage}}": 'segserve:stage_seconds:p95_5m{task="promptable"}'},
    ),
    graph(
        "Prompts by model",
        "ops",
        "What decoders answer.",
        {"{{model}}": "sum by (model) (rate(ray_segserve_decoder_prompts_total[$__rate_interval]))"},
        stacked=True,
    ),
    graph(
        "Streams",
        "none",
        "WebSockets that are open. At `SEGSERVE_MAX_STREAMS` of a gateway new ones are refused.",
        {"open": "sum(ray_segserve_streams_open)"},
    ),
    graph(
        "Clicks on streams",
        "ops",
        "`dropped`: a newer one came first, as hovering does. `failed`: see the log.",
        {"{{outcome}}": "sum by (outcome) (rate(ray_segserve_stream_clicks_total[$__rate_interval]))"},
        stacked=True,
    ),
)
PROMPTABLE = Board(
    "promptable",
    "SegServe: promptable and cache",
    "Where embeddings come from, how the store does, and what clicks and everything mode cost.",
    (),
    {"Embeddings": EMBEDDINGS, "Store": STORE, "Clicks, everything mode, streams": CLICKS},
)
