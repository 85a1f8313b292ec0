"""The directory over Serve, on the statuses that Serve gives: what appears, what stays, what goes, what is ready."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from ray import serve
from ray.serve._private.common import DeploymentStatus, DeploymentStatusTrigger, ReplicaState
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview, DeploymentStatusOverview

import services.gateway.handles as handles
from services.gateway.handles import ServeDirectory
from shared.calls import ModelInfo
from shared.errors import ModelNotFound, ModelUnavailable
from shared.types import Task


def info(name: str, task: Task = "semantic", version: str = "1") -> ModelInfo:
    return ModelInfo(name, version, (task,), "camvid", "0" * 64, "numpy", 1, "none", "", (task,))


def application(
    deployment: str = "Semantic", running: int = 1, status: ApplicationStatus = ApplicationStatus.RUNNING
) -> ApplicationStatusOverview:
    states = {ReplicaState.RUNNING: running} if running else {}
    healthy = DeploymentStatusOverview(
        DeploymentStatus.HEALTHY, DeploymentStatusTrigger.CONFIG_UPDATE_COMPLETED, states, ""
    )
    return ApplicationStatusOverview(status, "", 1.0, {deployment: healthy})


class Cluster:
    """Stands in for Serve: statuses by application, and what each says of itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.applications: dict[str, ApplicationStatusOverview] = {}
        self.says: dict[str, ModelInfo | Exception | asyncio.Event] = {}
        self.described: list[str] = []
        monkeypatch.setattr(handles, "statuses", lambda: dict(self.applications))
        monkeypatch.setattr(serve, "get_deployment_handle", lambda deployment, name: name)
        monkeypatch.setattr(handles, "call", self._call)

    async def _call(self, handle: Any, method: str, **_: float) -> ModelInfo:
        assert method == "describe"
        self.described.append(handle)
        said = self.says[handle]
        if isinstance(said, asyncio.Event):
            await said.wait()
            said = info(handle, version="late")
        if isinstance(said, Exception):
            raise said
        return said


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    found = Cluster(monkeypatch)
    found.applications = {"gateway": application("Gateway"), "a": application()}
    found.says = {"a": info("street")}
    return found


def names(directory: ServeDirectory) -> list[str]:
    return [f"{each.name}@{each.version}" for each in directory.models()]


async def states(directory: ServeDirectory) -> tuple[bool, Mapping[str, str]]:
    found = await directory.readiness()
    return found.ready, {name: state.status for name, state in found.applications.items()}


async def test_a_model_appears_once_it_says_what_it_is_and_is_not_asked_again(cluster: Cluster) -> None:
    directory = ServeDirectory()
    assert (await states(directory)) == (False, {})
    await directory.refresh()
    await directory.refresh()
    assert names(directory) == ["street@1"]
    assert directory.dense("semantic", "street").describe() == info("street")
    assert cluster.described == ["a"]
    assert await states(directory) == (True, {"a": "RUNNING"})


async def test_a_replaced_version_is_noticed(cluster: Cluster) -> None:
    directory = ServeDirectory()
    await directory.refresh()
    cluster.says["a"] = info("street", version="2")
    cluster.applications["a"] = dataclasses.replace(application(), last_deployed_time_s=2.0)
    await directory.refresh()
    assert names(directory) == ["street@2"]


async def test_an_application_that_now_serves_prompts_no_longer_serves_what_it_did(cluster: Cluster) -> None:
    directory = ServeDirectory()
    await directory.refresh()
    cluster.says["a"] = info("street", "promptable")
    cluster.applications["a"] = application("Decoder")
    await directory.refresh()
    assert directory.promptable(None).describe() == info("street", "promptable")
    with pytest.raises(ModelNotFound):
        directory.dense("semantic", None)


async def test_a_model_that_is_deleted_disappears_and_one_that_is_rebuilt_stays(cluster: Cluster) -> None:
    directory = ServeDirectory()
    await directory.refresh()
    cluster.applications["a"] = ApplicationStatusOverview(ApplicationStatus.DEPLOYING, "", 2.0, {})
    await directory.refresh()
    assert names(directory) == ["street@1"]
    assert (await states(directory))[0]
    cluster.applications["a"] = application(status=ApplicationStatus.DELETING)
    await directory.refresh()
    assert names(directory) == []
    with pytest.raises(ModelNotFound):
        directory.dense("semantic", "street")


async def test_ready_means_a_replica_of_each_or_zero_on_purpose(cluster: Cluster) -> None:
    directory = ServeDirectory()
    await directory.refresh()
    cluster.applications["a"] = application(running=0)
    await directory.refresh()
    assert (await states(directory))[0], "at zero and healthy is on purpose"
    unhealthy = application(running=0, status=ApplicationStatus.UNHEALTHY)
    dead = dataclasses.replace(unhealthy.deployments["Semantic"], status=DeploymentStatus.UNHEALTHY)
    cluster.applications["a"] = dataclasses.replace(unhealthy, deployments={"Semantic": dead})
    await directory.refresh()
    assert await states(directory) == (False, {"a": "UNHEALTHY"})


async def test_a_model_at_zero_is_asked_once_what_it_serves_and_then_left_asleep(cluster: Cluster) -> None:
    cluster.applications["a"] = application(running=0)
    directory = ServeDirectory()
    await directory.refresh()
    assert names(directory) == ["street@1"]
    assert (await states(directory))[0]
    cluster.applications["a"] = application()
    await directory.refresh()
    cluster.applications["a"] = application(running=0)
    await directory.refresh()
    assert cluster.described == ["a", "a"], "when it was at zero at first, and when it had woken"
    assert directory._settled()


