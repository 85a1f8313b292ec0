"""Serve's details, read as `serve.status()` reads them."""

from __future__ import annotations

import pytest
from ray.serve._private.common import DeploymentStatus, DeploymentStatusTrigger, ReplicaState
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview, DeploymentStatusOverview

from shared.serving.statuses import read


def test_replicas_are_counted_by_state() -> None:
    deployment = {
        "status": "UPDATING",
        "status_trigger": "CONFIG_UPDATE_STARTED",
        "message": "one more",
        "replicas": [{"state": "RUNNING"}, {"state": "STARTING"}, {"state": "RUNNING"}],
    }
    said = {"status": "DEPLOYING", "message": "", "last_deployed_time_s": 7.5, "deployments": {"Semantic": deployment}}
    expected = DeploymentStatusOverview(
        DeploymentStatus.UPDATING,
        DeploymentStatusTrigger.CONFIG_UPDATE_STARTED,
        {ReplicaState.RUNNING: 2, ReplicaState.STARTING: 1},
        "one more",
    )
    assert read({"applications": {"street": said}}) == {
        "street": ApplicationStatusOverview(ApplicationStatus.DEPLOYING, "", 7.5, {"Semantic": expected})
    }


def test_a_state_that_is_not_known_is_an_error() -> None:
    said = {"status": "ASLEEP", "message": "", "last_deployed_time_s": 0.0, "deployments": {}}
    with pytest.raises(ValueError, match="ASLEEP"):
        read({"applications": {"street": said}})
