"""Metrics into prometheus_client, in a registry of their own: where no Ray is, and its page."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from shared.telemetry.metrics import METRICS, Metric, declared

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus's text format, which `PrometheusSink.page` gives."""


class PrometheusSink:
    """Counts in this process. Every declared metric is on the page from the start, the unlabelled ones at 0."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the package leaves it untyped
        self._registry = CollectorRegistry()
        self._counters = {m.name: Counter(*_described(m), registry=self._registry) for m in _of_kind("counter")}
        self._gauges = {m.name: Gauge(*_described(m), registry=self._registry) for m in _of_kind("gauge")}
        self._histograms = {
            m.name: Histogram(*_described(m), registry=self._registry, buckets=m.buckets) for m in _of_kind("histogram")
        }

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        declared(name, "counter", labels)
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc(amount)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Put a value into a histogram."""
        declared(name, "histogram", labels)
        histogram = self._histograms[name]
        (histogram.labels(**labels) if labels else histogram).observe(value)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        declared(name, "gauge", labels)
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)

    def page(self) -> bytes:
        """Everything so far, in Prometheus's text format."""
        return generate_latest(self._registry)


def _of_kind(kind: str) -> list[Metric]:
    return [metric for metric in METRICS.values() if metric.kind == kind]


def _described(metric: Metric) -> tuple[str, str, tuple[str, ...]]:
    return metric.exported, metric.help, metric.labels
