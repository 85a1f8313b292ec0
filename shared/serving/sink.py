"""Metrics into Ray's own, from inside a replica: the node's agent exports them as `ray_segserve_*`, labelled with
application, deployment and replica."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import defaultdict, deque
from collections.abc import Callable
from functools import partial
from typing import Any

from ray.serve import metrics

from shared.telemetry.metrics import Kind, Metric, declared

logger = logging.getLogger(__name__)

REPEAT_S = 1.0
"""Ray forgets a gauge after two reporting intervals (1 s at the least) without a new value, so each is set again."""
TOLD_EVERY_S = 0.5
"""How long counts and observations gather before Ray is told."""
AT_ONCE, PAUSE_S = 512, 0.0005
"""So many observations are told in a row; then whoever waits for the interpreter has it for so long."""


Series = Callable[[float], None]
"""Tells Ray a value of one metric with one set of labels."""
Key = tuple[object, ...]
"""Kind and name of a metric, then its labels and their values."""


class RaySink:
    """Counts through Ray Serve. Metrics are made at first use, in the process that uses them, so a pickled sink is
    an empty one. Values appear on the agent's page after Ray's reporting interval (10 s by default).

    A value is noted where it arises and told to Ray by a thread, many at a time: one told on its own costs a request
    ten times as much, with nothing of Ray's in the processor's caches.
    """

    def __init__(self) -> None:
        self._metrics: dict[str, Any] = {}
        self._series: dict[Key, Series] = {}
        self._counted: deque[tuple[Series, float]] = deque()
        self._observed: deque[tuple[Series, float]] = deque()
        self._levels: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._lock = threading.Lock()
        self._teller: threading.Thread | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter; 0 is left out, since Ray takes only more."""
        series = self._series.get(("counter", name, *labels.items())) or self._new("counter", name, labels)
        if amount:
            self._counted.append((series, float(amount)))

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Put a value into a histogram. Its buckets are exact, its sum is Ray's estimate (`metrics.BATCH_SIZES`)."""
        series = self._series.get(("histogram", name, *labels.items())) or self._new("histogram", name, labels)
        self._observed.append((series, float(value)))

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge; it keeps its value until the process ends or sets another. Ray hears of a new one at once, of a
        change at the next repetition: twice a request is more often than anybody reads."""
        series = name, tuple(labels.items())
        if series in self._levels:
            self._levels[series] = float(value)
            return
        metric = declared(name, "gauge", labels)
        with self._lock:
            self._levels[series] = float(value)
            if name not in self._metrics:
                self._metrics[name] = metrics.Gauge(metric.name, metric.help, _tags(metric))
            self._metrics[name].set(float(value), labels)
            self._start()

    def set_again(self) -> None:
        """Give Ray every gauge's last value once more."""
        with self._lock:
            for (name, labels), value in self._levels.items():
                self._metrics[name].set(value, dict(labels))

    def tell(self) -> None:
        """Give Ray what was counted and observed since the last time. Not from two threads at once."""
        sums: defaultdict[Series, float] = defaultdict(float)
        for _ in range(len(self._counted)):
            series, amount = self._counted.popleft()
            sums[series] += amount
        for series, amount in sums.items():
            series(amount)
        for number in range(len(self._observed)):
            series, value = self._observed.popleft()
            series(value)
            if number % AT_ONCE == AT_ONCE - 1:
                time.sleep(PAUSE_S)

    def _new(self, kind: Kind, name: str, labels: dict[str, str]) -> Series:
        """The series of a metric, made where it is new. Raises `UndeclaredMetric`."""
        metric = declared(name, kind, labels)
        with self._lock:
            made: Any = self._metrics.get(name)
            if made is None and kind == "counter":
                made = metrics.Counter(_ray_name(metric), metric.help, _tags(metric))
            elif made is None:
                made = metrics.Histogram(metric.name, metric.help, list(metric.buckets), _tags(metric))
            self._metrics[name] = made
            tell = made.inc if kind == "counter" else made.observe
            # The first of two threads that come with a new series decides which is summed up.
            series = self._series.setdefault((kind, name, *labels.items()), partial(tell, tags=labels))
            self._start()
        return series

    def _start(self) -> None:
        if self._teller is None:
            self._teller = threading.Thread(target=_keep_telling, args=(weakref.ref(self),), daemon=True)
            self._teller.start()


def _keep_telling(sink: weakref.ref[RaySink]) -> None:
    """In a thread, for as long as the sink lives."""
    again_at = 0.0
    while (alive := sink()) is not None:
        try:
            alive.tell()
            if time.monotonic() >= again_at:
                alive.set_again()
                again_at = time.monotonic() + REPEAT_S
        except Exception:
            logger.exception("could not tell Ray what was counted")
        del alive
        time.sleep(TOLD_EVERY_S)


def _ray_name(metric: Metric) -> str:
    """Ray adds `_total` to every counter by itself."""
    return metric.name.removesuffix("_total")


def _tags(metric: Metric) -> Any:
    """Ray annotates its `tag_keys` as a tuple of one; any number is meant."""
    return metric.labels
