"""`python -m load_tests.gpu` from end to end on a machine without a GPU: small networks on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data import ROOT

pytestmark = pytest.mark.integration


def test_the_bench_measures_a_network_alone_and_served(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "load_tests.gpu", "--quick", "--device", "cpu", "--precision", "f32", "--tiny"),
        *("--only", "sam2.1-hiera-small", "--max-batch", "2", "--callers", "2", "--replicas", "1"),
        *("--gateways", "1", "--clients", "2", "--out", str(tmp_path)),
    ]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # two would wait for each other where cores are busy
    done = subprocess.run(command, cwd=ROOT, env=one_thread, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    alone, (served,) = found["alone"]["sam2.1-hiera-small"], found["served"]["sam2.1-hiera-small"]
    assert set(alone["passes"]) == {"1", "2"}
    assert alone["agreement"]["f32"] == 100.0
    assert served["answers"] > 0
    assert not served["errors"]
    assert served["ratio"] == pytest.approx(served["per_second"] / alone["best"], abs=1e-3)
