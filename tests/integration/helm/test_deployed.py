"""The chart's own Serve YAML on a real platform, asked as `helm test` asks it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from tests.data import ROOT
from tests.platform import running
from tests.unit.helm.rendering import manifests, serve_text

pytestmark = pytest.mark.integration


def test_the_default_values_serve_every_task(tmp_path: Path) -> None:
    config = yaml.safe_load(serve_text(manifests()))
    for application in config["applications"]:
        for deployment in application["deployments"]:
            deployment["ray_actor_options"]["num_cpus"] /= 4  # two workers' cores on one machine
    path = tmp_path / "serve.yaml"
    path.write_text(yaml.safe_dump(config))
    with running("--config", str(path)) as platform:
        assert httpx.get(platform.url + "/v1/models", timeout=60).status_code == 200
        done = smoke(platform.url)
        assert done.returncode == 0, done.stderr
        found = dict(line.split(": ") for line in done.stdout.splitlines())
        assert found.keys() == {"semantic", "instance", "panoptic", "promptable"}
        assert all(int(each.removesuffix(" found")) > 0 for each in found.values())


def test_the_smoke_test_says_who_does_not_answer() -> None:
    done = smoke("http://127.0.0.1:9", "--within", "1")
    assert done.returncode == 1
    assert "http://127.0.0.1:9 fails: http://127.0.0.1:9/readyz: no answer" in done.stderr


def smoke(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deploy.smoke", url, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
