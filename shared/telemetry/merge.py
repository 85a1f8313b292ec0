"""Metrics pages of several processes and nodes in, one page with the sums out, in Prometheus's text format.

Only families worth reading on a laptop are kept, and only labels that say what was measured: which process, replica or
node it was is summed away. Prometheus in production scrapes the nodes themselves and keeps those labels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from shared.telemetry.metrics import EXPORT_PREFIX

OURS = f"{EXPORT_PREFIX}segserve_"

SERVE_FAMILIES = frozenset(
    {
        "ray_serve_autoscaling_target_replicas",
        "ray_serve_deployment_error_counter_total",
        "ray_serve_deployment_queued_queries",
        "ray_serve_deployment_replica_starts_total",
        "ray_serve_deployment_status",
    }
)
"""Ray Serve's own families on the page: none that reading the page would move, none that comes and goes (Serve sets
`replica_healthy` only at health checks, and Ray forgets a gauge that is not set)."""

_LARGEST = frozenset(
    {
        f"{OURS}batch_limit",
        f"{OURS}build_info",
        f"{OURS}jobs_waiting",
        f"{OURS}model_info",
        f"{OURS}store_breaker_open",
        "ray_serve_autoscaling_target_replicas",
        "ray_serve_deployment_status",
    }
)
"""Facts that several processes state about one thing, and what is 1 or 0: the largest counts, not the sum."""

_KEPT_SERVE_LABELS = frozenset({"application", "deployment"})
_PROCESS_LABELS = frozenset({
    "Component", "JobId", "NodeAddress", "SessionName", "Version", "WorkerId", "pid", "replica",
    "otel_scope_name", "otel_scope_schema_url", "otel_scope_version",
})  # fmt: skip

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Family:
    """One metric: help, type, and a value for each sample's name and labels."""

    name: str
    help: str
    type: str
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def add(self, name: str, labels: Labels, value: float) -> None:
        """Put a value in, onto the one that is there."""
        before = self.samples.get((name, labels))
        if before is not None:
            value = max(before, value) if self.name in _LARGEST else before + value
        self.samples[name, labels] = value


Families = Mapping[str, Family]


def parse(page: str) -> Families:
    """The kept families of one page, by name, its processes added up. Raises `ValueError` where it is malformed."""
    families: dict[str, Family] = {}
    for read in text_string_to_metric_families("\n".join(_kept_lines(page))):
        family = families.setdefault(read.name, Family(read.name, read.documentation, read.type))
        for sample in read.samples:
            family.add(sample.name, _kept_labels(read.name, sample.labels), sample.value)
    return families


def merge(pages: Iterable[Families]) -> bytes:
    """One page of them all, families and samples in a fixed order."""
    merged: dict[str, Family] = {}
    for families in pages:
        for family in families.values():
            into = merged.setdefault(family.name, Family(family.name, family.help, family.type))
            if into.type == family.type:
                for (name, labels), value in family.samples.items():
                    into.add(name, labels, value)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(merged.values()))
    return generate_latest(registry)


class _Collected:
    """Families as `prometheus_client` wants to collect them."""

    def __init__(self, families: Collection[Family]):
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Each family, by name."""
        for family in sorted(self._families, key=lambda each: each.name):
            metric = Metric(family.name, family.help, family.type)
            for name, labels in sorted(family.samples, key=_sample_order):
                metric.add_sample(name, dict(labels), family.samples[name, labels])
            yield metric


def _kept_lines(page: str) -> Iterator[str]:
    """Lines of kept families: a node's page is ten times as long, and parsing is the dear part."""
    for line in page.splitlines():
        name = line[len("# HELP ") :] if line.startswith(("# HELP ", "# TYPE ")) else line
        if name.startswith(OURS) or name.partition("{")[0].partition(" ")[0] in SERVE_FAMILIES:
            yield line


def _kept_labels(family: str, labels: Mapping[str, str]) -> Labels:
    if family.startswith(OURS):
        return tuple(sorted(item for item in labels.items() if item[0] not in _PROCESS_LABELS))
    return tuple(sorted(item for item in labels.items() if item[0] in _KEPT_SERVE_LABELS))


def _sample_order(sample: tuple[str, Labels]) -> tuple[Labels, str, float]:
    """Buckets of one histogram together, by their bounds."""
    name, labels = sample
    bounds = [float(value) for label, value in labels if label == "le"]
    others = tuple(item for item in labels if item[0] != "le")
    return others, name, bounds[0] if bounds else 0.0
