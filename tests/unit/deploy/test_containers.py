"""The image and the compose file: linted by their own tools, and the same facts as everywhere else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.docker.requirements import requirements
from tests.data import ROOT

TOOLS = Path(sys.executable).parent
PROFILES = [(), ("monitoring",), ("gpu",), ("gpu", "monitoring")]


def run(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([TOOLS / tool, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def compose(*profiles: str) -> dict[str, Any]:
    """The services as Compose itself understands them."""
    chosen = [part for each in profiles for part in ("--profile", each)]
    done = run("docker-compose", *chosen, "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["services"]
    return found


def test_hadolint_has_nothing_to_say() -> None:
    done = run("hadolint", "deploy/docker/Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_installs_what_the_project_names() -> None:
    assert "ray[serve]" in requirements(None)
    assert not any(each.startswith("torch") for each in requirements(None))
    assert "torch" in requirements("models")
    with pytest.raises(KeyError):
        requirements("modles")


@pytest.mark.parametrize("profiles", PROFILES, ids="+".join)
def test_compose_takes_every_profile(profiles: tuple[str, ...]) -> None:
    wanted = {"segserve", "valkey"}
    wanted |= {"prometheus", "grafana"} if "monitoring" in profiles else set()
    wanted |= {"segserve-gpu"} if "gpu" in profiles else set()
    assert compose(*profiles).keys() == wanted


def test_each_service_is_bounded_healthy_and_without_privileges() -> None:
    for name, service in compose("gpu", "monitoring").items():
        assert service["mem_limit"], name
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_nothing_is_published_but_the_gateway_and_grafana_on_loopback() -> None:
    published = {name: service["ports"] for name, service in compose("gpu", "monitoring").items() if "ports" in service}
    assert published.keys() == {"segserve", "segserve-gpu", "grafana"}
    assert {port["host_ip"] for ports in published.values() for port in ports} == {"127.0.0.1"}


def test_prometheus_finds_the_metrics_of_the_platform_that_it_shares_loopback_with() -> None:
    services = compose("monitoring")
    assert services["prometheus"]["network_mode"] == "service:segserve"
    (group,) = json.loads((ROOT / "deploy" / "docker" / "targets" / "ray.json").read_text(encoding="utf-8"))
    assert group["targets"] == [f"127.0.0.1:{services['segserve']['environment']['SEGSERVE_METRICS_PORT']}"]
    scrape = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"][0]
    assert group["labels"]["job"] == scrape["job_name"]
    assert "prometheus" in services["segserve"]["networks"]["front"]["aliases"], "Grafana asks there"
