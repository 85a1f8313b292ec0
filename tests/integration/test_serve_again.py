"""The launcher where there is, or was, another on the same port with the same home."""

from __future__ import annotations

import dataclasses
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.integration.test_serve_local import all_gone, refuses, run_launcher
from tests.integration.trivial.platform import HERE, deploy, environment, eventually, port, title, tree
from tests.platform import Platform, launch, stop, wait_ready

pytestmark = pytest.mark.integration


@pytest.fixture
def first() -> Iterator[Platform]:
    """One that was started, ready or not; whoever stops it for good must stop what it leaves."""
    with tempfile.TemporaryDirectory(prefix="sg-", ignore_cleanup_errors=True) as home:
        platform = launch(Path(home), "--config", str(HERE / "one.yaml"), **environment())
        yield platform
        stop(platform)


def test_of_two_that_are_started_at_once_one_says_so_and_ends(first: Platform) -> None:
    assert eventually((first.home / "run" / str(port(first)) / "lock").exists)
    second = run_launcher(first.home, "--port", str(port(first)), "--config", str(HERE / "one.yaml"))
    assert second.returncode == 1
    assert second.stderr.startswith("SegServe did not start: ")
    assert "Traceback" not in second.stderr
    wait_ready(first)


def test_one_that_was_killed_whole_is_ended_by_the_next(first: Platform) -> None:
    wait_ready(first)
    processes = tree(first)
    session = next(process for process in processes if " deploy.session " in title(process))
    for each in (psutil.Process(first.process.pid), session):
        each.send_signal(signal.SIGSTOP)  # neither may see the other die
    for each in (psutil.Process(first.process.pid), session):
        each.kill()
    first.process.wait(60)
    told = deploy(first)
    assert (told.returncode, "was killed: start it again" in told.stderr) == (1, True)
    again = launch(first.home, "--port", str(port(first)), "--config", str(HERE / "one.yaml"), **environment())
    again = dataclasses.replace(again, url=first.url)
    try:
        assert eventually(lambda: "was killed and left" in again.log.read_text())  # until then the old one answers
        wait_ready(again)
        assert all_gone(processes)
    finally:
        stop(again)
        for each in processes:
            with suppress(psutil.NoSuchProcess):
                each.kill()
    assert again.process.returncode == 0
    assert refuses(("127.0.0.1", port(first)))
