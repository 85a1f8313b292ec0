"""The Serve YAML that the chart renders: Ray and our own strict check take it, and it says what the values say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import DeploymentSchema, ServeDeploySchema

from deploy.applications import Prepared
from tests.data import ROOT
from tests.unit.helm.rendering import EXAMPLES, VALUES, manifests, ray_service, serve_text


def rendered(values: Path | None = None, *sets: str) -> dict[str, Any]:
    """The Serve YAML as data."""
    found: dict[str, Any] = yaml.safe_load(serve_text(manifests(values, *sets)))
    return found


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem if path else "default")
def test_ray_and_our_own_check_take_it(values: Path | None, tmp_path: Path) -> None:
    config = rendered(values)
    ServeDeploySchema.model_validate(config)
    for application in config["applications"]:
        for deployment in application["deployments"]:
            assert deployment.keys() <= DeploymentSchema.model_fields.keys(), (
                "Serve itself ignores what it does not know"
            )
            scaling = deployment.get("autoscaling_config", {})
            assert scaling.keys() <= AutoscalingConfig.model_fields.keys()
            assert scaling.get("min_replicas", 1) <= scaling.get("max_replicas", 1)
    path = tmp_path / "serve.yaml"
    path.write_text(serve_text(manifests(values)))
    built = Prepared.read(path).applications
    assert [each.name for each in built] == [each["name"] for each in config["applications"]]


def test_the_default_is_what_serve_yaml_serves() -> None:
    ours = {each["name"]: each for each in rendered()["applications"]}
    theirs = yaml.safe_load((ROOT / "deploy" / "serve.yaml").read_text(encoding="utf-8"))["applications"]
    assert list(ours) == [each["name"] for each in theirs]
    for each in theirs:
        here = ours[each["name"]]
        assert {key: here.get(key) for key in ("route_prefix", "import_path", "args")} == {
            key: each.get(key) for key in ("route_prefix", "import_path", "args")
        }
        assert [deployment.get("user_config") for deployment in here["deployments"]] == [
            deployment.get("user_config") for deployment in each["deployments"]
        ]


def test_an_entry_becomes_an_application_with_its_numbers() -> None:
    (values,) = (path for path in EXAMPLES if path.stem == "many-models")
    found = {each["name"]: each for each in rendered(values)["applications"]}
    assert list(found) == ["gateway", "street", "segformer", "maskrcnn", "sam"]
    (segformer,) = found["segformer"]["deployments"]
    assert segformer == {
        "name": "Semantic",
        "autoscaling_config": {
            "min_replicas": 0,
            "max_replicas": 4,
            "target_ongoing_requests": 4,
            "downscale_to_zero_delay_s": 3600,
        },
        "ray_actor_options": {"num_cpus": 4, "memory": 4294967296},
        "user_config": {"max_batch": 1, "max_queue": 64, "min_confidence": 0.1},
    }
    encoder, decoder = found["sam"]["deployments"]
    assert (encoder["name"], decoder["name"]) == ("Encoder", "Decoder")
    assert encoder["ray_actor_options"] == {"num_cpus": 4, "resources": {"large": 1}}
    assert decoder["num_replicas"] == 2


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem if path else "default")
def test_every_replica_finds_room_with_the_pods_to_begin_with(values: Path | None) -> None:
    """Else a first install waits for the autoscaler, or for ever."""
    groups = ray_service(manifests(values))["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    cpus = gpus = 0.0
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        cpus += group["replicas"] * float(container["resources"]["requests"]["cpu"])
        gpus += group["replicas"] * float(group["rayStartParams"].get("num-gpus", 0))
    for application in rendered(values)["applications"]:
        for deployment in application["deployments"]:
            scaling = deployment.get("autoscaling_config")
            first = scaling.get("initial_replicas", scaling["min_replicas"]) if scaling else deployment["num_replicas"]
            cpus -= first * deployment["ray_actor_options"]["num_cpus"]
            gpus -= first * deployment["ray_actor_options"].get("num_gpus", 0)
    assert cpus >= 0
    assert gpus >= -1e-9
