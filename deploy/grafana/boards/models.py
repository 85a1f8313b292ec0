"""Each model's throughput, batches, times, engine and resources: what a capacity planner asks."""

from __future__ import annotations

from deploy.grafana.board import Board
from deploy.grafana.panels import Panel, graph, listing, spread

WHICH = 'model=~"$model"'
BY = "{{model}} {{role}}"


def stage_p95(title: str, stage: str, says: str) -> Panel:
    """One stage's time, by task."""
    expression = f'segserve:stage_seconds:p95_5m{{task=~"$task", stage="{stage}"}}'
    return graph(title, "s", says, {"{{task}}": expression}, width=6)


THROUGHPUT = (
    graph(
        "Items",
        "ops",
        "Through forward passes a second: images, and prompts of a decoder. Flat while requests rise: the model is at "
        "its limit.",
        {BY: f"sum by (model, role) (rate(ray_segserve_batch_items_total{{{WHICH}}}[$__rate_interval]))"},
        stacked=True,
    ),
    graph(
        "Megapixels, as sent",
        "suffix: MP/s",
        "Of the answered images, a second. Rising faster than items: callers send larger photos, which decoding and "
        "encoding pay for.",
        {BY: f"segserve:source_pixels:rate5m{{{WHICH}}} / 1e6"},
        stacked=True,
    ),
    graph(
        "Megapixels, as seen",
        "suffix: MP/s",
        "What the network computed on, a second: its real work, whatever the sizes of photos. Plan GPUs and cores by "
        "this.",
        {BY: f"sum by (model, role) (rate(ray_segserve_network_pixels_total{{{WHICH}}}[$__rate_interval])) / 1e6"},
        stacked=True,
    ),
)
BATCHES = (
    graph(
        "Batch size",
        "none",
        "Items in one forward pass, on average. On a CPU 1 is fastest; on a GPU small batches under load waste it: "
        "raise `max_wait_ms` a little, or use fewer replicas.",
        {BY: f"segserve:batch_size:mean5m{{{WHICH}}}"},
    ),
    graph(
        "Batch filling",
        "percentunit",
        "Batch size by its limit, `user_config.max_batch` or `max_prompts`. Near 100 % with items waiting: raise the "
        "limit where memory allows.",
        {BY: f"segserve:batch_filling:ratio5m{{{WHICH}}}"},
    ),
    graph(
        "Busy",
        "percentunit",
        "Share of the forward passes that may be under way at once that are. Plan for 70 %: above it waits grow "
        "steeply.",
        {"{{application}}/{{deployment}}": "segserve:slots_busy:ratio5m"},
        levels=(0.7, 0.95),
    ),
    spread(
        "Batch sizes",
        "none",
        "How many items forward passes held, of the chosen models.",
        f"sum by (le) (increase(ray_segserve_batch_size_bucket{{{WHICH}}}[$__rate_interval]))",
        width=12,
    ),
    graph(
        "Waiting",
        "none",
        "Items that wait for a batch, by replica. All on one replica: the router does not know the others yet.",
        {"{{model}} {{role}} {{replica}}": f"sum by (model, role, replica) (ray_segserve_queue_depth{{{WHICH}}})"},
        stacked=True,
        width=12,
    ),
)
TIMES = (
    stage_p95(
        "Decode, p95",
        "decode",
        "Reading the image. Slow with small photos: too few processors, or `codec_threads` is too low.",
    ),
    graph(
        "Queue, p95",
        "s",
        "An item's wait for its batch to start.",
        {BY: f"segserve:queue_seconds:p95_5m{{{WHICH}}}"},
        width=6,
    ),
    graph(
        "Network, p95",
        "s",
        "One forward pass, with what goes with it. Slower than yesterday at the same batch size: another engine or "
        "precision (below), a busy neighbour, a throttled GPU.",
        {
            BY: "histogram_quantile(0.95, sum by (model, role, le) "
            f"(rate(ray_segserve_batch_seconds_bucket{{{WHICH}}}[$__rate_interval])))"
        },
        width=6,
    ),
    stage_p95(
        "Encode, p95",
        "encode",
        "Making masks into an answer. Polygons, overlays and effects of large photos cost most.",
    ),
)
ENGINES = (
    listing(
        "Engine and precision",
        "What runs, and in how many replicas. `precision: auto` chose it by the card's checks on this machine.",
        f"count by (model, role, engine, precision, version) (ray_segserve_model_info{{{WHICH}}})",
        counted="replicas",
    ),
    graph(
        "Loading and warming",
        "s",
        "The slowest start so far, up to its bucket's bound. A surge waits for it: autoscaling is that much late.",
        {BY: f"histogram_quantile(1, sum by (model, role, le) (ray_segserve_model_load_seconds_bucket{{{WHICH}}}))"},
    ),
    graph(
        "Padding waste",
        "percentunit",
        "Share of what the network sees that is no image. Above 20 %: `python -m shared.models.buckets MODEL --data "
        "FOLDER` finds buckets for what callers send.",
        {BY: f"segserve:padding:ratio5m{{{WHICH}}}"},
        levels=(0.2, 0.4),
    ),
    graph(
        "Outside compiled shapes",
        "ops",
        "Forward passes on a shape that was not compiled ahead: slow. Add a bucket to the card.",
        {
            "{{model}} {{reason}}": "sum by (model, reason) "
            f"(rate(ray_segserve_model_fallback_total{{{WHICH}}}[$__rate_interval]))"
        },
        width=12,
    ),
    graph(
        "Dropped",
        "ops",
        "Items that no forward pass answered, by reason.",
        {
            "{{model}} {{role}} {{reason}}": "sum by (model, role, reason) "
            f"(rate(ray_segserve_dropped_total{{{WHICH}}}[$__rate_interval]))"
        },
        stacked=True,
        width=12,
    ),
)
RESOURCES = (
    graph(
        "Replicas",
        "none",
        "That passed their last health check.",
        {
            "{{application}}/{{deployment}}": "sum by (application, deployment) "
            "(last_over_time(ray_serve_deployment_replica_healthy[1m]))"
        },
    ),
    graph(
        "Processors",
        "percent",
        "Of all replicas of a deployment; 100 is one core. Below `threads` times 100 at full load: they wait for each "
        "other or for memory.",
        {"{{Component}}": 'sum by (Component) (ray_component_cpu_percentage{Component=~"ray::ServeReplica:.*"})'},
    ),
    graph(
        "Memory",
        "bytes",
        "Resident, of all replicas of a deployment. Growing for hours: a leak; `make soak` finds it.",
        {"{{Component}}": 'sum by (Component) (ray_component_rss_bytes{Component=~"ray::ServeReplica:.*"})'},
        stacked=True,
    ),
    graph(
        "GPU",
        "percent",
        "How busy each is. Low with items waiting: decoding or batches hold it up; see Batch filling and Decode.",
        {"{{instance}} {{GpuIndex}}": "sum by (instance, GpuIndex) (ray_node_gpus_utilization)"},
        width=12,
    ),
    graph(
        "GPU memory",
        "mbytes",
        "In use, and free. Little free with SegServeOutOfMemory: fewer passes under way (`args.in_flight`) or smaller "
        "batches.",
        {
            "{{instance}} {{GpuIndex}} used": "sum by (instance, GpuIndex) (ray_node_gram_used)",
            "{{instance}} {{GpuIndex}} free": "sum by (instance, GpuIndex) (ray_node_gram_available)",
        },
        width=12,
    ),
)
MODELS = Board(
    "models",
    "SegServe: models",
    "What each model does, how fast, on which engine, and what it costs.",
    ("model", "task"),
    {
        "Throughput": THROUGHPUT,
        "Batches": BATCHES,
        "Where the time goes": TIMES,
        "Engine": ENGINES,
        "Resources": RESOURCES,
    },
)
