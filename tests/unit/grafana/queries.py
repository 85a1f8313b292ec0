"""What the dashboards in the repository ask of Prometheus, read from the JSON that Grafana loads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import promql_parser

from tests.data import ROOT

FOLDER = ROOT / "deploy" / "grafana"
VALUES = {"$__rate_interval": "1m"}
"""Grafana's own variables as a test fills them in; a board's variables match everything."""


@dataclass(frozen=True, slots=True)
class Query:
    """One expression, its variables filled in, and where it stands: `board/panel`."""

    where: str
    expression: str


def boards() -> dict[str, dict[str, Any]]:
    """Every dashboard by the name of its file."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("dashboards/*.json")}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Its panels without the rows."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries() -> list[Query]:
    """What panels ask."""
    return [
        Query(f"{name}/{panel['title']}", filled(target["expr"]))
        for name, board in boards().items()
        for panel in panels(board)
        for target in panel["targets"]
    ]


def asides() -> list[Query]:
    """What annotations and variables ask."""
    found = list[Query]()
    for name, board in boards().items():
        marks = board["annotations"]["list"]
        found += [Query(f"{name}/{mark['name']}", filled(mark["expr"])) for mark in marks]
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                metric, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]).groups()  # type: ignore[union-attr]
                found.append(Query(f"{name}/${variable['name']}", f"count by ({label}) ({metric})"))
    return found


def filled(expression: str) -> str:
    """The expression with every variable's value."""
    for variable, value in VALUES.items():
        expression = expression.replace(variable, value)
    return re.sub(r"\$\w+", ".*", expression)


@dataclass(frozen=True, slots=True)
class Used:
    """A metric in an expression, and the labels that the expression expects it to have."""

    metric: str
    labels: frozenset[str]


def used(expression: str) -> list[Used]:
    """Every metric of an expression, with the labels of its matchers and of the `by` and `on` around it."""
    return list(_used(promql_parser.parse(expression), frozenset()))


def _used(node: Any, wanted: frozenset[str]) -> Iterator[Used]:
    if isinstance(node, promql_parser.VectorSelector):
        yield Used(str(node.name), wanted | {each.name for each in node.matchers.matchers})
    elif isinstance(node, promql_parser.AggregateExpr):
        yield from _used(node.expr, frozenset(node.modifier.labels if node.modifier else ()))
    elif isinstance(node, promql_parser.BinaryExpr):
        yield from _used(node.lhs, wanted | _on(node))
        yield from _used(node.rhs, _on(node))
    else:
        for child in _children(node):
            yield from _used(child, wanted)


def _on(node: Any) -> frozenset[str]:
    matching = node.modifier.matching if node.modifier else None
    return frozenset(matching.labels if matching else ())


def _children(node: Any) -> Sequence[Any]:
    if isinstance(node, promql_parser.Call):
        return list(node.args)
    if isinstance(node, promql_parser.MatrixSelector):
        return [node.vector_selector]
    return [node.expr] if hasattr(node, "expr") else []


def produced(node: Any, known: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Labels of what an expression gives, as text or parsed; `known`: those of each metric."""
    if isinstance(node, str):
        return produced(promql_parser.parse(node), known)
    if isinstance(node, promql_parser.VectorSelector):
        return known[str(node.name)]
    if isinstance(node, promql_parser.AggregateExpr):
        return frozenset(node.modifier.labels if node.modifier else ())
    if isinstance(node, promql_parser.BinaryExpr):
        sides = produced(node.lhs, known) or produced(node.rhs, known)
        return sides & _on(node) if _on(node) and str(node.op) not in ("and", "or", "unless") else sides
    found = frozenset[str]().union(*(produced(child, known) for child in _children(node)))
    is_quantile = isinstance(node, promql_parser.Call) and node.func.name == "histogram_quantile"
    return found - {"le"} if is_quantile else found
