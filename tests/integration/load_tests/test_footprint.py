"""`make footprint` told to stop while its platform starts: nothing of the platform goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.data import ROOT
from tests.integration.trivial.platform import ended, eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def is_session(process: psutil.Process) -> bool:
    try:
        return "deploy.session" in process.cmdline()
    except psutil.Error:
        return False


def test_told_to_stop_it_takes_its_platform_with_it(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "load_tests.footprint", "--runs", "1", "--home", str(tmp_path / "home")]
    process = subprocess.Popen(words, cwd=ROOT, env=os.environ)
    started: list[psutil.Process] = []
    try:
        root = psutil.Process(process.pid)
        assert eventually(lambda: any(map(is_session, root.children(recursive=True))))
        started = root.children(recursive=True)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert len(started) >= 3
    assert eventually(lambda: all(map(ended, started)))
