"""Every expression parses, and speaks of series and labels that there are."""

from __future__ import annotations

import re

import promql_parser
import pytest
import yaml

from shared.telemetry.metrics import METRICS
from tests.unit.grafana.known import PROMETHEUS, known, rules
from tests.unit.grafana.queries import Query, asides, boards, filled, panels, produced, queries, used

ALL = [*queries(), *asides()]
NOT_SHOWN = {"segserve_metrics_endpoint_up"}
"""Only on the gateway's own page, which Prometheus does not read."""


def test_there_are_expressions() -> None:
    assert len(queries()) > 100


@pytest.mark.parametrize("query", ALL, ids=lambda query: query.where)
def test_an_expression_parses_and_its_series_have_these_labels(query: Query) -> None:
    promql_parser.parse(query.expression)
    for each in used(query.expression):
        assert each.metric in known(), each.metric
        assert each.labels <= known()[each.metric], each


def test_rules_speak_of_labels_that_there_are() -> None:
    for rule in rules():
        for each in used(rule["expr"]):
            assert each.labels <= known()[each.metric], (rule, each)


def test_legends_quote_labels_that_the_expression_gives() -> None:
    for name, board in boards().items():
        for panel in panels(board):
            for target in panel["targets"]:
                quoted = set(re.findall(r"{{(\w+)}}", target.get("legendFormat", "")))
                assert quoted <= produced(filled(target["expr"]), known()), (name, panel["title"])


def test_prometheus_keeps_every_series_that_is_asked_for() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    (keep,) = (each for each in config["scrape_configs"][0]["metric_relabel_configs"] if each["action"] == "keep")
    asked = {each.metric for query in ALL for each in used(query.expression)}
    scraped = {name for name in asked if not name.startswith("segserve:")} - {"up", "ALERTS"}
    assert [name for name in scraped if not re.fullmatch(keep["regex"], name)] == []


def test_every_metric_of_ours_is_shown() -> None:
    expressions = " ".join([*(query.expression for query in ALL), *(rule["expr"] for rule in rules())])
    named = set(re.findall(r"\bray_(segserve_\w+)", expressions))
    shown = {re.sub(r"_(bucket|count)$", "", name) for name in named}
    assert METRICS.keys() - shown == NOT_SHOWN


@pytest.mark.parametrize(
    ("expression", "labels"),
    [
        ("sum by (a, le) (rate(x[5m]))", {"a", "le"}),
        ("histogram_quantile(0.5, sum by (a, le) (x))", {"a"}),
        ("sum(x) / on () sum(x)", set()),
        ("x / on (a) sum by (a) (x)", {"a"}),
        ("x unless on (a) x offset 5m", {"a", "b", "le"}),
        ("2 * (x)", {"a", "b", "le"}),
    ],
)
def test_labels_are_followed_through_expressions(expression: str, labels: set[str]) -> None:
    assert produced(expression, {"x": frozenset({"a", "b", "le"})}) == labels


def test_labels_are_found_where_they_are_expected() -> None:
    found = {(each.metric, each.labels) for each in used('sum by (a) (rate(x{b="c"}[5m])) / on (a) y and on (d) z')}
    assert found == {("x", frozenset("ab")), ("y", frozenset("a")), ("z", frozenset("d"))}
