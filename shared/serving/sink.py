"""Metrics into Ray's own, from inside a replica: the node's agent exports them as `ray_segserve_*`, labelled with
application, deployment and replica."""

from __future__ import annotations

import threading
import time
import weakref
from typing import Any

from ray.serve import metrics

from shared.telemetry.metrics import Metric, declared

REPEAT_S = 1.0
"""Ray forgets a gauge after two reporting intervals (1 s at the least) without a new value, so each is set again."""


class RaySink:
    """Counts through Ray Serve. Metrics are made at first use, in the process that uses them, so a pickled sink is
    an empty one. Values appear on the agent's page after Ray's reporting interval (10 s by default)."""

    def __init__(self) -> None:
        self._counters: dict[str, metrics.Counter] = {}
        self._histograms: dict[str, metrics.Histogram] = {}
        self._gauges: dict[str, metrics.Gauge] = {}
        self._levels: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._lock = threading.Lock()
        self._repeater: threading.Thread | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter; 0 is left out, since Ray takes only more."""
        metric = declared(name, "counter", labels)
        counter = self._counters.get(name)
        if counter is None:
            counter = self._counters[name] = metrics.Counter(_ray_name(metric), metric.help, _tags(metric))
        if amount:
            counter.inc(float(amount), labels)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Put a value into a histogram. Its buckets are exact, its sum is Ray's estimate (`metrics.BATCH_SIZES`)."""
        metric = declared(name, "histogram", labels)
        histogram = self._histograms.get(name)
        if histogram is None:
            histogram = metrics.Histogram(metric.name, metric.help, list(metric.buckets), _tags(metric))
            self._histograms[name] = histogram
        histogram.observe(float(value), labels)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge; it keeps its value until the process ends or sets another. Ray hears of a new one at once, of a
        change at the next repetition: twice a request is more often than anybody reads."""
        metric = declared(name, "gauge", labels)
        series = name, tuple(labels.items())
        with self._lock:
            known = series in self._levels
            self._levels[series] = float(value)
            if known:
                return
            if name not in self._gauges:
                self._gauges[name] = metrics.Gauge(metric.name, metric.help, _tags(metric))
            self._gauges[name].set(float(value), labels)
            if self._repeater is None:
                self._repeater = threading.Thread(target=_repeat, args=(weakref.ref(self),), daemon=True)
                self._repeater.start()

    def set_again(self) -> None:
        """Give Ray every gauge's last value once more."""
        with self._lock:
            for (name, labels), value in self._levels.items():
                self._gauges[name].set(value, dict(labels))


def _repeat(sink: weakref.ref[RaySink]) -> None:
    """In a thread, for as long as the sink lives."""
    while (alive := sink()) is not None:
        alive.set_again()
        del alive
        time.sleep(REPEAT_S)


def _ray_name(metric: Metric) -> str:
    """Ray adds `_total` to every counter by itself."""
    return metric.name.removesuffix("_total")


def _tags(metric: Metric) -> Any:
    """Ray annotates its `tag_keys` as a tuple of one; any number is meant."""
    return metric.labels
