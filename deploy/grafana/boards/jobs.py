"""Jobs: how many wait and run, how long they wait, and what becomes of them."""

from __future__ import annotations

from deploy.grafana.board import Board
from deploy.grafana.panels import figure, graph

WAIT = "sum by (le) (rate(ray_segserve_job_wait_seconds_bucket[5m]))"


def became(state: str) -> str:
    """Jobs a second that came into this state."""
    return f'sum(rate(ray_segserve_jobs_total{{state="{state}"}}[5m]))'


NOW = (
    figure(
        "Waiting",
        "none",
        "Jobs of all gateways that nobody works on yet. Growing: more come than are done; raise "
        "`SEGSERVE_JOBS_AT_ONCE` or add gateways, where models have room.",
        "max(ray_segserve_jobs_waiting)",
        levels=(100, 500),
    ),
    figure(
        "Running",
        "none",
        "Jobs that gateways work on. 0 with jobs waiting: SegServeJobsStuck is near; are gateways up, is the store in "
        "reach?",
        "sum(ray_segserve_jobs_running)",
    ),
    figure("Submitted", "ops", "New jobs a second.", became("queued")),
    figure("Done", "ops", "Jobs a second that ended with an answer.", became("done")),
    figure(
        "Failed",
        "ops",
        "Jobs a second that ended with an error; Failures below says with which.",
        f"{became('failed')} or vector(0)",
        levels=(0.01, 0.1),
    ),
    figure(
        "Wait, p95",
        "s",
        "From a job's submission to its first try.",
        f"histogram_quantile(0.95, {WAIT})",
        levels=(60, 300),
    ),
)
COURSE = (
    graph(
        "Waiting and running",
        "none",
        "A saw-tooth is a nightly batch; a ramp is too little capacity.",
        {"waiting": "max(ray_segserve_jobs_waiting)", "running": "sum(ray_segserve_jobs_running)"},
    ),
    graph(
        "Into each state",
        "ops",
        "`queued` above `done` for long: the queue grows. `running` counts every try.",
        {"{{state}}": 'sum by (state) (rate(ray_segserve_jobs_total{task=~"$task"}[$__rate_interval]))'},
    ),
    graph(
        "Done by task",
        "ops",
        "What gateways get through.",
        {"{{task}}": 'sum by (task) (rate(ray_segserve_jobs_total{state="done"}[$__rate_interval]))'},
        stacked=True,
    ),
    graph(
        "Waits",
        "s",
        "Half and 95 % of the jobs wait for less before their first try.",
        {"p50": f"histogram_quantile(0.5, {WAIT})", "p95": f"histogram_quantile(0.95, {WAIT})"},
    ),
    graph(
        "Running by gateway",
        "none",
        "Each takes `SEGSERVE_JOBS_AT_ONCE` at a time.",
        {"{{replica}}": "sum by (replica) (ray_segserve_jobs_running)"},
        stacked=True,
    ),
    graph(
        "Store calls for jobs, p95",
        "s",
        "Jobs live in the store: a slow one slows them all.",
        {
            "{{operation}}": "histogram_quantile(0.95, sum by (operation, le) "
            '(rate(ray_segserve_store_call_seconds_bucket{operation=~"job_.*"}[$__rate_interval])))'
        },
    ),
)
TROUBLE = (
    graph(
        "Failures",
        "ops",
        "By the code of the error. `job_damaged`: altered in the store; find out who writes to it. `job_lost`: three "
        "gateways died under it; look at their memory. `deadline_exceeded`: longer than `SEGSERVE_JOB_TIMEOUT_S`.",
        {"{{task}} {{reason}}": "sum by (task, reason) (rate(ray_segserve_job_failures_total[$__rate_interval]))"},
        stacked=True,
    ),
    graph(
        "Takeovers",
        "ops",
        "Jobs begun again because the gateway that had them died. See Replicas started on Overview.",
        {"{{task}}": "sum by (task) (rate(ray_segserve_job_takeovers_total[$__rate_interval]))"},
        stacked=True,
    ),
    graph(
        "Refused",
        "reqps",
        "`too_many_requests`: the tenant has as many jobs or bytes as it may. `job_store_unavailable`: the store is "
        "full or away.",
        {"{{status}}": 'sum by (status) (segserve:requests:rate5m{route="/v1/jobs", status=~"4..|5.."})'},
        stacked=True,
    ),
)
JOBS = Board(
    "jobs",
    "SegServe: jobs",
    "How many jobs wait and run, how long they wait, and what becomes of them.",
    ("task",),
    {"Now": NOW, "Course": COURSE, "Trouble": TROUBLE},
)
