"""Serve's own proxy at the HTTP port, for machines where HAProxy does not run: the same promises, from another door."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.integration.trivial.listening import check_listeners
from tests.integration.trivial.platform import HERE, PNG, Load, environment, eventually, grey, replicas, settled
from tests.platform import Platform, running

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def started() -> Iterator[Platform]:
    """One platform behind Serve's proxy."""
    with running("--config", str(HERE / "one.yaml"), **environment(), SEGSERVE_TRANSPORT="serve") as found:
        yield found


@pytest.fixture
def platform(started: Platform) -> Platform:
    """The platform after whatever an earlier test did to it has healed."""
    assert eventually(lambda: settled(started, "one.yaml")), started.log.read_text()[-5000:]
    return started


def test_only_what_is_documented_listens_beyond_loopback_and_only_for_the_token(platform: Platform) -> None:
    check_listeners(platform)
    assert httpx.get(platform.url + "/readyz", timeout=60).status_code == 200


def test_answers_carry_one_id_and_refusals_arrive_as_sent(platform: Platform) -> None:
    good = httpx.post(platform.url + "/v1/semantic", content=grey(200), headers=PNG, timeout=120)
    assert good.status_code == 200
    assert good.headers.get_list("x-request-id") == [good.json()["request_id"]]
    large = httpx.post(platform.url + "/v1/semantic", content=b"x" * 40 * 2**20, headers=PNG, timeout=120)
    assert (large.status_code, large.json()["code"]) == (413, "body_too_large")
    refused = httpx.post(platform.url + "/v1/semantic", content=grey(66), headers=PNG, timeout=120)
    assert (refused.status_code, refused.json()["code"]) == (503, "model_unavailable")
    assert int(refused.headers["retry-after"]) >= 1


def test_a_killed_gateway_costs_no_request(platform: Platform) -> None:
    (victim,) = replicas(platform, "gateway", "Gateway")

    def others() -> bool:
        return bool({process.pid for process in replicas(platform, "gateway", "Gateway")} - {victim.pid})

    with Load(platform) as load:
        assert load.goes_on()
        victim.kill()
        assert eventually(others)
        assert load.goes_on()
    assert load.failures() == {}
