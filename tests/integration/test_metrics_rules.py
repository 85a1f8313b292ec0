"""Recording rules and alerts: they parse, they fire for their causes, and they speak of metrics that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.telemetry.metrics import METRICS

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = sorted((FOLDER / "rules").glob("*.yml"))


def rules() -> list[dict[str, Any]]:
    """Every rule of every file."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="module")
def promtool() -> str:
    """The binary, or a skip that says what is missing."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool on the PATH (Debian: apt-get install prometheus)")
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "--syntax-only", "prometheus.yml"),
        ("check", "rules", *map(str, RULES)),
        ("test", "rules", "alerts_test.yml"),
    ],
    ids=lambda arguments: "-".join(arguments[:2]),
)
def test_promtool_agrees(promtool: str, arguments: tuple[str, ...]) -> None:
    done = subprocess.run([promtool, *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_in_a_rule_is_declared() -> None:
    exported = {metric.exported for metric in METRICS.values()}
    exported |= {f"{name}{part}" for name in exported for part in ("_bucket", "_count")}
    named = {name for rule in rules() for name in re.findall(r"\bray_segserve_\w+", rule["expr"])}
    assert named
    assert named <= exported


def test_every_recorded_series_in_a_rule_is_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    named = {name for rule in rules() for name in re.findall(r"\bsegserve:[\w:]+", rule["expr"])}
    assert named <= recorded


def test_every_alert_is_tested_and_says_what_to_do() -> None:
    tested = (FOLDER / "alerts_test.yml").read_text(encoding="utf-8")
    for alert in (rule for rule in rules() if "alert" in rule):
        assert re.search(rf"alertname: {alert['alert']}\n", tested), alert["alert"]
        assert alert["labels"]["severity"] in {"page", "ticket"}
        assert {"summary", "description"} <= alert["annotations"].keys()
