"""Is it up, how fast, what fails, what changed: the page for three in the morning."""

from __future__ import annotations

from deploy.grafana.board import Board
from deploy.grafana.panels import Panel, figure, graph, listing, states

WAITED = 'route!="/v1/jobs/{job_id}"'
"""A caller who waits for a job is answered late as asked."""
DEPLOYMENT_STATES = {
    0: ("unknown", "purple"),
    1: ("deploy failed", "dark-red"),
    2: ("unhealthy", "red"),
    3: ("updating", "yellow"),
    4: ("upscaling", "blue"),
    5: ("downscaling", "light-blue"),
    6: ("healthy", "green"),
}
"""`DeploymentStatus.to_numeric` of Ray 2.60."""


def latency(quantile: str) -> Panel:
    """Seconds below which this share of the requests is answered, by route."""
    return graph(
        f"Latency, {quantile}",
        "s",
        "From the head of a request to the end of its answer. High on one route: its stages on this page say where. "
        "High on all: the queue, then the processors on Cluster. Buckets end at 60 s.",
        {"{{route}}": f'segserve:request_seconds:{quantile}_5m{{route=~"$route", {WAITED}}}'},
        levels=(10,) if quantile == "p95" else (),
    )


UP = (
    figure(
        "Not running",
        "none",
        "Applications that are not in the state RUNNING. Above 0: see the states below, then `serve status` or the "
        "log of the replica for its message.",
        "count(max by (application) (ray_serve_application_status) != 6) or vector(0)",
        levels=(1,),
    ),
    figure(
        "Models up",
        "none",
        "Applications that run, without the gateway. Fewer than deployed: one is starting or has failed.",
        'count(max by (application) (ray_serve_application_status{application!="gateway"}) == 6)',
    ),
    figure(
        "Alerts firing",
        "none",
        "Alerts that fire now; each has a link to its runbook.",
        'count(ALERTS{alertstate="firing", alertname=~"SegServe.*"}) or vector(0)',
        levels=(1,),
    ),
    figure(
        "Requests",
        "reqps",
        "Answered a second, all routes and statuses. None by day: callers do not reach the gateway; look at what "
        "stands before it.",
        "sum(segserve:requests:rate5m)",
    ),
    figure(
        "Failing",
        "percentunit",
        "Share of all requests answered with 500, 502 or 504 in five minutes. The log has the cause under each "
        "request_id.",
        "segserve:request_errors:ratio5m",
        levels=(0.001, 0.01),
    ),
    figure(
        "Refused",
        "percentunit",
        "Share answered with 429 or 503. Refusals by code below say why.",
        "segserve:requests_refused:ratio5m",
        levels=(0.01, 0.1),
    ),
    figure(
        "Budget burn, 1 h",
        "none",
        "How many times faster than allowed the error budget is spent: one request of a thousand may fail. At 1 it "
        "lasts for 30 days, at 10 for 3 days.",
        "segserve:error_budget_burn:ratio1h",
        levels=(1, 10),
    ),
    figure(
        "p50",
        "s",
        "Half of all requests are answered faster than this.",
        f"histogram_quantile(0.5, sum by (le) (rate(ray_segserve_request_seconds_bucket{{{WAITED}}}[5m])))",
    ),
    figure(
        "p95",
        "s",
        "One request of twenty takes longer. Above 10 s the alert SegServeSlow fires for its route.",
        f"histogram_quantile(0.95, sum by (le) (rate(ray_segserve_request_seconds_bucket{{{WAITED}}}[5m])))",
        levels=(5, 10),
    ),
    figure(
        "p99",
        "s",
        "One request of a hundred takes longer.",
        f"histogram_quantile(0.99, sum by (le) (rate(ray_segserve_request_seconds_bucket{{{WAITED}}}[5m])))",
        levels=(10, 30),
    ),
    figure(
        "Waiting",
        "none",
        "Items that wait for a forward pass. Steady above 0: models are at their limit; see how busy they are below.",
        "sum(segserve:queue_depth:sum)",
        levels=(32, 128),
    ),
    figure(
        "In flight",
        "none",
        "Requests that gateways are working on.",
        "sum(ray_segserve_in_flight_requests)",
    ),
    states(
        "Deployments",
        "Serve's own view of each deployment. Red: `serve status` has the message. Yellow for long: a new version "
        "does not become ready; the old one still answers.",
        "max by (application, deployment) (ray_serve_deployment_status)",
        "{{application}}/{{deployment}}",
        DEPLOYMENT_STATES,
    ),
    graph(
        "Requests in flight",
        "none",
        "Requests that gateways are working on, by replica. One replica with all of them: the others are not reached.",
        {"{{replica}}": "sum by (replica) (ray_segserve_in_flight_requests)"},
        stacked=True,
        width=12,
    ),
)
TRAFFIC = (
    graph(
        "Requests by route",
        "reqps",
        "What callers ask for. A route that falls to nothing while others go on: a model is gone, or one caller is.",
        {"{{route}}": 'sum by (route) (segserve:requests:rate5m{route=~"$route"})'},
        stacked=True,
        width=12,
    ),
    graph(
        "Requests by status",
        "reqps",
        "4xx are callers' mistakes but for 429; 503 is overload or a model that is not there; 500, 502, 504 are ours.",
        {"{{status}}": 'sum by (status) (segserve:requests:rate5m{route=~"$route"})'},
        stacked=True,
        width=12,
    ),
    latency("p50"),
    latency("p95"),
    latency("p99"),
    graph(
        "Images received",
        "decbytes",
        "Half and 95 % of the encoded images are smaller. A jump explains slower decoding and network traffic.",
        {
            "p50": "histogram_quantile(0.5, sum by (le) (rate(ray_segserve_image_bytes_bucket[5m])))",
            "p95": "histogram_quantile(0.95, sum by (le) (rate(ray_segserve_image_bytes_bucket[5m])))",
        },
    ),
    graph(
        "Pixels received",
        "none",
        "Half and 95 % of the images have fewer. Decoding and encoding grow with them, the network hardly.",
        {
            "p50": "histogram_quantile(0.5, sum by (le) (rate(ray_segserve_image_pixels_bucket[5m])))",
            "p95": "histogram_quantile(0.95, sum by (le) (rate(ray_segserve_image_pixels_bucket[5m])))",
        },
    ),
    graph(
        "Images by URL, p95",
        "s",
        "Fetching an image that a request names. `failed` rising: their server is slow or away. `refused`: private "
        "addresses; somebody tries.",
        {
            "{{outcome}}": "histogram_quantile(0.95, sum by (outcome, le) "
            "(rate(ray_segserve_image_fetch_seconds_bucket[5m])))"
        },
    ),
    graph(
        "Stages, p95",
        "s",
        "Where the time goes: `receive` is the caller's line, `decode` and `encode` the codec threads, `predict` the "
        "queue and the network, `service` all of a model's work with the way to it.",
        {"{{task}} {{stage}}": 'segserve:stage_seconds:p95_5m{task=~"$task"}'},
        width=24,
    ),
)
ERRORS = (
    graph(
        "Failing and refused",
        "percentunit",
        "Shares of all requests. Failing pages at 1 %, refused at 10 %.",
        {"failing": "segserve:request_errors:ratio5m", "refused": "segserve:requests_refused:ratio5m"},
        levels=(0.01, 0.1),
    ),
    graph(
        "Error budget burn",
        "none",
        "How many times faster than allowed the error budget is spent. 5 min jumps first; 6 h above 3 is a ticket, "
        "since the month's budget is then gone in ten days.",
        {
            "5 min": "segserve:error_budget_burn:ratio5m",
            "1 h": "segserve:error_budget_burn:ratio1h",
            "6 h": "segserve:error_budget_burn:ratio6h",
        },
        levels=(3, 10),
    ),
    graph(
        "Refusals by code",
        "reqps",
        "The `code` of each error's body. `overloaded`: add replicas. `too_many_requests`: a tenant's quota. "
        "`model_unavailable`: see Deployments. `image_store_unavailable`: see Promptable and cache. What names a "
        "field is the caller's.",
        {"{{reason}}": "sum by (reason) (rate(ray_segserve_rejections_total[$__rate_interval]))"},
        stacked=True,
    ),
    graph(
        "Dropped by models",
        "ops",
        "Items that no forward pass answered. `queue_full`, `deadline`: too much work. `late`: passes are slower than "
        "deadlines. `out_of_memory`: see the alert. `client_gone` is the caller's choice.",
        {
            "{{model}} {{role}} {{reason}}": "sum by (model, role, reason) "
            "(rate(ray_segserve_dropped_total[$__rate_interval]))"
        },
        stacked=True,
        width=12,
    ),
    graph(
        "Callers who left",
        "reqps",
        "They closed the connection before their answer. Rising with latency: they gave up; look at Latency, p95.",
        {"{{route}}": "sum by (route) (rate(ray_segserve_client_gone_total[$__rate_interval]))"},
        stacked=True,
        width=12,
    ),
)
QUEUE = (
    graph(
        "Waiting for a model",
        "none",
        "Items that wait for a forward pass. Above 0 with nothing done for three minutes: the model hangs, and "
        "SegServeModelStuck pages.",
        {"{{model}} {{role}}": "segserve:queue_depth:sum"},
        stacked=True,
    ),
    graph(
        "Wait for a model, p95",
        "s",
        "From an item's arrival to the start of its batch. Near 0 unless the model is busy; then add replicas, or a "
        "larger `max_batch` on a GPU.",
        {"{{model}} {{role}}": "segserve:queue_seconds:p95_5m"},
    ),
    graph(
        "Busy",
        "percentunit",
        "Share of the forward passes that may be under way at once that are. At 100 % this deployment is at its limit: "
        "more replicas or a faster engine. Plan for 70 %.",
        {"{{application}}/{{deployment}}": "segserve:slots_busy:ratio5m"},
        levels=(0.7, 0.95),
    ),
)
CHANGED = (
    listing(
        "Versions",
        "What runs now. Two versions at once: an update is under way, or has stopped half-way; see Deployments.",
        "count by (version, python, application, deployment) (ray_segserve_build_info)",
        counted="replicas",
    ),
    listing(
        "Models",
        "Card, engine and precision of what is loaded, by replicas.",
        "count by (model, role, engine, precision, version) (ray_segserve_model_info)",
        counted="replicas",
    ),
    graph(
        "Replicas started",
        "none",
        "In the last ten minutes. Without a deployment or autoscaling, replicas die: look for out of memory on "
        "Cluster and in the raylet's log, and for failed health checks.",
        {
            "{{application}}/{{deployment}}": "count by (application, deployment) "
            "(ray_serve_deployment_replica_starts_total "
            "unless on (replica) ray_serve_deployment_replica_starts_total offset 10m)"
        },
        stacked=True,
    ),
)
OVERVIEW = Board(
    "overview",
    "SegServe: overview",
    "Is it up, how fast is it, what fails, what changed. Start here; the other boards say more.",
    ("route", "task"),
    {
        "Is it up": UP,
        "Traffic and latency": TRAFFIC,
        "Errors and refusals": ERRORS,
        "Queue": QUEUE,
        "What changed": CHANGED,
    },
)
