"""A real Prometheus server over pages of metrics, with the project's own configuration and rules."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from deploy.cluster import free_port
from tests.data import ROOT


@contextmanager
def prometheus(endpoints: Sequence[str], folder: Path) -> Iterator[str]:
    """A server that scrapes these pages every two seconds; its URL. Skips where there is no such binary."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("no prometheus binary on the PATH (Debian: apt-get install prometheus)")
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "2s", "evaluation_interval": "2s"}
    config["rule_files"] = [str(ROOT / "deploy/prometheus/rules/*.yml")]
    targets = [endpoint.removeprefix("http://").removesuffix("/metrics") for endpoint in endpoints]
    (folder / "targets.json").write_text(json.dumps([{"labels": {"job": "ray"}, "targets": targets}]))
    config["scrape_configs"][0]["file_sd_configs"][0]["files"] = [str(folder / "targets.json")]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    arguments = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "data",
        "web.listen-address": address,
    }
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([binary, *(f"--{key}={value}" for key, value in arguments.items())], stderr=log)
        try:
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait(60)
