"""Gateways as processes on one Valkey: a job outlives the gateway that took it in and the one that worked on it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
import redis

from deploy.valkey import EmbeddedValkey
from tests.bad_input import PNG
from tests.data import ROOT
from tests.integration.jobs.served import CALLS, DIES, HELD
from tests.integration.proxy.haproxy import proxy
from tests.integration.trivial.platform import eventually

pytestmark = pytest.mark.integration
JOBS = "/v1/jobs"
RAW = {"Content-Type": "image/png"}
LEASE_S = 1.5


@dataclass
class Gateways:
    """Gateways that share a store; `calls` has a line for each time that their service was asked."""

    environment: dict[str, str]
    calls: Path
    held: Path
    dies: Path
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    clients: ExitStack = field(default_factory=ExitStack)

    def start(self, **settings: str) -> tuple[subprocess.Popen[bytes], httpx.Client]:
        """One more, ready."""
        listener = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.jobs.served", str(listener.fileno())],
            cwd=ROOT,
            env={**os.environ, **self.environment, **settings},
            pass_fds=[listener.fileno()],
        )
        listener.close()
        self.running.append(process)
        client = self.clients.enter_context(httpx.Client(base_url=url, timeout=60))
        assert eventually(lambda: healthy(client), 60)
        return process, client

    def asked(self) -> list[str]:
        """Process ids of the gateways whose service was asked, in order."""
        return [line.split()[0] for line in self.calls.read_text(encoding="utf-8").splitlines()]


def healthy(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def gateways(folder: Path, url: str) -> Iterator[Gateways]:
    calls, held, dies = folder / "calls", folder / "held", folder / "dies"
    calls.touch()
    variables = {
        "SEGSERVE_REDIS_URL": url,
        "SEGSERVE_REDIS_TIMEOUT_S": "10",
        "SEGSERVE_JOB_LEASE_S": str(LEASE_S),
        CALLS: str(calls),
        HELD: str(held),
        DIES: str(dies),
    }
    found = Gateways(variables, calls, held, dies)
    try:
        yield found
    finally:
        found.clients.close()
        for process in found.running:
            process.kill()
            process.wait()


@pytest.fixture
def several(tmp_path: Path) -> Iterator[Gateways]:
    """No gateway yet, and an empty store."""
    with EmbeddedValkey(memory_bytes=64 * 2**20) as valkey, gateways(tmp_path, valkey.url) as found:
        yield found


def submitted(client: httpx.Client, **headers: str) -> str:
    """The path of a new job."""
    answer = client.post(JOBS, params={"task": "semantic"}, content=PNG, headers={**RAW, **headers})
    assert answer.status_code == 202, answer.text
    return str(answer.headers["location"])


def job(client: httpx.Client, path: str, **query: Any) -> dict[str, Any]:
    found: dict[str, Any] = client.get(path, params=query).json()
    return found


def test_a_gateway_killed_under_a_job_is_replaced_by_another(several: Gateways) -> None:
    several.held.touch()
    first, client = several.start()
    path = submitted(client, **{"X-Request-ID": "mine"})
    assert eventually(lambda: job(client, path)["state"] == "running")
    second, other = several.start()
    first.kill()
    first.wait()
    assert eventually(lambda: several.asked() == [str(first.pid), str(second.pid)], 30)
    several.held.unlink()
    assert job(other, path, wait=30)["state"] == "done"
    result = other.get(f"{path}/result")
    assert (result.status_code, result.json()["request_id"]) == (200, "mine")
    assert result.json()["segments"][0]["label"] == "bright"


def test_a_gateway_that_is_stopped_gives_its_job_back_at_once(several: Gateways) -> None:
    several.environment["SEGSERVE_JOB_LEASE_S"] = "300"
    several.held.touch()
    first, client = several.start()
    path = submitted(client)
    assert eventually(lambda: job(client, path)["state"] == "running")
    second, other = several.start()
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) is not None
    assert eventually(lambda: several.asked() == [str(first.pid), str(second.pid)], 30)
    several.held.unlink()
    assert job(other, path, wait=30)["state"] == "done"


def test_a_job_waits_while_there_is_no_gateway(several: Gateways) -> None:
    first, client = several.start(SEGSERVE_JOBS_AT_ONCE="0")
    paths = [submitted(client) for _ in range(3)]
    first.kill()
    first.wait()
    _, other = several.start()
    assert [job(other, path, wait=30)["state"] for path in paths] == ["done"] * 3
    assert len(several.asked()) == 3


def test_a_job_under_which_three_gateways_died_has_failed(several: Gateways) -> None:
    several.held.touch()
    _, keeper = several.start(SEGSERVE_JOBS_AT_ONCE="0")
    path = submitted(keeper)
    for tries in range(1, 4):
        process, _ = several.start()
        assert eventually(lambda tries=tries: len(several.asked()) == tries, 30)  # type: ignore[misc]
        process.kill()
        process.wait()
    several.start()
    told = job(keeper, path, wait=30)
    assert (told["state"], told["error"]["code"]) == ("failed", "job_lost")
    result = keeper.get(f"{path}/result")
    assert (result.status_code, result.json()["code"]) == (500, "job_lost")
    assert len(several.asked()) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="HAProxy exists for Linux only")
@pytest.mark.parametrize(
    ("path", "more"),
    [(f"{JOBS}?task=semantic", {}), ("/v1/semantic", {"Prefer": "respond-async"})],
    ids=["job", "task"],
)
def test_a_gateway_that_dies_when_it_has_made_a_job_leaves_one(
    several: Gateways, path: str, more: dict[str, str]
) -> None:
    started = [several.start(SEGSERVE_JOBS_AT_ONCE="0") for _ in range(2)]
    ports = [client.base_url.port or 0 for _, client in started]
    with TemporaryDirectory(prefix="sg-") as folder, proxy(Path(folder), ports, 30) as front, front.client() as caller:
        several.dies.touch()
        answer = caller.post(path, content=PNG, headers={**RAW, **more})
        assert [process.poll() for process, _ in started].count(None) == 1, "one is dead"
        assert answer.status_code == 202, answer.text
        assert [each["id"] for each in caller.get(JOBS).json()["jobs"]] == [answer.json()["id"]]
        other = caller.post(path, content=PNG, headers={**RAW, **more})
        assert len(caller.get(JOBS).json()["jobs"]) == 2, "the same picture, asked for anew"
        assert other.json()["id"] != answer.json()["id"]


@pytest.mark.parametrize("at", [2, 30, -20], ids=["length", "options", "image"])
def test_a_job_whose_request_was_damaged_in_the_store_has_failed_and_the_next_runs(several: Gateways, at: int) -> None:
    _, keeper = several.start(SEGSERVE_JOBS_AT_ONCE="0")
    damaged, whole = submitted(keeper), submitted(keeper)
    with redis.Redis.from_url(several.environment["SEGSERVE_REDIS_URL"]) as by_hand:
        (record,) = by_hand.keys(f"*{damaged.rpartition('/')[2]}")
        kept = by_hand.hget(record, "request")
        assert isinstance(kept, bytes)
        assert kept.endswith(PNG)
        request = bytearray(kept)
        request[at] ^= 1
        by_hand.hset(record, "request", bytes(request))
    several.start()
    told = job(keeper, damaged, wait=30)
    assert (told["state"], told["error"]["code"]) == ("failed", "job_damaged")
    assert job(keeper, whole, wait=30)["state"] == "done"
    assert len(several.asked()) == 1, "no model saw the damaged one"


def test_a_job_cancelled_through_one_gateway_ends_in_another(several: Gateways) -> None:
    several.held.touch()
    _, client = several.start()
    _, idle = several.start(SEGSERVE_JOBS_AT_ONCE="0")
    first, second = submitted(client), submitted(client)
    assert eventually(lambda: job(idle, first)["state"] == "running")
    assert job(idle, second)["state"] == "queued"
    assert idle.delete(first).json()["state"] == "cancelled"
    assert eventually(lambda: job(idle, second)["state"] == "running", 30), "the cancelled one is let go of"
    several.held.unlink()
    assert job(idle, second, wait=30)["state"] == "done"


def test_a_store_that_comes_again_has_lost_its_jobs_and_takes_new_ones(several: Gateways, tmp_path: Path) -> None:
    with EmbeddedValkey(memory_bytes=64 * 2**20) as valkey:
        several.environment["SEGSERVE_REDIS_URL"] = valkey.url
        _, client = several.start()
        path = submitted(client)
        assert job(client, path, wait=30)["state"] == "done"
        os.kill(valkey.pid, signal.SIGKILL)
        assert eventually(lambda: valkey.ended() is not None)
        refused = client.get(path)
        assert (refused.status_code, refused.json()["code"]) == (503, "job_store_unavailable")
        assert int(refused.headers["retry-after"]) > 0
        asked = client.post(JOBS, params={"task": "semantic"}, content=PNG, headers=RAW)
        assert (asked.status_code, asked.json()["code"]) == (503, "job_store_unavailable")
        assert client.post("/v1/semantic", content=PNG, headers=RAW).status_code == 200
        valkey.again()
        assert eventually(lambda: client.get(path).status_code == 404, 30)
        begun = time.monotonic()
        assert job(client, submitted(client), wait=30)["state"] == "done"
        assert time.monotonic() - begun < 20
