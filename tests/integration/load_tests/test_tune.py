"""`segserve tune` on a real platform with a trivial model: two candidates, the right one chosen, nothing left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from deploy.applications import Prepared
from load_tests.pictures import drawn
from tests.data import ROOT
from tests.integration.trivial.platform import PNG, ended, environment, eventually
from tests.platform import running

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


def command(out: Path, *more: str) -> list[str]:
    """`segserve tune` of the trivial model that takes .1 s for a pass, whatever the size of its batch."""
    options = ["--batches", "1", "8", "--cores", "1", "--callers", "1", "8", "--seconds", "2", "--layouts", "gateway"]
    return [sys.executable, "-m", "services.cli", "tune", "bright", *options, "--out", str(out), *more]


@pytest.fixture
def scratch() -> Iterator[Path]:
    """The temporary folder of the command alone; its path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="sg-", ignore_cleanup_errors=True) as found:
        yield Path(found)


def variables(scratch: Path) -> dict[str, str]:
    return {**os.environ, **environment(), "TMPDIR": str(scratch)}


def test_the_larger_batch_wins_where_a_pass_costs_the_same_and_its_yaml_is_served(
    tmp_path: Path, scratch: Path
) -> None:
    done = subprocess.run(
        command(tmp_path, "--p99", "20000"),
        cwd=ROOT,
        env=variables(scratch),
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    path = tmp_path / "bright.yaml"
    config = yaml.safe_load(path.read_text())
    assert config["applications"][1]["deployments"][0]["user_config"]["max_batch"] == 8
    assert [each.name for each in Prepared.read(path).applications] == ["gateway", "bright"]
    assert "best" in done.stdout
    with running("--config", str(path), **environment()) as platform:
        answer = httpx.post(f"{platform.url}/v1/semantic", content=drawn(1), headers=PNG, timeout=60)
        assert answer.status_code == 200
        assert answer.json()["model"].partition("@")[0] == "bright"
    assert (tmp_path / "bright.png").stat().st_size > 1000
    assert not list(scratch.glob("sgt-*"))


def test_interrupted_it_leaves_nothing(tmp_path: Path, scratch: Path) -> None:
    process = subprocess.Popen(
        command(tmp_path, "--p99", "2000"), cwd=ROOT, env=variables(scratch), stdout=subprocess.PIPE
    )
    try:
        root = psutil.Process(process.pid)
        assert eventually(lambda: len(root.children(recursive=True)) > 6)
        time.sleep(1)
        started = root.children(recursive=True)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=300)
    assert eventually(lambda: all(map(ended, started)))
    assert not (tmp_path / "bright.yaml").exists()
    assert not list(scratch.glob("sgt-*"))


def test_a_limit_that_nothing_keeps_and_a_model_that_is_not_there_are_told(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "services.cli", "tune", "nothing", "--p99", "100", "--out", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert "no card named nothing" in done.stdout
    assert list(tmp_path.iterdir()) == []
