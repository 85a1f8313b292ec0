"""`make soak` on the real platform for some seconds: users are answered, every process is looked at, a limit that
nothing keeps is broken."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.data import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def test_a_limit_that_nothing_keeps_is_broken_and_told() -> None:
    words = [sys.executable, "-m", "load_tests.soak", "--minutes", "0.5", "--users", "3", "--growth", "-1000000"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    verdicts = {line[8:34].strip(): line.split()[0] for line in done.stdout.splitlines() if " limit " in line}
    assert verdicts["wrong answers"] == "kept", done.stdout
    assert verdicts["memory, MB a minute"] == "BROKEN", done.stdout
    assert "ray::ServeReplica:promptable:Decoder" in done.stdout.replace("\n", "")
