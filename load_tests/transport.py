"""What a request costs around the model: CPU per request of the whole platform with a model that costs nothing.

`python -m load_tests.transport`: the layouts stay up side by side, paused but for the one whose turn it is, and take
turns for several rounds, so that a noisy machine is noisy for all. 100 KB in, 5 KB out, by default at 8 callers.
Everything that is started ends with us, however we end: the work is done in a child.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from deploy import layouts
from deploy.cluster import free_port
from load_tests.client import Target, Window, load, post
from load_tests.pictures import padded_jpeg
from load_tests.processes import Command, Server, cpu_between
from load_tests.watched import watched

CARDS = Path(__file__).parent / "cards"
SENT_BYTES = 100_000
READY_WITHIN_S = 240.0
GOALS_MS = {"haproxy": 2.5, "fused": 0.8}


def serving(fused: bool) -> layouts.Serving:
    """The null model behind a gateway of its own, or with it in one replica."""
    return layouts.Serving("null", "semantic", layouts.Layout(1, 1, fused), "torch", max_batch=8)


@dataclass
class Layout:
    """One way to the model, running; `costs_ms` are CPU milliseconds a request, one a round."""

    name: str
    server: Server
    target: Target
    costs_ms: list[float] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)

    @classmethod
    def start(cls, name: str, home: Path) -> Layout:
        """`serve`, `haproxy` (two hops each) or `fused` (one hop behind HAProxy); answers when it returns."""
        home.mkdir()
        config, port = home / "serve.yaml", free_port()
        config.write_text(yaml.safe_dump(serving(name == "fused").configuration(), sort_keys=False), encoding="utf-8")
        environment: Mapping[str, str] = {
            "SEGSERVE_HOME": str(home),
            "SEGSERVE_CARD_DIRS": json.dumps([str(CARDS)]),
            "SEGSERVE_TRANSPORT": "serve" if name == "serve" else "haproxy",
        }
        arguments = (sys.executable, "-m", "deploy.local", "--port", str(port), "--config", str(config))
        server = Server(Command(arguments, environment, home / "log"))
        headers = {"Content-Type": "image/jpeg", "Accept": "image/png"}
        target = post(f"http://127.0.0.1:{port}/v1/semantic", padded_jpeg(SENT_BYTES), headers)
        try:
            server.wait_for_answer(target, READY_WITHIN_S)
        except BaseException:
            server.stop()
            raise
        return cls(name, server, target)

    def turn(self, callers: int, seconds: float) -> None:
        """One window of load."""
        self.server.resume()
        load(self.target, callers, seconds / 4)
        before = self.server.spent()
        window = load(self.target, callers, seconds)
        spent = cpu_between(before, self.server.spent())
        self.server.pause()
        self.windows.append(window)
        self.costs_ms.append(1000 * spent / max(1, len(window.latencies_ms)))


def shown(up: Sequence[Layout], callers: int) -> Table:
    """Medians over the rounds."""
    title = f"{SENT_BYTES // 1000} KB in, 5 KB out, {callers} callers; CPU of all processes of the platform"
    table = Table("layout", "CPU ms a request", "goal", "of each round", "requests/s", "p50 ms", "p99 ms", title=title)
    for layout in up:
        rounds = " ".join(f"{cost:.2f}" for cost in layout.costs_ms)
        windows = layout.windows
        table.add_row(
            layout.name,
            f"{statistics.median(layout.costs_ms):.2f}",
            str(GOALS_MS.get(layout.name, "")),
            rounds,
            f"{statistics.median(window.per_second for window in windows):.0f}",
            f"{statistics.median(window.percentile_ms(50) for window in windows):.1f}",
            f"{statistics.median(window.percentile_ms(99) for window in windows):.1f}",
        )
    return table


def run(given: argparse.Namespace) -> int:
    """Start, measure, print; 1 when a request failed."""
    console = Console()
    with ExitStack() as stack:
        up: list[Layout] = []
        for name in given.layouts:
            up.append(Layout.start(name, given.scratch / name))
            stack.callback(up[-1].server.stop)
            up[-1].server.pause()
        console.print("all layouts are up and paused")
        while given.go and not given.go.exists():
            time.sleep(0.1)
        for _ in range(given.rounds):
            for layout in up:
                layout.turn(given.callers, given.seconds)
        console.print(shown(up, given.callers))
        errors = {layout.name: dict(window.errors) for layout in up for window in layout.windows if window.errors}
    if errors:
        console.print(f"failed: {errors}")
    return 1 if errors else 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m load_tests.transport", description=__doc__)
    found.add_argument("--layouts", nargs="+", default=["serve", "haproxy", "fused"])
    found.add_argument("--callers", type=int, default=8)
    found.add_argument("--rounds", type=int, default=3)
    found.add_argument("--seconds", type=float, default=3.0, help="of each window (%(default)s)")
    found.add_argument("--go", type=Path, help="measure only once this file exists")
    return found


if __name__ == "__main__":
    sys.exit(watched("load_tests.transport", parser(), run))
