"""What the local platform costs: seconds from its launch to ready and to a first mask, memory and idle CPU by process,
and memory once more after eight callers have asked for everything.

`make footprint`. Each run is a start of `python -m deploy.local` on a free port with one home, so that the first also
compiles the graphs. Memory is the proportional set size (PSS): pages that processes share are divided among them.
Everything that is started ends with us, however we end: the work is done in a child.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from rich.console import Console
from rich.table import Column, Table

from deploy.cluster import free_port
from load_tests.client import load, posts
from load_tests.measure import PNG
from load_tests.pictures import drawn
from load_tests.watched import watched

READY_WITHIN_S = 300.0
SETTLES_S = 10.0
LOAD_S = 4.0
SIZES = ((480, 360), (360, 480), (416, 416))
"""Width and height of the pictures of the load: an engine keeps a graph a shape."""


@dataclass(slots=True)
class Share:
    """What the processes of one name take: proportional memory in bytes, CPU seconds since their start."""

    memory: int = 0
    cpu_s: float = 0.0


Shares = Mapping[str, Share]


@dataclass(frozen=True, slots=True)
class Footprint:
    """One run: seconds from its launch; and what each process had taken with the first mask, before and after
    `idle_s` seconds without a request, and a little after the callers have gone."""

    ready_s: float
    mask_s: float
    started: Shares
    before: Shares
    after: Shares
    served: Shares
    idle_s: float

    def idle(self, name: str) -> float:
        """CPU seconds a second of the processes of this name while nothing is asked."""
        return (self.after[name].cpu_s - self.before.get(name, Share()).cpu_s) / self.idle_s

    def figures(self) -> tuple[float, ...]:
        """Seconds to ready and to a mask, CPU seconds until then, idle cores, MB of memory before and after load."""
        cpu_s = sum(share.cpu_s for share in self.started.values())
        memory = (sum(share.memory for share in shares.values()) / 1e6 for shares in (self.after, self.served))
        return self.ready_s, self.mask_s, cpu_s, sum(map(self.idle, self.after)), *memory


@contextmanager
def launched(home: Path, port: int, arguments: Sequence[str]) -> Iterator[psutil.Process]:
    """The launcher as a process; ended as by Ctrl-C."""
    command = [sys.executable, "-m", "deploy.local", "--host", "127.0.0.1", "--port", str(port), *arguments]
    environ = {**os.environ, "SEGSERVE_HOME": str(home)}
    with (home / "launcher.log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, start_new_session=True)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def wait_ready(client: httpx.Client, launcher: psutil.Process) -> None:
    """Return when `/readyz` says yes. Raises `RuntimeError` when the launcher ends or it takes too long."""
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and launcher.status() != psutil.STATUS_ZOMBIE:
        try:
            if client.get("/readyz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise RuntimeError("the platform does not become ready: see launcher.log in its home")


def shares(launcher: psutil.Process) -> Shares:
    """Every process of the platform, by name."""
    found: dict[str, Share] = defaultdict(Share)
    for each in (launcher, *launcher.children(recursive=True)):
        try:
            memory, times, name = each.memory_full_info(), each.cpu_times(), title(each.cmdline())
        except psutil.NoSuchProcess:
            continue
        found[name].memory += getattr(memory, "pss", memory.uss)
        found[name].cpu_s += times.user + times.system
    return found


def title(command: Sequence[str]) -> str:
    """A short name of a process by its command line: Ray's title, the module, or the program."""
    if not command:
        return "?"
    if command[0].startswith("ray::"):
        return command[0].split()[0].partition(".")[0]
    if "-m" in command[:-1]:
        return command[command.index("-m") + 1]
    scripts = [part for part in command[1:3] if part.endswith(".py")]
    return "/".join(Path(scripts[0] if scripts else command[0]).parts[-2:])