async def test_a_model_that_does_not_say_what_it_is_keeps_the_gateway_from_ready(cluster: Cluster) -> None:
    cluster.applications["b"] = application("Panoptic")
    cluster.says["b"] = ModelUnavailable()
    directory = ServeDirectory()
    await directory.refresh()
    assert names(directory) == ["street@1"]
    assert not (await states(directory))[0]
    cluster.says["b"] = info("other", "panoptic")
    await directory.refresh()
    assert names(directory) == ["street@1", "other@1"]
    assert (await states(directory))[0]


async def test_one_that_hangs_keeps_no_other_from_being_known(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handles, "PATIENCE_S", 0.01)
    directory = ServeDirectory()
    await directory.refresh()
    cluster.applications |= {"hung": application("Panoptic"), "b": application("Instance")}
    cluster.says |= {"hung": (hung := asyncio.Event()), "b": info("other", "instance")}
    async with asyncio.timeout(30):
        await directory.refresh()
        assert names(directory) == ["street@1", "other@1"]
        assert not (await states(directory))[0]
        cluster.applications["c"], cluster.says["c"] = application("Decoder"), info("sam", "promptable")
        cluster.says["a"], cluster.applications["a"] = info("street", version="2"), application(running=2)
        await directory.refresh()
        assert names(directory) == ["street@2", "other@1", "sam@1"]
        assert cluster.described.count("hung") == 1, "it is still being asked"
        hung.set()
        await directory.refresh()
    assert names(directory) == ["street@2", "hung@late", "other@1", "sam@1"]
    assert (await states(directory))[0]


async def test_an_application_that_cannot_be_asked_is_asked_again(cluster: Cluster) -> None:
    cluster.says["a"] = RuntimeError("no handle")
    directory = ServeDirectory()
    await directory.refresh()
    assert names(directory) == []
    cluster.says["a"] = info("street")
    await directory.refresh()
    assert names(directory) == ["street@1"]


async def test_a_model_that_may_be_starting_is_not_ready_and_not_unknown(cluster: Cluster) -> None:
    unread = ApplicationStatusOverview(ApplicationStatus.DEPLOYING, "", 1.0, {})
    started = application("Decoder", running=0, status=ApplicationStatus.DEPLOYING)
    directory = ServeDirectory()
    for cluster.applications["p"] in (unread, started):
        await directory.refresh()
        assert directory.dense("semantic", None).describe() == info("street")
        for model in (None, "sam"):
            with pytest.raises(ModelUnavailable) as refused:
                directory.promptable(model)
            assert refused.value.retry_after_s
    cluster.applications["p"] = application("Decoder", running=0, status=ApplicationStatus.DEPLOY_FAILED)
    await directory.refresh()
    with pytest.raises(ModelNotFound):
        directory.promptable(None)
    cluster.applications["p"] = application("Decoder")
    cluster.says["p"] = info("sam", "promptable")
    await directory.refresh()
    assert directory.promptable(None).describe().name == "sam"
    with pytest.raises(ModelNotFound):
        directory.promptable("sam2")


async def test_a_gateway_that_knows_no_model_yet_is_not_ready(cluster: Cluster) -> None:
    unread = ApplicationStatusOverview(ApplicationStatus.DEPLOYING, "", 1.0, {})
    known = cluster.applications.pop("a")
    cluster.applications |= {"gateway": application("Gateway"), "b": unread}
    directory = ServeDirectory()
    await directory.refresh()
    assert not (await states(directory))[0], "Serve still reads the only model's application"
    cluster.applications["a"] = known
    await directory.refresh()
    assert (await states(directory))[0]


TRACE = 'Traceback (most recent call last):\n  File "/home/me/weights.py", line 3, in load\nOSError: /home/me/w.bin'


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Failed to update the deployments ['Semantic'].", "Failed to update the deployments ['Semantic']."),
        (f"Deploying app 'a' failed with exception:\n{TRACE}", "Deploying app 'a' failed with exception"),
        (TRACE, "Serve's log says why"),
        ("", ""),
    ],
)
async def test_whoever_asks_for_readiness_sees_no_traceback(cluster: Cluster, message: str, shown: str) -> None:
    cluster.applications["a"] = dataclasses.replace(application(), message=message)
    directory = ServeDirectory()
    await directory.refresh()
    assert (await directory.readiness()).applications["a"].message == shown


async def test_only_required_models_decide_and_a_missing_one_is_named(cluster: Cluster) -> None:
    cluster.applications["b"] = application(running=0, status=ApplicationStatus.DEPLOYING)
    directory = ServeDirectory(required=("street",))
    await directory.refresh()
    assert (await states(directory))[0]
    directory = ServeDirectory(required=("street", "sam"))
    await directory.refresh()
    ready, found = await states(directory)
    assert not ready
    assert found["sam"] == "MISSING"


async def test_promptable_is_reached_at_the_decoder(cluster: Cluster) -> None:
    starting = dataclasses.replace(application("Encoder", 0).deployments["Encoder"], status=DeploymentStatus.UPDATING)
    both = application("Decoder").deployments | {"Encoder": starting}
    cluster.applications["p"] = dataclasses.replace(application(), deployments=both)
    cluster.says["p"] = info("sam", "promptable")
    directory = ServeDirectory()
    await directory.refresh()
    with pytest.raises(ModelUnavailable):
        directory.promptable(None)
    both["Encoder"] = application("Encoder").deployments["Encoder"]
    await directory.refresh()
    assert directory.promptable(None).describe().name == "sam"
