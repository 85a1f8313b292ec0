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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import httpx
import numpy as np
import psutil
import yaml

from shared.imaging.compose import encode_picture
from tests.data import ROOT
from tests.platform import Platform, running

HERE = Path(__file__).parent
CONFIG: Mapping[str, Any] = yaml.safe_load((HERE / "serve.yaml").read_text())
PNG = {"Content-Type": "image/png"}
Configure = Callable[[dict[str, Any]], None]


def environment() -> dict[str, str]:
    """Settings of the platform and of what is started beside it."""
    return {"SEGSERVE_CARD_DIRS": f'["{HERE / "cards"}"]', "SEGSERVE_REQUEST_TIMEOUT_S": "30"}


@contextmanager
def trivial_platform() -> Iterator[Platform]:
    """`serve.yaml` of this folder, ready."""
    with running("--config", str(HERE / "serve.yaml"), **environment()) as platform:
        yield platform


def port(platform: Platform) -> int:
    """The HTTP port."""
    return int(platform.url.rpartition(":")[2])


def deploy(platform: Platform, configure: Configure | None = None) -> subprocess.CompletedProcess[str]:
    """Hand over the folder's YAML, changed by `configure`, as a user would; returns when it runs or has failed."""
    config = copy.deepcopy(dict(CONFIG))
    if configure:
        configure(config)
    path = platform.home / "edited.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "deploy.local", "--port", str(port(platform)), "deploy", str(path)]
    variables = {**os.environ, **environment(), "SEGSERVE_HOME": str(platform.home)}
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=200, check=False)


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


def replicas(platform: Platform, name: str, deployment: str) -> list[psutil.Process]:
    """The running replicas of a deployment."""
    wanted = re.compile(rf"ray::ServeReplica:{name}:{deployment}\b")
    found = []
    for process in tree(platform):
        with suppress(psutil.NoSuchProcess):
            if wanted.match(" ".join(process.cmdline())):
                found.append(process)
    return found


def grey(level: int, side: int = 64) -> bytes:
    """A PNG of one grey level."""
    return encode_picture(np.full((side, side, 3), level, np.uint8))


def model_names(platform: Platform) -> set[str]:
    """What the gateway says is served."""
    return {model["name"] for model in httpx.get(platform.url + "/v1/models").json()["models"]}


def eventually(check: Callable[[], bool], within_s: float = 20.0) -> bool:
    """Whether `check` comes true in time."""
    until = time.monotonic() + within_s
    while not (done := check()) and time.monotonic() < until:
        time.sleep(0.2)
    return done


def at_once(platform: Platform, count: int, path: str = "/v1/semantic", level: int = 200) -> list[httpx.Response]:
    """So many requests at the same time, each on a connection of its own."""
    body = grey(level)

    def one(_: int) -> httpx.Response:
        return httpx.post(platform.url + path, content=body, headers=PNG, timeout=60)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


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
        with httpx.Client(base_url=self._url, timeout=60) as client:
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

    def failures(self) -> dict[str, int]:
        """Answers that were not 200, with their bodies."""
        return {answer: count for answer, count in self.answers.items() if answer != "200"}
