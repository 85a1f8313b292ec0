"""What happens around every request: ids, metrics, callers who leave. Spoken to as an ASGI server speaks."""

from __future__ import annotations

import asyncio

import pytest

from services.gateway.middleware import LISTENS_AFTER_S
from shared.calls import DenseCall
from shared.settings import Settings
from tests.bad_input import PNG, SEMANTIC
from tests.unit.gateway.asgi import Server
from tests.unit.gateway.running import Running, running
from tests.unit.gateway.tiny import Brightness, info


async def ask(gateway: Running, path: str, **headers: str) -> tuple[int, str]:
    """Status and request id of a `GET`."""
    response = await gateway.client.get(path, headers={name.replace("_", "-"): text for name, text in headers.items()})
    return response.status_code, response.headers["x-request-id"]


@pytest.mark.parametrize("sent", ["a", "trace-1.2_3", "x" * 64])
async def test_a_well_formed_request_id_is_kept(sent: str, gateway: Running) -> None:
    assert await ask(gateway, "/healthz", x_request_id=sent) == (200, sent)


@pytest.mark.parametrize("sent", ["", "x" * 65, "a b", "a\tb", "ä"])
async def test_any_other_request_id_is_replaced(sent: str, gateway: Running) -> None:
    response = await gateway.client.get("/healthz", headers={b"x-request-id": sent.encode()})
    assert len(response.headers["x-request-id"]) == 32


async def test_the_service_is_given_the_request_id_and_the_deadline(gateway: Running) -> None:
    await gateway.client.post(SEMANTIC, content=PNG, headers={"Content-Type": "image/png", "X-Request-ID": "one"})
    caller = gateway.dense.calls[0].caller
    assert (caller.request_id, caller.tenant) == ("one", "public")
    assert caller.deadline > 1.7e9


async def test_requests_are_counted_by_route_method_and_status(gateway: Running) -> None:
    await gateway.client.get("/v1/models/no-such-model")
    await gateway.client.get("/no/such/path")
    await gateway.client.request("BREW", "/v1/models")
    count = gateway.sink.total
    assert count("segserve_requests_total", route="/v1/models/{name}", method="GET", status="404") == 1
    assert count("segserve_requests_total", route="unmatched", method="GET", status="404") == 1
    assert count("segserve_requests_total", method="OTHER", status="405") == 1
    assert len(gateway.sink.values("segserve_request_seconds")) == 3


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_probes_are_not_counted(path: str, gateway: Running) -> None:
    assert (await gateway.client.get(path)).status_code == 200
    assert gateway.sink.total("segserve_requests_total") == 0
    assert not gateway.sink.values("segserve_in_flight_requests")


async def test_a_caller_who_leaves_has_its_work_cancelled_and_is_counted() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(call: DenseCall) -> None:
        begun.set()
        try:
            await asyncio.sleep(1000)
        finally:
            cancelled.set()

    async with running(
        Brightness(info("threshold", "semantic"), hang), settings=Settings(max_concurrent_requests=1)
    ) as gateway:
        server = Server(PNG)
        request = asyncio.create_task(server.run(gateway.app))
        await begun.wait()
        server.leave()
        await asyncio.wait_for(request, 60)
        assert cancelled.is_set()
        assert gateway.sink.total("segserve_client_gone_total", route=SEMANTIC) == 1
        assert gateway.sink.total("segserve_requests_total", status="499") == 1
        assert gateway.app.state.gateway.permits.taken == 0


async def test_a_caller_who_leaves_while_sending_is_counted(gateway: Running) -> None:
    server = Server(PNG[:10], complete=False)
    server.leave()
    await server.run(gateway.app)
    assert gateway.sink.total("segserve_client_gone_total", route=SEMANTIC) == 1
    assert gateway.app.state.gateway.permits.taken == 0
    assert not gateway.dense.calls


@pytest.mark.parametrize(("complete", "status"), [(False, 408), (True, 504)])
async def test_a_body_that_stops_coming_is_told_from_work_that_takes_too_long(complete: bool, status: int) -> None:
    async def hang(call: DenseCall) -> None:
        await asyncio.sleep(1000)

    settings = Settings(request_timeout_s=0.2)
    async with running(Brightness(info("threshold", "semantic"), hang), settings=settings) as gateway:
        server = Server(PNG, complete=complete)
        await asyncio.wait_for(server.run(gateway.app), 60)
        assert server.sent[0]["status"] == status
        assert gateway.app.state.gateway.permits.taken == 0


async def test_a_server_that_cancels_the_request_is_heard() -> None:
    begun = asyncio.Event()

    async def hang(call: DenseCall) -> None:
        begun.set()
        await asyncio.sleep(1000)

    async with running(Brightness(info("threshold", "semantic"), hang)) as gateway:
        request = asyncio.create_task(Server(PNG).run(gateway.app))
        await begun.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert gateway.sink.total("segserve_client_gone_total", route=SEMANTIC) == 1
        assert gateway.app.state.gateway.permits.taken == 0
        assert gateway.sink.values("segserve_in_flight_requests") == [1, 0]


async def test_a_caller_who_leaves_after_the_answer_is_not_counted(gateway: Running) -> None:
    server = Server(PNG)
    await server.run(gateway.app)
    assert server.sent[0]["status"] == 200
    assert gateway.sink.total("segserve_client_gone_total") == 0


async def test_no_task_outlives_its_request(gateway: Running) -> None:
    before = asyncio.all_tasks()
    await Server(PNG).run(gateway.app)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_the_short_way_and_the_long_one_count_what_is_in_flight_together() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def hold(call: DenseCall) -> None:
        begun.set()
        await go_on.wait()

    async with running(Brightness(info("threshold", "semantic"), hold)) as gateway:
        request = asyncio.create_task(Server(PNG).run(gateway.app))
        await begun.wait()
        await gateway.client.get("/v1/models")
        go_on.set()
        await request
        assert gateway.sink.values("segserve_in_flight_requests") == [1, 2, 1, 0]


async def test_a_caller_who_leaves_is_noticed_only_by_work_that_takes_long_enough() -> None:
    """No task listens for callers whose answer is there at once."""
    tasks: list[int] = []

    async def look(call: DenseCall) -> None:
        tasks.append(len(asyncio.all_tasks()))
        await asyncio.sleep(2 * LISTENS_AFTER_S)
        tasks.append(len(asyncio.all_tasks()))

    async with running(Brightness(info("threshold", "semantic"), look)) as gateway:
        await Server(PNG).run(gateway.app)
    assert tasks[1] == tasks[0] + 1
