"""What the local platform costs: seconds from its launch to ready and to a first mask, memory and idle CPU by process.

`make footprint`. Each run is a start of `python -m deploy.local` on a free port with one home, so that the first also
compiles the graphs. Memory is the proportional set size (PSS): pages that processes share are divided among them.
Everything that is started ends with us, however we end: the work is done in a child.
"""

from __future__ import annotations

import argparse
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
from rich.table import Table

from deploy.cluster import free_port
from load_tests.measure import PNG
from load_tests.pictures import drawn
from load_tests.watched import watched

READY_WITHIN_S = 300.0


@dataclass(slots=True)
class Share:
    """What the processes of one name take: proportional memory in bytes, CPU seconds since their start."""

    memory: int = 0
    cpu_s: float = 0.0


Shares = Mapping[str, Share]


@dataclass(frozen=True, slots=True)
class Footprint:
    """One run: seconds from its launch; and what each process had taken with the first mask, and before and after
    `idle_s` seconds without a request."""

    ready_s: float
    mask_s: float
    started: Shares
    before: Shares
    after: Shares
    idle_s: float

    def idle(self, name: str) -> float:
        """CPU seconds a second of the processes of this name while nothing is asked."""
        return (self.after[name].cpu_s - self.before.get(name, Share()).cpu_s) / self.idle_s

    def figures(self) -> tuple[float, ...]:
        """Seconds to ready and to a mask, CPU seconds until then, MB of memory, idle cores."""
        memory = sum(share.memory for share in self.after.values()) / 1e6
        cpu_s = sum(share.cpu_s for share in self.started.values())
        return self.ready_s, self.mask_s, cpu_s, memory, sum(map(self.idle, self.after))


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
        time.sleep(10)
        before = shares(launcher)
        time.sleep(idle_s)
        after = shares(launcher)
    return Footprint(ready_s, mask_s, started, before, after, idle_s)


def show(runs: Sequence[Footprint], console: Console) -> None:
    """Print every run, and the last one by process."""
    table = Table("start", "ready s", "first mask s", "CPU s until then", "PSS MB", "idle cores")
    for index, run in enumerate(runs):
        ready, mask, cpu, memory, idle = run.figures()
        start = "first" if index == 0 else "again"
        table.add_row(start, f"{ready:.1f}", f"{mask:.1f}", f"{cpu:.1f}", f"{memory:.0f}", f"{idle:.3f}")
    console.print(table)
    last = runs[-1]
    table = Table("process", "CPU s until the first mask", "PSS MB", "idle cores")
    for name, share in sorted(last.after.items(), key=lambda item: -item[1].memory):
        started = last.started.get(name, Share()).cpu_s
        table.add_row(name, f"{started:.1f}", f"{share.memory / 1e6:.0f}", f"{last.idle(name):.3f}")
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
