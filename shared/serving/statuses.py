"""What Serve says of its applications, without `serve.status()`, which spends 20 ms of CPU on checking every option of
every deployment anew (Ray 2.60); gateways ask for as long as they live.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ray.serve._private.common import DeploymentStatus, DeploymentStatusTrigger, ReplicaState
from ray.serve.context import _get_global_client
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview, DeploymentStatusOverview


def statuses() -> dict[str, ApplicationStatusOverview]:
    """Every application's status by name, as `serve.status()` gives it; none while Serve does not run. Blocks."""
    client = _get_global_client(raise_if_no_controller_running=False)
    return {} if client is None else read(client.get_serve_details())


def read(details: Mapping[str, Any]) -> dict[str, ApplicationStatusOverview]:
    """The statuses in Serve's details, which are plain values."""
    return {name: _application(said) for name, said in details["applications"].items()}


def _application(said: Mapping[str, Any]) -> ApplicationStatusOverview:
    deployments = {name: _deployment(each) for name, each in said["deployments"].items()}
    return ApplicationStatusOverview(
        ApplicationStatus(said["status"]), said["message"], said["last_deployed_time_s"], deployments
    )


def _deployment(said: Mapping[str, Any]) -> DeploymentStatusOverview:
    states = Counter(ReplicaState(replica["state"]) for replica in said["replicas"])
    return DeploymentStatusOverview(
        DeploymentStatus(said["status"]), DeploymentStatusTrigger(said["status_trigger"]), dict(states), said["message"]
    )
