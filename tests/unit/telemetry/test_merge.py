"""Pages of several processes into one: sums, kept labels, a page that Prometheus reads."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared.telemetry.merge import merge, parse

NODE = """\
# HELP ray_segserve_requests_total Requests answered.
# TYPE ray_segserve_requests_total counter
ray_segserve_requests_total{{Component="core_worker",NodeAddress="{node}",SessionName="s",Version="2.60.0",\
WorkerId="1",application="gateway",deployment="Gateway",replica="a",route="/v1",status="200"}} {count}
ray_segserve_requests_total{{Component="core_worker",NodeAddress="{node}",SessionName="s",Version="2.60.0",\
WorkerId="2",application="gateway",deployment="Gateway",replica="b",route="/v1",status="200"}} 1.0
# HELP ray_segserve_batch_size Items in one forward pass.
# TYPE ray_segserve_batch_size histogram
ray_segserve_batch_size_bucket{{WorkerId="1",model="street",le="1.5"}} 2.0
ray_segserve_batch_size_bucket{{WorkerId="1",model="street",le="10.5"}} 5.0
ray_segserve_batch_size_bucket{{WorkerId="1",model="street",le="2.5"}} 4.0
ray_segserve_batch_size_bucket{{WorkerId="1",model="street",le="+Inf"}} 5.0
ray_segserve_batch_size_count{{WorkerId="1",model="street"}} 5.0
ray_segserve_batch_size_sum{{WorkerId="1",model="street"}} 14.0
# TYPE ray_segserve_store_breaker_open gauge
ray_segserve_store_breaker_open{{WorkerId="1",application="gateway"}} 1.0
ray_segserve_store_breaker_open{{WorkerId="2",application="gateway"}} 1.0
# TYPE ray_serve_deployment_status gauge
ray_serve_deployment_status{{WorkerId="3",application="street",deployment="Semantic"}} 6.0
# TYPE ray_serve_deployment_queued_queries gauge
ray_serve_deployment_queued_queries{{actor_id="x",application="street",deployment="Semantic",handle="h"}} 2.0
# TYPE ray_serve_num_http_requests_total counter
ray_serve_num_http_requests_total{{route="/metrics"}} 9.0
# TYPE ray_node_mem_used gauge
ray_node_mem_used{{ip="{node}"}} 1e9
"""


def samples(page: bytes) -> dict[str, float]:
    """`name{labels}` -> value of a page, which must parse and hold no series twice."""
    found = [
        (sample.name + str(dict(sorted(sample.labels.items()))), sample.value)
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_processes_and_nodes_add_up() -> None:
    merged = samples(merge([parse(NODE.format(node="10.0.0.1", count="3.0")), parse(NODE.format(node="n2", count=5))]))
    where = {"application": "gateway", "deployment": "Gateway", "route": "/v1", "status": "200"}
    assert merged[f"ray_segserve_requests_total{where}"] == 3 + 1 + 5 + 1
    assert merged["ray_segserve_batch_size_sum{'model': 'street'}"] == 28
    assert merged["ray_segserve_batch_size_bucket{'le': '2.5', 'model': 'street'}"] == 8
    assert merged["ray_serve_deployment_queued_queries{'application': 'street', 'deployment': 'Semantic'}"] == 4


def test_a_fact_stated_twice_is_no_sum() -> None:
    merged = samples(merge([parse(NODE.format(node="a", count=1))] * 2))
    assert merged["ray_serve_deployment_status{'application': 'street', 'deployment': 'Semantic'}"] == 6
    assert merged["ray_segserve_store_breaker_open{'application': 'gateway'}"] == 1, "1 or 0, in however many processes"


def test_what_reading_the_page_moves_and_what_is_not_ours_stays_out() -> None:
    page = merge([parse(NODE.format(node="a", count=1))]).decode()
    assert "http_requests" not in page
    assert "node_mem" not in page
    assert "WorkerId" not in page


def test_buckets_come_in_order_with_help_and_type() -> None:
    lines = merge([parse(NODE.format(node="a", count=1))]).decode().splitlines()
    begin = lines.index("# TYPE ray_segserve_batch_size histogram")
    assert lines[begin - 1] == "# HELP ray_segserve_batch_size Items in one forward pass."
    bounds = [line.split('le="')[1].split('"')[0] for line in lines if "_bucket" in line]
    assert bounds == ["1.5", "2.5", "10.5", "+Inf"]


def test_the_same_numbers_give_the_same_bytes_in_any_order() -> None:
    first, second = parse(NODE.format(node="a", count=1)), parse(NODE.format(node="b", count=7))
    assert merge([first, second]) == merge([second, first])


def test_a_merged_page_can_be_merged_again() -> None:
    once = merge([parse(NODE.format(node="a", count=1))])
    assert merge([parse(once.decode())]) == once


def test_nothing_gives_an_empty_page() -> None:
    assert merge([]) == merge([parse("")]) == b""


def test_a_page_that_is_no_page_is_refused() -> None:
    with pytest.raises(ValueError, match="could not convert"):
        parse('ray_segserve_requests_total{route="/"} many')
