"""The declarations are well formed, and every sink holds its callers to them."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared.protocols import Sink
from shared.serving.sink import RaySink
from shared.telemetry.metrics import BATCH_SIZES, METRICS, Metric, UndeclaredMetric, declared
from shared.telemetry.prometheus import PrometheusSink
from shared.telemetry.recording import RecordingSink

RESERVED = {"application", "deployment", "replica", "le", "quantile"}
"""Labels that Ray Serve and histograms add by themselves."""


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_a_declaration_follows_the_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"segserve_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not RESERVED & set(metric.labels)
    assert len(set(metric.labels)) == len(metric.labels)
    assert metric.help.endswith(".")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert all(bound > 0 for bound in metric.buckets)


def test_the_middles_of_batch_size_buckets_are_the_sizes() -> None:
    middles = [(low + high) / 2 for low, high in pairwise(BATCH_SIZES)]
    assert middles[:16] == list(range(1, 17))


SINKS = [RecordingSink, PrometheusSink, RaySink]


@pytest.mark.parametrize("sink", SINKS)
def test_a_sink_refuses_what_is_not_declared(sink: type[Sink]) -> None:
    one = sink()
    with pytest.raises(UndeclaredMetric, match="segserve_nothing_total is not declared"):
        one.count("segserve_nothing_total")
    with pytest.raises(UndeclaredMetric, match="declared as a histogram, not a counter"):
        one.count("segserve_batch_size", model="m", role="r")
    with pytest.raises(UndeclaredMetric, match="not a gauge"):
        one.gauge("segserve_batch_items_total", 1, model="m", role="r")
    with pytest.raises(UndeclaredMetric, match=r"takes the labels \('model', 'role'\), not \('model',\)"):
        one.observe("segserve_batch_size", 1, model="m")
    with pytest.raises(UndeclaredMetric, match="takes the labels"):
        one.observe("segserve_batch_size", 1, model="m", role="r", user="x")
    with pytest.raises(UndeclaredMetric, match="takes the labels"):
        one.observe("segserve_batch_size", 1, model="m", tenant="x")


def test_the_recording_sink_gives_back_what_it_was_told() -> None:
    sink = RecordingSink()
    sink.count("segserve_rejections_total", reason="tenant")
    sink.count("segserve_rejections_total", 2, reason="tenant")
    sink.count("segserve_rejections_total", 5, reason="server")
    assert sink.values("segserve_rejections_total", reason="tenant") == [1, 2]
    assert sink.total("segserve_rejections_total") == 8


def test_the_prometheus_page_shows_exported_names_and_exact_numbers() -> None:
    sink = PrometheusSink()
    for size in (1, 8, 8, 20):
        sink.observe("segserve_batch_size", size, model="street", role="semantic")
    sink.count("segserve_rejections_total", 3, reason="server")
    sink.gauge("segserve_in_flight_requests", 4)
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(sink.page().decode())
        for sample in family.samples
    }
    labels = (("model", "street"), ("role", "semantic"))
    assert samples["ray_segserve_batch_size_sum", labels] == 37
    assert samples["ray_segserve_batch_size_bucket", (("le", "8.5"), *labels)] == 3
    assert samples["ray_segserve_rejections_total", (("reason", "server"),)] == 3
    assert samples["ray_segserve_in_flight_requests", ()] == 4
    assert all(name.startswith("ray_segserve_") and not name.endswith("_created") for name, _ in samples)


def test_two_prometheus_sinks_are_two() -> None:
    first, second = PrometheusSink(), PrometheusSink()
    first.gauge("segserve_in_flight_requests", 7)
    assert b"ray_segserve_in_flight_requests 7.0" in first.page()
    assert b"ray_segserve_in_flight_requests 0.0" in second.page()
    assert second.page() == second.page()


def test_a_lookup_gives_the_declaration() -> None:
    metric = declared("segserve_stage_seconds", "histogram", {"task": "semantic", "stage": "decode"})
    assert metric is METRICS["segserve_stage_seconds"]
