"""The platform with trivial models as a process, and what tests do to it: deploy a YAML, find replicas, load it."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import httpx
import numpy as np
import psutil
import yaml

from shared.imaging.compose import encode_picture
from tests.data import ROOT
from tests.e2e.scrape import OFTEN_S
from tests.integration.trivial.models import HELD
from tests.platform import Platform

HERE = Path(__file__).parent
PNG = {"Content-Type": "image/png"}
WITHIN_S = 120.0
"""What takes seconds on a quiet machine must be there within this time on any."""
REPLICA = re.compile(r"ray::ServeReplica:(\w+):(\w+)")
Configure = Callable[[dict[str, Any]], None]
Answer = Future[httpx.Response]
PATIENT = httpx.Timeout(120)
"""Longer than a request's own deadline: the platform's answer is what tests look at."""


def environment() -> dict[str, str]:
    """Settings of the platform and of what is started beside it: the tests' cards, and patience. On a busy machine a
    store that is slow would count as silent, and a replica that is slow to say how long its queue is be passed over."""
    return {
        "SEGSERVE_CARD_DIRS": f'["{HERE / "cards"}"]',
        "SEGSERVE_REDIS_TIMEOUT_S": "10",
        "SEGSERVE_METRICS_EVERY_S": str(OFTEN_S),
        "RAY_SERVE_QUEUE_LENGTH_RESPONSE_DEADLINE_S": "30",
        "RAY_SERVE_MAX_QUEUE_LENGTH_RESPONSE_DEADLINE_S": "30",
    }


def configuration(name: str) -> dict[str, Any]:
    """A YAML of this folder."""
    found: dict[str, Any] = yaml.safe_load((HERE / name).read_text())
    return found


def port(platform: Platform) -> int:
    """The HTTP port."""
    return int(platform.url.rpartition(":")[2])


def deploy(platform: Platform, configure: Configure | None = None) -> subprocess.CompletedProcess[str]:
    """Hand over the folder's YAML, changed by `configure`, as a user would; returns when it runs or has failed."""
    config = configuration("serve.yaml")
    if configure:
        configure(config)
    path = platform.home / "edited.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "deploy.local", "--port", str(port(platform)), "deploy", str(path)]
    variables = {**os.environ, **environment(), "SEGSERVE_HOME": str(platform.home)}
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=500, check=False)


def application(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """One application of a configuration, to be changed in place."""
    found: dict[str, Any] = next(item for item in config["applications"] if item["name"] == name)
    return found


def renamed(config: Mapping[str, Any], name: str, model: str) -> dict[str, Any]:
    """A copy of an application that serves another model, named after it."""
    return {**copy.deepcopy(application(config, name)), "name": model, "args": {"model": model}}


def tree(platform: Platform) -> list[psutil.Process]:
    """Every process that the launcher started, and itself."""
    launcher = psutil.Process(platform.process.pid)
    return [launcher, *launcher.children(recursive=True)]


def title(process: psutil.Process) -> str:
    """Its command line; empty when it has ended. Ray rewrites a replica's with each call: a reading counts when the
    next one is the same."""
    with suppress(psutil.Error):
        text = None
        while (again := " ".join(process.cmdline())) != text:
            text = again
        return text
    return ""


def ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def all_replicas(platform: Platform) -> list[tuple[tuple[str, str], psutil.Process]]:
    """Every replica that runs, with the names of its application and deployment."""
    found = ((REPLICA.match(title(process)), process) for process in tree(platform))
    return [((match[1], match[2]), process) for match, process in found if match]


def replicas(platform: Platform, name: str, deployment: str) -> list[psutil.Process]:
    """The running replicas of a deployment."""
    return [process for names, process in all_replicas(platform) if names == (name, deployment)]


def settled(platform: Platform, config: str) -> bool:
    """Whether exactly the replicas of this YAML run and the platform is ready: what a test did to it has healed."""
    wanted = Counter[tuple[str, str]]()
    for each in configuration(config)["applications"]:
        for deployment in each["deployments"]:
            wanted[each["name"], deployment["name"]] = deployment.get("num_replicas", 1)
    try:
        ready = httpx.get(platform.url + "/readyz", timeout=60).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
    return ready and Counter(names for names, _ in all_replicas(platform)) == wanted


@contextmanager
def held(platform: Platform) -> Iterator[Callable[[], None]]:
    """No pass of a model ends until the block does, or the function it is given is called."""
    path = platform.home / HELD
    path.touch()
    try:
        yield lambda: path.unlink(missing_ok=True)
    finally:
        path.unlink(missing_ok=True)


def grey(level: int, side: int = 64) -> bytes:
    """A PNG of one grey level."""
    return encode_picture(np.full((side, side, 3), level, np.uint8))


def model_names(platform: Platform) -> set[str]:
    """What the gateway says is served."""
    return {model["name"] for model in httpx.get(platform.url + "/v1/models", timeout=60).json()["models"]}


def eventually(check: Callable[[], bool], within_s: float = WITHIN_S) -> bool:
    """Whether `check` comes true in time."""
    until = time.monotonic() + within_s
    while not (done := check()) and time.monotonic() < until:
        time.sleep(0.2)
    return done


@contextmanager
def under_way(platform: Platform, count: int, timeout: httpx.Timeout = PATIENT) -> Iterator[list[Answer]]:
    """So many semantic requests at once, each on a connection of its own; the block ends with the last answer."""
    body = grey(200)

    def one() -> httpx.Response:
        return httpx.post(platform.url + "/v1/semantic", content=body, headers=PNG, timeout=timeout)

    with ThreadPoolExecutor(count) as pool:
        yield [pool.submit(one) for _ in range(count)]


def at_once(platform: Platform, count: int) -> list[httpx.Response]:
    """The answers to so many semantic requests at the same time."""
    with under_way(platform, count) as asked:
        return [each.result() for each in asked]


Ask = Callable[[httpx.Client], httpx.Response]


def ask_bright(client: httpx.Client) -> httpx.Response:
    """One semantic request."""
    return client.post("/v1/semantic?model=bright", content=grey(200), headers=PNG)


def ask_mean(client: httpx.Client) -> httpx.Response:
    """One click on an image that nobody has sent before."""
    image = encode_picture(np.random.default_rng().integers(0, 255, (32, 32, 3), np.uint8))
    prompts = {"prompts": '[{"points": [[1, 1]], "labels": [1]}]'}
    return client.post("/v1/promptable", files={"image": image}, data=prompts)


class Reachable(Protocol):
    """Anything that answers HTTP."""

    @property
    def url(self) -> str: ...


class Load:
    """Callers that ask without a pause until the block ends; `answers` counts what they got."""

    def __init__(self, platform: Reachable, ask: Ask = ask_bright, callers: int = 4) -> None:
        self.answers: Counter[str] = Counter()
        self._url, self._ask = platform.url, ask
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._go_on) for _ in range(callers)]

    def _go_on(self) -> None:
        with httpx.Client(base_url=self._url, timeout=PATIENT) as client:
            while not self._stop.is_set():
                try:
                    answer = self._ask(client)
                    self.answers["200" if answer.status_code == 200 else answer.text] += 1
                except httpx.HTTPError as error:
                    self.answers[repr(error)] += 1

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def goes_on(self, good: int = 12) -> bool:
        """Whether so many more good answers come."""
        until = self.answers["200"] + good
        return eventually(lambda: self.answers["200"] >= until)

    def failures(self) -> dict[str, int]:
        """Answers that were not 200, with their bodies."""
        return {answer: count for answer, count in self.answers.items() if answer != "200"}
