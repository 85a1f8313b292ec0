"""Every call of a sink in the code, read from the source: is the metric declared, of that kind, with those labels?"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from shared.telemetry.metrics import METRICS, Kind, UndeclaredMetric, declared

ROOT = Path(__file__).parents[3]
KINDS: dict[str, Kind] = {"count": "counter", "observe": "histogram", "gauge": "gauge"}


def _trees() -> Iterator[tuple[Path, ast.Module]]:
    for folder in ("services", "shared", "deploy"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def _constants() -> dict[str, str]:
    """Names that hold a metric's name: `LOOKUPS = "segserve_..."`."""
    return {
        node.targets[0].id: str(node.value.value)
        for _, tree in _trees()
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and str(node.value.value).startswith("segserve_")
    }


def _calls() -> Iterator[tuple[str, str, Kind, set[str | None]]]:
    """(where, name, kind, labels; None among them for `**labels`) of each call of a sink whose metric can be told."""
    constants = _constants()
    for path, tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in KINDS:
                name = _metric_name(node.args[0], constants) if node.args else ""
                if name.startswith("segserve_"):
                    labels = {keyword.arg for keyword in node.keywords}
                    where = f"{path.relative_to(ROOT)}:{node.lineno}"
                    yield where, name, KINDS[node.func.attr], labels - {"amount", "value"}


def _metric_name(node: ast.expr, constants: dict[str, str]) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    return constants.get(node.id, "") if isinstance(node, ast.Name) else ""


def test_every_use_is_as_declared() -> None:
    wrong = []
    for where, name, kind, labels in _calls():
        known = METRICS[name].labels if None in labels and name in METRICS else ()
        try:
            declared(name, kind, dict.fromkeys({*known, *(label for label in labels if label)}, ""))
        except UndeclaredMetric as error:
            wrong.append(f"{where}: {error}")
    assert not wrong


def test_every_declared_metric_is_told() -> None:
    """One that nobody tells is a graph without a line and an alert that never fires."""
    of_the_page = {"segserve_metrics_endpoint_up"}
    assert METRICS.keys() - {name for _, name, _, _ in _calls()} == of_the_page


def test_there_are_uses_to_look_at() -> None:
    assert {name for _, name, _, _ in _calls()} >= {
        "segserve_batch_size",
        "segserve_stage_seconds",
        "segserve_store_lookups_total",
    }
