"""Every series that the platform's Prometheus has, with its labels: declared here, recorded by a rule, or Ray's own."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from shared.telemetry.metrics import METRICS
from tests.data import ROOT
from tests.unit.grafana.queries import produced

PROMETHEUS = ROOT / "deploy" / "prometheus"
ADDED = frozenset({"application", "deployment", "replica", "job", "instance"})
"""Labels that Serve adds to our metrics, and Prometheus to all."""
TARGET = frozenset({"job", "instance"})


def rules() -> list[dict[str, Any]]:
    """Every rule of every file, in order."""
    files = sorted((PROMETHEUS / "rules").glob("*.yml"))
    groups = [group for path in files for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]
    return [rule for group in groups for rule in group["rules"]]


@cache
def known() -> dict[str, frozenset[str]]:
    """Labels by the name of the series."""
    rays = yaml.safe_load((Path(__file__).parent / "ray_metrics.yaml").read_text(encoding="utf-8"))
    found = {name: frozenset(labels) | TARGET for part in rays.values() for name, labels in part.items()}
    found |= dict(_ours())
    found |= {"up": TARGET, "ALERTS": TARGET | {"alertname", "alertstate", "severity"}}
    for rule in rules():
        if "record" in rule:
            found[rule["record"]] = produced(rule["expr"], found)
    return found


def _ours() -> Iterator[tuple[str, frozenset[str]]]:
    """Without a histogram's `_sum`, which is Ray's estimate."""
    for metric in METRICS.values():
        labels = frozenset(metric.labels) | ADDED
        if metric.kind == "histogram":
            yield f"{metric.exported}_bucket", labels | {"le"}
            yield f"{metric.exported}_count", labels
        else:
            yield metric.exported, labels