def measured(home: Path, arguments: Sequence[str], idle_s: float) -> Footprint:
    """Start the platform, ask it for one mask of each kind, leave it idle and look."""
    port = free_port()
    begun = time.monotonic()
    with launched(home, port, arguments) as launcher:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            wait_ready(client, launcher)
            ready_s = time.monotonic() - begun
            client.post("/v1/semantic", content=drawn(1), headers=PNG).raise_for_status()
            mask_s = time.monotonic() - begun
            started = shares(launcher)
            for task in ("instance", "panoptic"):
                client.post(f"/v1/{task}", content=drawn(1), headers=PNG).raise_for_status()
            click = {"prompts": '[{"points": [[240, 250]], "labels": [1]}]'}
            client.post("/v1/promptable", files={"image": drawn(1)}, data=click).raise_for_status()
        time.sleep(SETTLES_S)
        before = shares(launcher)
        time.sleep(idle_s)
        after = shares(launcher)
        served(port)
        time.sleep(SETTLES_S)
        return Footprint(ready_s, mask_s, started, before, after, shares(launcher), idle_s)


def served(port: int) -> None:
    """Eight callers for some seconds on each task, on pictures of three shapes. Raises `RuntimeError` for a failure."""
    pictures = [drawn(seed, width, height) for seed in range(8) for width, height in SIZES]
    click = [{"points": [[240, 250]], "labels": [1]}]
    clicks = [
        json.dumps({"image": base64.b64encode(picture).decode(), "prompts": click}).encode() for picture in pictures
    ]
    for task in ("semantic", "instance", "panoptic", "promptable"):
        bodies, kind = (clicks, "application/json") if task == "promptable" else (pictures, "image/png")
        target = posts(f"http://127.0.0.1:{port}/v1/{task}", bodies, {"Content-Type": kind})
        if errors := load(target, 8, LOAD_S).errors:
            raise RuntimeError(f"{task}: {dict(errors)}")


def show(runs: Sequence[Footprint], console: Console) -> None:
    """Print every run, and the last one by process."""
    table = Table("start", "ready s", "first mask s", "CPU s until then", "idle cores", "PSS MB", "after load")
    for index, run in enumerate(runs):
        ready, mask, cpu, idle, *memory = run.figures()
        start = "first" if index == 0 else "again"
        megabytes = (f"{each:.0f}" for each in memory)
        table.add_row(start, f"{ready:.1f}", f"{mask:.1f}", f"{cpu:.1f}", f"{idle:.3f}", *megabytes)
    console.print(table)
    last = runs[-1]
    table = Table(
        Column("process", overflow="fold"), "CPU s until the first mask", "idle cores", "PSS MB", "after load"
    )
    for name, share in sorted(last.after.items(), key=lambda item: -item[1].memory):
        started = last.started.get(name, Share()).cpu_s
        later = last.served.get(name, Share())
        megabytes = (f"{each.memory / 1e6:.0f}" for each in (share, later))
        table.add_row(name, f"{started:.1f}", f"{last.idle(name):.3f}", *megabytes)
    console.print(table)


def run(given: argparse.Namespace) -> int:
    """Start it as often as asked, and print."""
    home = given.home or given.scratch / "home"
    home.mkdir(parents=True, exist_ok=True)
    show([measured(home, given.arguments, given.idle) for _ in range(given.runs)], Console(highlight=False))
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line: `python -m load_tests.footprint [--runs N] [--idle SECONDS] [-- arguments of deploy.local]`."""
    found = argparse.ArgumentParser(prog="python -m load_tests.footprint", description=__doc__)
    found.add_argument("--runs", type=int, default=3)
    found.add_argument("--idle", type=float, default=30.0, help="seconds to watch it do nothing")
    found.add_argument("--home", type=Path, help="a home that is kept; none: a fresh one, removed afterwards")
    found.add_argument("arguments", nargs="*", help="arguments of deploy.local, after --")
    return found


if __name__ == "__main__":
    sys.exit(watched("load_tests.footprint", parser(), run))
