"""Who may ask, and how many at once: keys, tenants, permits."""

from __future__ import annotations

import asyncio
import hashlib

import httpx
import pytest

from services.gateway.limits import Permits
from shared.calls import DenseCall
from shared.errors import Overloaded, TooManyRequests
from shared.settings import Settings
from shared.store.keys import image_id
from tests.bad_input import IMAGES, PNG, SEMANTIC
from tests.unit.gateway.running import Running, running
from tests.unit.gateway.tiny import Brightness, info

TENANTS = {hashlib.sha256(key.encode()).hexdigest(): tenant for key, tenant in [("k1", "ada"), ("k2", "bo")]}
KEYS = Settings(api_keys=TENANTS)


async def ask(gateway: Running, header: str, path: str = SEMANTIC) -> httpx.Response:
    """A good request with one more header, `Name: value`."""
    name, _, value = header.partition(": ")
    headers = {b"Content-Type": b"image/png", name.encode(): value.encode()}
    return await gateway.client.post(path, content=PNG, headers=headers)


async def post(gateway: Running, key: str, path: str = SEMANTIC) -> httpx.Response:
    """A good request with an API key."""
    return await ask(gateway, f"X-API-Key: {key}", path)


@pytest.mark.parametrize(
    "sent", ["Authorization: Bearer k1", "authorization: bearer  k1", "X-API-Key: k1", "Authorization: Basic dTprMQ=="]
)
async def test_a_known_key_names_its_tenant(sent: str) -> None:
    async with running(settings=KEYS) as gateway:
        assert (await ask(gateway, sent)).status_code == 200
        assert gateway.dense.calls[0].caller.tenant == "ada"


@pytest.mark.parametrize(
    "sent",
    [
        "X: 1",
        "Authorization: Bearer k3",
        "Authorization: Basic k1",
        "Authorization: Basic dTprMw==",
        "Authorization: Basic dQ==",
        "X-API-Key: ",
        "X-API-Key: ä",
    ],
)
async def test_anything_else_is_refused(sent: str) -> None:
    async with running(settings=KEYS) as gateway:
        response = await ask(gateway, sent)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert not gateway.dense.calls


@pytest.mark.parametrize("header", ["Authorization: Bearer k3", "X-API-Key: k3"])
async def test_a_key_that_is_not_known_is_told_by_the_header_that_brought_it(header: str) -> None:
    async with running(settings=KEYS) as gateway:
        told = (await ask(gateway, header)).json()["details"][0]
        assert (told["field"], told["value"]) == (header.partition(":")[0], None)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/openapi.json"])
async def test_these_paths_ask_for_no_key(path: str) -> None:
    async with running(settings=KEYS) as gateway:
        assert (await gateway.client.get(path)).status_code == 200


@pytest.mark.parametrize("path", ["/metrics", "/v1/models", "/v1/labels", f"{IMAGES}/{image_id(PNG)}"])
async def test_these_do(path: str) -> None:
    async with running(settings=KEYS) as gateway:
        assert (await gateway.client.get(path)).status_code == 401


async def test_tenants_do_not_see_each_others_images() -> None:
    async with running(settings=KEYS) as gateway:
        await post(gateway, "k1", IMAGES)
        path = f"{IMAGES}/{image_id(PNG)}"
        assert (await gateway.client.get(path, headers={"X-API-Key": "k1"})).status_code == 200
        assert (await gateway.client.get(path, headers={"X-API-Key": "k2"})).status_code == 404
        assert (await gateway.client.delete(path, headers={"X-API-Key": "k2"})).status_code == 404


async def test_more_than_the_permits_are_refused_at_once_and_counted() -> None:
    go, busy = asyncio.Event(), asyncio.Event()

    async def wait(call: DenseCall) -> None:
        if len(dense.calls) == 3:
            busy.set()
        await go.wait()

    dense = Brightness(info("threshold", "semantic"), wait)
    settings = Settings(api_keys=TENANTS, max_concurrent_requests=3, max_concurrent_per_tenant=2)
    async with running(dense, settings=settings) as gateway:
        held = [asyncio.create_task(post(gateway, key)) for key in ("k1", "k1", "k2")]
        await busy.wait()
        mine, others = await post(gateway, "k1"), await post(gateway, "k2")
        assert (mine.status_code, mine.json()["code"], mine.headers["retry-after"]) == (429, "too_many_requests", "1")
        assert (others.status_code, others.json()["code"], others.headers["retry-after"]) == (503, "overloaded", "1")
        go.set()
        assert [response.status_code for response in await asyncio.gather(*held)] == [200] * 3
        assert (await post(gateway, "k1")).status_code == 200
        assert gateway.sink.total("segserve_rejections_total", reason="too_many_requests") == 1
        assert gateway.sink.total("segserve_rejections_total", reason="overloaded") == 1


def test_a_permit_is_given_back_whatever_happens() -> None:
    permits = Permits(total=2, per_tenant=1)
    with pytest.raises(ZeroDivisionError), permits.permit("a"):
        raise ZeroDivisionError
    with permits.permit("a"), permits.permit("b"):
        assert permits.taken == 2
        with pytest.raises(TooManyRequests), permits.permit("a"):
            pass
        with pytest.raises(Overloaded), permits.permit("c"):
            pass
    assert permits.taken == 0
