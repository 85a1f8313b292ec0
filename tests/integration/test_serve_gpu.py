"""`deploy/serve.gpu.yaml` as it is, on a machine with a GPU: it starts, and every task answers."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import torch

from shared.imaging.compose import encode_picture
from shared.imaging.sample import street_scene
from tests.data import ROOT
from tests.platform import running

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here"),
]
CONFIG: Path = ROOT / "deploy" / "serve.gpu.yaml"


def test_the_gpu_configuration_serves_every_task() -> None:
    image = encode_picture(street_scene()[0])
    with running("--config", str(CONFIG)) as platform, httpx.Client(base_url=platform.url, timeout=60) as client:
        for task in ("semantic", "instance", "panoptic"):
            answer = client.post(f"/v1/{task}", content=image, headers={"Content-Type": "image/png"})
            assert answer.status_code == 200, answer.text[:500]
            assert answer.json()["segments" if task != "instance" else "instances"]
        click = {"prompts": '[{"points": [[240, 250]], "labels": [1]}]'}
        found = client.post("/v1/promptable", files={"image": image}, data=click)
        assert found.status_code == 200, found.text[:500]
        (model,) = client.get("/v1/models").json()["models"]
        assert model["engine"] == "torch"
