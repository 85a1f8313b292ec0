"""Nodes, replicas, the way in and processes: what the platform stands on."""

from __future__ import annotations

from deploy.grafana.board import Board
from deploy.grafana.boards.overview import DEPLOYMENT_STATES
from deploy.grafana.panels import figure, graph, states

WHERE = 'instance=~"$node"'
WHAT = 'application=~"$application"'
BY = "{{application}}/{{deployment}}"
PROXY_STATES = {
    1: ("starting", "yellow"),
    2: ("healthy", "green"),
    3: ("unhealthy", "red"),
    4: ("draining", "blue"),
    5: ("drained", "dark-blue"),
}
"""`ProxyStatus.to_numeric` of Ray 2.60."""
HEALTHY = f"sum by (application, deployment) (last_over_time(ray_serve_deployment_replica_healthy{{{WHAT}}}[1m]))"
TARGET = f"max by (application, deployment) (ray_serve_autoscaling_target_replicas{{{WHAT}}})"

NODES = (
    figure("Nodes", "none", "Ray nodes whose metrics can be read.", 'sum(up{job="ray"})'),
    figure(
        "Nodes not read",
        "none",
        "The node is gone, its agent is, or a network policy is in between.",
        'count(up{job="ray"} == 0) or vector(0)',
        levels=(1,),
    ),
    figure(
        "Replicas missing",
        "none",
        "Wanted and not healthy. For minutes: no node has room for them, or they do not start; `serve status` says "
        "which.",
        f"sum(clamp_min({TARGET} - ({HEALTHY} or 0 * {TARGET}), 0))",
        levels=(1, 2),
    ),
    figure("Cores", "none", "Of all nodes.", "sum(ray_node_cpu_count)"),
    figure("Memory in all", "bytes", "Of all nodes.", "sum(ray_node_mem_total)"),
    figure(
        "Fullest disk",
        "percent",
        "Logs and compiled models lie there. Above 90 %: remove old Ray sessions.",
        "max(ray_node_disk_utilization_percentage)",
        levels=(80, 90),
    ),
    graph(
        "Processors of nodes",
        "percent",
        "Near 100 with latency rising: more nodes or fewer replicas a node.",
        {"{{instance}}": f"avg by (instance) (ray_node_cpu_utilization{{{WHERE}}})"},
        levels=(80, 95),
        width=6,
    ),
    graph(
        "Memory of nodes",
        "percentunit",
        "In use. Ray kills processes above 95 %.",
        {
            "{{instance}}": f"sum by (instance) (ray_node_mem_used{{{WHERE}}}) "
            f"/ sum by (instance) (ray_node_mem_total{{{WHERE}}})"
        },
        levels=(0.85, 0.95),
        width=6,
    ),
    graph(
        "Network of nodes",
        "Bps",
        "What comes and goes, images between nodes too.",
        {
            "{{instance}} in": f"sum by (instance) (ray_node_network_receive_speed{{{WHERE}}})",
            "{{instance}} out": f"sum by (instance) (ray_node_network_send_speed{{{WHERE}}})",
        },
        width=6,
    ),
    graph(
        "Object store",
        "percentunit",
        "Shared memory for images and embeddings on their way between processes. Full: Ray writes them to disk, and "
        "everything is slow; give it more (`--object-store-memory`).",
        {
            "{{instance}}": f"sum by (instance) (ray_object_store_used_memory{{{WHERE}}}) / sum by (instance) "
            f"(ray_object_store_used_memory{{{WHERE}}} + ray_object_store_available_memory{{{WHERE}}})"
        },
        levels=(0.7, 0.9),
        width=6,
    ),
)
REPLICAS = (
    states(
        "Deployments",
        "Serve's own view. Red: `serve status` has the message.",
        f"max by (application, deployment) (ray_serve_deployment_status{{{WHAT}}})",
        BY,
        DEPLOYMENT_STATES,
    ),
    graph(
        "Replicas healthy",
        "none",
        "That passed their last health check, and as many as Serve wants.",
        {f"{BY} healthy": HEALTHY, f"{BY} target": TARGET},
        width=12,
    ),
    graph(
        "Autoscaling",
        "none",
        "What autoscaling would like before its delays and bounds; only deployments with an `autoscaling_config` have "
        "it. Desired at `max_replicas` for long: raise it.",
        {f"{BY} desired": f"max by (application, deployment) (ray_serve_autoscaling_desired_replicas{{{WHAT}}})"},
    ),
    graph(
        "Replica starts, p95",
        "ms",
        "From Serve's decision to a replica that answers, of all starts so far. Plan `min_replicas` by it.",
        {
            BY: "histogram_quantile(0.95, sum by (application, deployment, le) "
            f"(ray_serve_replica_startup_latency_ms_bucket{{{WHAT}}}))"
        },
    ),
    graph(
        "Requests at replicas",
        "none",
        "What each deployment's replicas have in work, as Serve counts it: autoscaling goes by this.",
        {BY: f"sum by (application, deployment) (ray_serve_replica_processing_queries{{{WHAT}}})"},
        stacked=True,
    ),
    graph(
        "Waiting in handles",
        "none",
        "Requests that wait in the gateway for a replica that takes them. Above 0: no replica is up, or all are full.",
        {BY: f"sum by (application, deployment) (ray_serve_deployment_queued_queries{{{WHAT}}})"},
        stacked=True,
    ),
    graph(
        "Health checks, p95",
        "ms",
        "A check that takes as long as a minute replaces the replica.",
        {
            BY: "histogram_quantile(0.95, sum by (application, deployment, le) "
            f"(rate(ray_serve_health_check_latency_ms_bucket{{{WHAT}}}[5m])))"
        },
    ),
    graph(
        "Waiting for a replica, p95",
        "ms",
        "How long the router took to hand a request to a replica. Seconds: replicas are full or starting.",
        {
            BY: "histogram_quantile(0.95, sum by (application, deployment, le) "
            f"(rate(ray_serve_request_router_fulfillment_time_ms_bucket{{{WHAT}}}[5m])))"
        },
    ),
)
WAY_IN = (
    states(
        "Proxies",
        "One a node. HAProxy stands at the HTTP port where it runs; Serve watches it through these.",
        "max by (node_ip_address) (ray_serve_proxy_status)",
        "{{node_ip_address}}",
        PROXY_STATES,
    ),
    graph(
        "Requests at gateways",
        "reqps",
        "As Serve counts them, health checks too. Less than callers send: HAProxy answers for gateways that it cannot "
        "reach (503), which no gateway counts. HAProxy's own page is closed.",
        {"{{status_code}}": "sum by (status_code) (rate(ray_serve_num_http_requests_total[$__rate_interval]))"},
        stacked=True,
        width=12,
    ),
    graph(
        "HAProxy reloads, p95",
        "s",
        "From a change of the gateways to HAProxy knowing it, of all reloads so far.",
        {"all nodes": "histogram_quantile(0.95, sum by (le) (ray_serve_haproxy_update_latency_s_bucket))"},
    ),
    graph(
        "HAProxy reloads",
        "ops",
        "Steady without deployments: gateways come and go; see Replicas started on Overview.",
        {"all nodes": "sum(rate(ray_serve_haproxy_update_latency_s_count[5m]))"},
    ),
    graph(
        "Serve's controller",
        "s",
        "One round of its work. Above 10 s it reacts late to whatever happens.",
        {"a round": "max(ray_serve_controller_control_loop_duration_s)"},
        levels=(5, 10),
    ),
)
PROCESSES = (
    graph(
        "Processors",
        "percent",
        "By process; 100 is one core.",
        {"{{Component}}": f"sum by (Component) (ray_component_cpu_percentage{{{WHERE}}})"},
        stacked=True,
    ),
    graph(
        "Memory",
        "bytes",
        "Resident, by process; what several share is counted in each.",
        {"{{Component}}": f"sum by (Component) (ray_component_rss_bytes{{{WHERE}}})"},
        stacked=True,
    ),
    graph(
        "Open files",
        "none",
        "Growing for hours: connections or files leak.",
        {"{{Component}}": f"sum by (Component) (ray_component_num_fds{{{WHERE}}})"},
    ),
)
CLUSTER = Board(
    "cluster",
    "SegServe: cluster",
    "Nodes, replicas, autoscaling, the way in, and processes.",
    ("application", "node"),
    {"Nodes": NODES, "Replicas": REPLICAS, "The way in": WAY_IN, "Processes": PROCESSES},
)
