"""Whether a process answers: a real one that serves gRPC, stopped and let go on, and a clock that jumps."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from deploy.cluster import free_port
from deploy.pulse import AWAY_S, Pulse

SERVER = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
import grpc
server = grpc.server(ThreadPoolExecutor(1))
server.add_insecure_port(sys.argv[1])
server.start()
print("serves", flush=True)
time.sleep(600)
"""
SILENT_S, EVERY_S = 2.0, 0.1


@pytest.fixture
def served() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A process that serves gRPC, and where; it knows of no health service, and saying so is an answer too."""
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen([sys.executable, "-c", SERVER, address], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "serves\n"
    yield address, process
    process.kill()
    process.communicate()


def looked(pulse: Pulse, seconds: float, each: Callable[[], None] = lambda: None) -> bool:
    """Whether it hangs at one of the looks within so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        each()
        if pulse.hangs():
            return True
        time.sleep(0.05)
    return False


def test_one_that_is_stopped_hangs_and_one_that_answers_does_not(served: tuple[str, subprocess.Popen[str]]) -> None:
    address, process = served
    pulse = Pulse(address, SILENT_S, EVERY_S)
    assert not looked(pulse, 2 * SILENT_S)
    process.send_signal(signal.SIGSTOP)
    assert not looked(pulse, SILENT_S / 2)
    process.send_signal(signal.SIGCONT)
    assert not looked(pulse, 2 * SILENT_S)
    process.send_signal(signal.SIGSTOP)
    assert looked(pulse, 10 * SILENT_S)


def test_time_in_which_nobody_looked_does_not_count(served: tuple[str, subprocess.Popen[str]]) -> None:
    address, process = served
    process.send_signal(signal.SIGSTOP)
    slept = 0.0

    def sleep() -> None:
        nonlocal slept
        slept += 1.5 * AWAY_S

    pulse = Pulse(address, SILENT_S, EVERY_S, lambda: time.monotonic() + slept)
    assert not looked(pulse, 2 * SILENT_S, sleep)
    assert looked(pulse, 10 * SILENT_S)


def test_where_nobody_listens_nobody_answers() -> None:
    pulse = Pulse(f"127.0.0.1:{free_port()}", SILENT_S, EVERY_S)
    assert looked(pulse, 10 * SILENT_S)
