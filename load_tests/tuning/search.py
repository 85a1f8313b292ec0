"""Candidates deployed one after another onto a private platform, each asked by more and more callers.

The platform is one child of ours in a folder of its own; candidates reach it by `deploy.redeploy`, as a user's would.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from deploy.cluster import ROOT, free_port
from deploy.layouts import Serving
from load_tests.client import Target, Window, load, posts
from load_tests.processes import Command, NotReady, Server
from load_tests.tuning.choice import Point, joined, worth_more_callers

CALLERS = (1, 2, 4, 8, 16, 32, 64)
STARTS_WITHIN_S = 600.0
WARM_UP_S = 0.5
FIRST_WARM_UP_S, FIRST_CALLERS = 1.5, 4
"""Before a candidate's first window: graphs for passes that overlap are made when passes first do."""
ROUNDS = 3
SETTLES_WITHIN_S = 60.0


class Refused(RuntimeError):
    """A candidate could not be deployed; the message says why."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How each candidate is asked."""

    images: tuple[bytes, ...]
    content_type: str
    seconds: float
    limit_ms: float
    callers: Sequence[int] = CALLERS


@dataclass(frozen=True, slots=True)
class Platform:
    """The private platform that candidates are deployed on."""

    server: Server
    home: Path
    port: int
    environment: Mapping[str, str]

    def target(self, task: str, trial: Trial) -> Target:
        """Requests to its port."""
        headers = {"Content-Type": trial.content_type}
        return posts(f"http://127.0.0.1:{self.port}/v1/{task}", trial.images, headers)

    def deploy(self, serving: Serving) -> None:
        """Replace what runs by this candidate. Raises `Refused`."""
        path = self.home / "candidate.yaml"
        write(path, serving)
        command = [sys.executable, "-m", "deploy.local", "--port", str(self.port), "deploy", str(path)]
        environment = {**os.environ, **self.environment}
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=STARTS_WITHIN_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise Refused(f"does not run within {STARTS_WITHIN_S:.0f} s") from None
        if done.returncode:
            raise Refused(" ".join((done.stderr or done.stdout).split())[-300:])

    def settle(self, serving: Serving) -> None:
        """Return when only this candidate's replicas run, or after a while all the same."""
        until = time.monotonic() + SETTLES_WITHIN_S
        while self._replicas(serving.model) != serving.layout.replicas and time.monotonic() < until:
            time.sleep(0.2)

    def _replicas(self, model: str) -> int:
        titles = []
        for process in self.server.tree():
            with suppress(psutil.Error):
                titles.append(" ".join(process.cmdline()))
        return sum(title.startswith(f"ray::ServeReplica:{model}:") for title in titles)


def write(path: Path, serving: Serving, comment: str = "") -> None:
    """A candidate as a Serve YAML; `comment` stands above it."""
    text = yaml.safe_dump(serving.configuration(), sort_keys=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"# {line}\n" for line in comment.splitlines()) + text, encoding="utf-8")


@contextmanager
def platform(first: Serving, home: Path, trial: Trial, environment: Mapping[str, str]) -> Iterator[Platform]:
    """A platform with the first candidate, ready; ended afterwards. Raises `Refused`."""
    config, port = home / "candidate.yaml", free_port()
    write(config, first)
    ours = {**environment, "SEGSERVE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    arguments = (sys.executable, "-m", "deploy.local", "--port", str(port), "--config", str(config))
    server = Server(Command(arguments, ours, home / "log"))
    try:
        started = Platform(server, home, port, ours)
        try:
            server.wait_for_answer(started.target(first.task, trial), STARTS_WITHIN_S)
        except NotReady as error:
            raise Refused(str(error).strip()[-300:]) from error
        yield started
    finally:
        server.stop()


def measure(started: Platform, serving: Serving, trial: Trial, noted: Callable[[Point], None]) -> list[Point]:
    """The candidate that runs, by more and more callers for as long as it gains and keeps the limit."""
    target = started.target(serving.task, trial)
    started.settle(serving)
    load(target, FIRST_CALLERS, FIRST_WARM_UP_S)
    points: list[Point] = []
    for callers in trial.callers:
        if points and not worth_more_callers(points, trial.limit_ms):
            break
        load(target, callers, WARM_UP_S)
        points.append(joined(serving, [load(target, callers, trial.seconds)]))
        noted(points[-1])
    return points


def measure_again(
    few: Sequence[Point],
    scratch: Path,
    trial: Trial,
    environment: Mapping[str, str],
    told: Callable[[str, Serving], None],
) -> list[Point]:
    """A few points once more, several times each and in turns, so that what else the machine does hits all alike: each
    candidate on a platform of its own, which stands still while it is another's turn. Raises `Refused`."""
    windows: list[list[Window]] = [[] for _ in few]
    with ExitStack() as stack:
        up: list[tuple[Point, Platform, list[Window]]] = []
        for point, its_windows in zip(few, windows, strict=True):
            told("starting it for the final", point.serving)
            home = Path(tempfile.mkdtemp(dir=scratch, prefix=""))
            started = stack.enter_context(platform(point.serving, home, trial, environment))
            started.settle(point.serving)
            load(started.target(point.serving.task, trial), FIRST_CALLERS, FIRST_WARM_UP_S)
            started.server.pause()
            up.append((point, started, its_windows))
        for number in range(ROUNDS):
            for point, started, its_windows in up[:: 1 if number % 2 == 0 else -1]:
                told(f"final, round {number + 1} of {ROUNDS}", point.serving)
                started.server.resume()
                target = started.target(point.serving.task, trial)
                load(target, point.callers, WARM_UP_S)
                its_windows.append(load(target, point.callers, trial.seconds))
                started.server.pause()
        for _, started, _ in up:  # all at once: each takes seconds to end
            started.server.interrupt()
    return [joined(point.serving, its_windows) for point, its_windows in zip(few, windows, strict=True)]


def try_all(
    group: Sequence[Serving],
    scratch: Path,
    trial: Trial,
    environment: Mapping[str, str],
    begun: Callable[[Serving], None],
    noted: Callable[[Point], None],
    done: Callable[[Serving, Refused | None], None],
) -> list[Point]:
    """The points of all candidates of one private platform below `scratch`, which starts with the first that can."""
    found: list[Point] = []
    waiting = list(group)
    while waiting:
        first = waiting.pop(0)
        begun(first)
        try:
            home = Path(tempfile.mkdtemp(dir=scratch, prefix=""))
            with platform(first, home, trial, environment) as started:
                found += measure(started, first, trial, noted)
                done(first, None)
                while waiting:
                    begun(waiting[0])
                    found += _deployed(started, waiting.pop(0), trial, noted, done)
        except Refused as refused:
            done(first, refused)
    return found


def _deployed(
    started: Platform,
    serving: Serving,
    trial: Trial,
    noted: Callable[[Point], None],
    done: Callable[[Serving, Refused | None], None],
) -> list[Point]:
    """The points of a candidate that replaces another; none when it cannot."""
    try:
        started.deploy(serving)
    except Refused as refused:
        done(serving, refused)
        return []
    points = measure(started, serving, trial, noted)
    done(serving, None)
    return points


def card_folders(folders: Sequence[Path]) -> dict[str, str]:
    """The setting by which a private platform finds the same cards."""
    return {"SEGSERVE_CARD_DIRS": json.dumps([str(folder.resolve()) for folder in folders])} if folders else {}
