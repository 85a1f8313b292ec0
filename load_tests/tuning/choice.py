"""Measured points in, the best of them out: most throughput among those that keep the latency limit without errors."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deploy.layouts import Serving
from load_tests.client import Window

NEARLY = 0.02
"""Throughputs that differ by less are equal: then the lower latency wins, then fewer replicas."""

CLOSE = 0.15
"""Throughputs of one short window that differ by less may come in the other order the next time."""
FINALISTS = 3


@dataclass(frozen=True, slots=True)
class Point:
    """One candidate at so many callers."""

    serving: Serving
    callers: int
    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int

    def keeps(self, limit_ms: float) -> bool:
        """Whether p99 is within the limit and nothing failed."""
        return self.errors == 0 and not math.isnan(self.p99_ms) and self.p99_ms <= limit_ms


def joined(serving: Serving, windows: Sequence[Window]) -> Point:
    """What several windows of one candidate say together: the median of their rates, the percentiles of all answers."""
    latencies = [each for window in windows for each in window.latencies_ms]
    p50, p99 = np.percentile(latencies, [50, 99]) if latencies else (math.nan, math.nan)
    rate = statistics.median(window.per_second for window in windows)
    errors = sum(sum(window.errors.values()) for window in windows)
    return Point(serving, windows[0].callers, rate, float(p50), float(p99), errors)


def finalists(points: Sequence[Point], limit_ms: float) -> list[Point]:
    """The best point of each of the few candidates that may be the best: those close to the highest throughput."""
    winner = best(points, limit_ms)
    if winner is None:
        return []
    of_each = [best([point for point in points if point.serving == each], limit_ms) for each in _servings(points)]
    keeping = sorted(filter(None, of_each), key=lambda point: -point.per_second)
    others = [each for each in keeping if each.serving != winner.serving]
    close = [each for each in others if each.per_second >= winner.per_second * (1 - CLOSE)]
    return [winner, *close][:FINALISTS]


def _servings(points: Sequence[Point]) -> list[Serving]:
    return list(dict.fromkeys(point.serving for point in points))


def best(points: Sequence[Point], limit_ms: float) -> Point | None:
    """None when no point keeps the limit."""
    keeping = [point for point in points if point.keeps(limit_ms)]
    if not keeping:
        return None
    most = max(point.per_second for point in keeping)
    near = [point for point in keeping if point.per_second >= most * (1 - NEARLY)]
    return min(near, key=lambda point: (point.p99_ms, point.serving.layout.replicas))


def nearest(points: Sequence[Point]) -> Point | None:
    """The point of lowest p99, to say how far the limit is away."""
    right = [point for point in points if point.errors == 0 and not math.isnan(point.p99_ms)]
    return min(right, key=lambda point: point.p99_ms, default=None)


def worth_more_callers(points: Sequence[Point], limit_ms: float) -> bool:
    """Whether a candidate may gain by more callers: it keeps the limit, and the last step still gained something."""
    if not points or not points[-1].keeps(limit_ms):
        return not points
    return len(points) < 2 or points[-1].per_second > points[-2].per_second * (1 + NEARLY)
