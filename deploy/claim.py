"""One platform a run folder: a lock that lasts as long as its processes, and an end to what an earlier one left behind
whose own processes were killed all at once."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from deploy.cluster import STATE, PortTaken
from deploy.supervisor import tell

LOCK = "lock"
ENDS_WITHIN_S = 10.0
"""How long a platform whose launcher was killed may take to end."""
LEFT = ("gcs_server", "raylet", "haproxy")
"""Programs that go on without us; below them is all the rest."""


def try_claim(folder: Path) -> int | None:
    """The run folder's lock as a descriptor, held until all who have it are gone; None while another has it."""
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def claim(folder: Path, within_s: float = ENDS_WITHIN_S) -> int:
    """As `try_claim`, waiting for one that ends just now. Raises `PortTaken`."""
    until = time.monotonic() + within_s
    while (lock := try_claim(folder)) is None:
        if time.monotonic() > until:
            raise PortTaken(f"another platform starts or ends just now on port {folder.name}, with the same home")
        time.sleep(0.05)
    return lock


def end_leftovers(folder: Path, sockets: Path | None) -> None:
    """End what still runs of the platform that this run folder tells of; only for who has claimed it. `sockets`: where
    its HAProxy's lie. A platform that ends in its own time takes its word (`STATE`) along, which is
    removed here."""
    try:
        logs = json.loads((folder / STATE).read_text(encoding="utf-8"))["logs"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    marks = tuple(f"{path}/" for path in (Path(logs).parent, sockets) if path is not None)
    left = list(_left(marks))
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    if left:
        tell(f"an earlier platform on port {folder.name} was killed and left {len(left)} processes, which are ended.")
        psutil.wait_procs(left, timeout=ENDS_WITHIN_S)
    (folder / STATE).unlink()


def _left(marks: tuple[str, ...]) -> Iterator[psutil.Process]:
    """Our programs that were started with one of these paths, each before what descends from it."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            ours = process.name() in LEFT and process.uids().real == os.getuid()
            if ours and any(mark in word for word in process.cmdline() for mark in marks):
                below = process.children(recursive=True)
                yield process
                yield from below
