"""`make soak` on the real platform for some seconds: users are answered, every process is looked at, a limit that
nothing keeps is broken."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.data import ROOT

JUDGED = ("wrong answers", "memory, MB a minute")
pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def test_a_limit_that_nothing_keeps_is_broken_and_told() -> None:
    words = [sys.executable, "-m", "load_tests.soak", "--minutes", "0.5", "--users", "3", "--growth", "-1000000"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    told = done.stdout.splitlines()
    verdicts = {name: line.split()[0] for line in told for name in JUDGED if name in line and " limit " in line}
    assert verdicts == dict(zip(JUDGED, ("kept", "BROKEN"), strict=True)), done.stdout
    assert any("ServeReplica:promptable:Decoder" in line for line in told), done.stdout
