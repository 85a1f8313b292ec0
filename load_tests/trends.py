"""What a soak saw in, verdicts out: nothing may grow and nobody may wait longer towards the end than at the beginning.

A slope is the median of the slopes between all pairs of samples (Theil-Sen): one outlier does not bend it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from load_tests.budgets import Budget


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the platform: seconds since the start, memory (PSS, bytes) by process, descriptors and threads."""

    at_s: float
    memory: Mapping[str, int]
    descriptors: int
    threads: int

    @property
    def megabytes(self) -> float:
        """Of all processes."""
        return sum(self.memory.values()) / 1e6


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of a user: when it was answered, its kind, how long it took, and what was wrong ("" for nothing)."""

    at_s: float
    kind: str
    ms: float
    wrong: str


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What may change in the long run; short runs are noisier."""

    megabytes_a_minute: float = 2.0
    descriptors_a_minute: float = 0.5
    threads_a_minute: float = 0.5
    p99: float = 1.5
    """p99 of the last third over that of the first, of each kind with enough requests."""
    wrong: int = 0


ENOUGH = 100
"""Requests of a kind in each third: of fewer, p99 is hardly more than the slowest."""
SLACK_MS = 20.0
"""A p99 may rise by so much whatever the ratio."""


def slope(at_s: Sequence[float], values: Sequence[float]) -> float:
    """Growth a minute; 0 of fewer than two samples."""
    if len(at_s) < 2:
        return 0.0
    first, second = np.triu_indices(len(at_s), 1)
    times, levels = np.asarray(at_s, float), np.asarray(values, float)
    return 60 * float(np.median((levels[second] - levels[first]) / (times[second] - times[first])))


def growth(samples: Sequence[Sample]) -> dict[str, float]:
    """MB a minute of each process that was there from the first sample to the last."""
    at_s = [each.at_s for each in samples]
    lasting = [name for name in samples[0].memory if all(name in each.memory for each in samples)]
    return {name: slope(at_s, [each.memory[name] / 1e6 for each in samples]) for name in lasting}


def thirds(requests: Sequence[Asked]) -> dict[str, tuple[list[float], list[float]]]:
    """Milliseconds of each kind's requests in the first third of the time and in the last."""
    found: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    begun, ended = (requests[0].at_s, requests[-1].at_s) if requests else (0.0, 0.0)
    for each in requests:
        part = (each.at_s - begun) / max(ended - begun, 1e-9)
        first, last = found[each.kind]
        if part <= 1 / 3:
            first.append(each.ms)
        elif part >= 2 / 3:
            last.append(each.ms)
    return found


def drift(requests: Sequence[Asked]) -> dict[str, tuple[float, float]]:
    """p99 in ms of each kind in the first third of the time and in the last; kinds with few requests are left out."""
    return {
        kind: (float(np.percentile(first, 99)), float(np.percentile(last, 99)))
        for kind, (first, last) in thirds(requests).items()
        if min(len(first), len(last)) >= ENOUGH
    }


def unjudged(requests: Sequence[Asked]) -> list[str]:
    """A line for each kind that `drift` leaves out: how many requests it had, and how many are needed."""
    return [
        f"p99 of {kind} is not judged: {len(first)} requests in the first third, {len(last)} in the last, "
        f"{ENOUGH} needed in each"
        for kind, (first, last) in sorted(thirds(requests).items())
        if min(len(first), len(last)) < ENOUGH
    ]


def judge(samples: Sequence[Sample], requests: Sequence[Asked], allowed: Tolerance) -> list[Budget]:
    """Every verdict; both sequences in the order of time and without the warm-up. Too little to judge keeps none."""
    if len(samples) < 3 or not requests:
        return [Budget("samples and requests", min(len(samples), len(requests)), 3, False)]
    wrong = sum(bool(each.wrong) for each in requests)
    found = [Budget("wrong answers", wrong, allowed.wrong, wrong <= allowed.wrong)]
    at_s = [each.at_s for each in samples]
    for name, values, limit in (
        ("memory, MB a minute", [each.megabytes for each in samples], allowed.megabytes_a_minute),
        ("descriptors a minute", [each.descriptors for each in samples], allowed.descriptors_a_minute),
        ("threads a minute", [each.threads for each in samples], allowed.threads_a_minute),
    ):
        steep = slope(at_s, values)
        found.append(Budget(name, steep, limit, steep <= limit))
    for kind, (first, last) in drift(requests).items():
        kept = last <= first * allowed.p99 + SLACK_MS
        found.append(Budget(f"p99 last over first third, {kind}", last / first, allowed.p99, kept))
    return found
