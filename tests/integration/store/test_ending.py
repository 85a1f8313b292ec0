"""A replica that ends as Serve ends it: what waits for the store is written, and its connections are given back."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import redis
from ray import serve
from ray.serve._private.common import DeploymentID
from ray.serve._private.config import DeploymentConfig
from ray.serve._private.replica import UserCallableWrapper

from services.gateway import deployment, fused
from services.gateway.deployment import GatewayReplica
from services.gateway.fused import FusedReplica
from services.gateway.inprocess import InProcessDirectory
from services.gateway.metrics_page import ClusterPage
from services.promptable.deployment import DecoderReplica
from shared.serving.whole import WholeModel
from shared.settings import Settings
from shared.store.opening import Stores, open_stores
from shared.telemetry.recording import RecordingSink
from tests.integration.store.test_embeddings_redis import HEX, KEY, make

pytestmark = pytest.mark.integration


class Decoder(DecoderReplica):
    """Has no model."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores


class Gateway(GatewayReplica):
    """Follows no applications."""

    def __init__(self, stores: Stores) -> None:
        self._settings, self._stores = Settings(), stores
        self._sink: Any = RecordingSink()
        self._directory: Any = InProcessDirectory([], [])


class Fused(FusedReplica):
    """Has no model."""

    def __init__(self, stores: Stores) -> None:
        self.settings, self._stores = Settings(), stores
        self.sink: Any = RecordingSink()
        nothing: Any = None
        self._model = WholeModel(nothing, {}, None)


async def started(replica: type, stores: Stores) -> UserCallableWrapper:
    """What Serve makes of it in a replica, in throughput mode: all in one event loop."""
    found = UserCallableWrapper(
        replica,
        (stores,),
        {},
        deployment_id=DeploymentID("ending", "tests"),
        run_sync_methods_in_threadpool=False,
        run_user_code_in_separate_thread=False,
        local_testing_mode=False,
        deployment_config=DeploymentConfig(),
        actor_id="",
    )
    await found.initialize_callable()
    return found


class Page(ClusterPage):
    """A page that shows whether it was closed."""

    def closed(self) -> bool:
        return self._client.is_closed


async def test_a_decoder_that_ends_writes_its_embeddings_first(stores: Stores, by_hand: redis.Redis) -> None:
    replica = await started(Decoder, stores)
    await stores.embeddings.get_or_compute("t", HEX, "f", make)
    assert not by_hand.exists(KEY)
    await replica.call_destructor()
    assert by_hand.hkeys(KEY) == [b"f"]


async def test_a_decoder_that_never_came_up_ends_too() -> None:
    replica = DecoderReplica.__new__(DecoderReplica)  # what Serve has in its hands when loading fails
    assert replica.__del__() is None


@pytest.mark.parametrize(("kind", "module"), [(Gateway, deployment), (Fused, fused)])
async def test_a_gateway_that_ends_writes_what_waits_and_closes_its_connections(
    kind: type, module: Any, settings: Settings, by_hand: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pages() -> list[str]:
        return []

    page, stores = Page(pages), open_stores(settings, RecordingSink())
    monkeypatch.setattr(module, "cluster_page", lambda: page)
    replica = await started(serve.ingress()(kind), stores)
    callable_: Any = replica.user_callable
    transport = httpx.ASGITransport(app=callable_.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        assert (await client.get("/metrics")).status_code == 200
    await stores.embeddings.get_or_compute("t", HEX, "f", make)
    assert not page.closed()
    await replica.call_destructor()
    assert page.closed()
    assert by_hand.hkeys(KEY) == [b"f"]
