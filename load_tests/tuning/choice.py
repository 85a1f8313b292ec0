"""Measured points in, the best of them out: most throughput among those that keep the latency limit without errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.layouts import Serving

NEARLY = 0.02
"""Throughputs that differ by less are equal: then the lower latency wins, then fewer replicas."""


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
