"""HAProxy at the HTTP port of a running platform: what is open, what answers, and what is killed."""

from __future__ import annotations

import re
import stat
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.integration.trivial.listening import check_listeners, listeners
from tests.integration.trivial.platform import (
    PNG,
    Load,
    eventually,
    grey,
    port,
    replicas,
    settled,
    title,
    tree,
)
from tests.platform import Platform

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="HAProxy exists for Linux only"),
]


def proxies(platform: Platform) -> list[psutil.Process]:
    """The HAProxy that takes connections; one that was replaced may still have callers."""
    return [process for process in named(platform, "haproxy") if listening(process)]


def named(platform: Platform, wanted: str) -> list[psutil.Process]:
    """The platform's processes with this name or title, but for those that end while they are looked at."""
    found = []
    for process in tree(platform):
        with suppress(psutil.Error):
            if process.name() == wanted or re.match(rf"{wanted}\b", title(process)):
                found.append(process)
    return found


def listening(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and bool(listeners(process))
    except psutil.Error:
        return False


def statuses(process: psutil.Process, path: str) -> set[int]:
    """What a POST to each port of a process gets where HTTP is spoken at all."""
    found = set()
    for ip, number in listeners(process):
        if ip != "127.0.0.1":
            continue
        try:
            answer = httpx.post(f"http://127.0.0.1:{number}{path}", content=grey(200), headers=PNG, timeout=120)
        except httpx.RemoteProtocolError:
            continue  # gRPC
        found.add(answer.status_code)
        assert answer.status_code == 200 or answer.json()["code"] == "not_found"
    return found


def ask(platform: Platform) -> int:
    return httpx.post(platform.url + "/v1/semantic", content=grey(200), headers=PNG, timeout=120).status_code


def whole(platform: Platform) -> bool:
    """One HAProxy, one replica of each deployment, and an answer through all of them."""
    try:
        return len(proxies(platform)) == 1 and settled(platform, "serve.yaml") and ask(platform) == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def platform(trivial: Platform) -> Platform:
    """The platform after whatever an earlier test did to it has healed."""
    assert eventually(lambda: whole(trivial)), trivial.log.read_text()[-5000:]
    return trivial


def test_haproxy_listens_at_the_public_port_only_and_its_socket_is_its_owners(platform: Platform) -> None:
    (proxy,) = proxies(platform)
    assert set(listeners(proxy)) == {("127.0.0.1", port(platform))}
    folder = Path(proxy.cmdline()[proxy.cmdline().index("-f") + 1]).parent
    assert stat.S_IMODE((folder / "admin.sock").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    check_listeners(platform)


def test_only_the_gateways_own_port_answers(platform: Platform) -> None:
    (gateway,), (replica,) = replicas(platform, "gateway", "Gateway"), replicas(platform, "bright", "Semantic")
    assert statuses(gateway, "/v1/semantic") == {200}
    for path in ("/", "/segment", "/describe", "/__call__", "/v1/semantic", "/-/healthz", "/-/routes"):
        assert statuses(replica, path) == {404}
    assert ask(platform) == 200


@pytest.mark.parametrize("victim", ["haproxy", "ray::HAProxyManager"])
def test_a_killed_haproxy_comes_back_with_or_without_its_manager(platform: Platform, victim: str) -> None:
    (before,) = proxies(platform)
    killed = before if victim == before.name() else named(platform, victim)[0]
    killed.kill()
    assert eventually(lambda: {each.pid for each in proxies(platform)} not in (set(), {before.pid}))
    assert eventually(lambda: whole(platform))


def test_a_killed_gateway_costs_no_request(platform: Platform) -> None:
    (victim,) = replicas(platform, "gateway", "Gateway")

    def gateways() -> set[int]:
        return {process.pid for process in replicas(platform, "gateway", "Gateway")}

    with Load(platform) as load:
        assert load.goes_on()
        victim.kill()
        assert eventually(lambda: bool(gateways() - {victim.pid}))
        assert load.goes_on()
    assert load.failures() == {}
