"""The store is frozen in the middle of clicks: what becomes of requests with their image, and of those with its id."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import httpx
import psutil

from load_tests.promptable.bare import drawn, wire
from load_tests.promptable.tenants import CLICK

CALLERS = 4


@dataclass(slots=True)
class Outage:
    """Counts of what came of the requests (`outcome`) by their kind, and the slowest of all in seconds."""

    with_image: Counter[str] = field(default_factory=Counter)
    by_id: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0

    @property
    def passed(self) -> bool:
        """Every request with its image answered; an id answered, or told that the store is out of reach."""
        return set(self.with_image) == {"200"} and set(self.by_id) <= {"200", "503 image_store_unavailable"}


def outage(url: str, key: str, launcher: int, seconds: float) -> Outage:
    """Freeze the Valkey below the launcher after a third of the time; it goes on afterwards."""
    found, lock, until = Outage(), threading.Lock(), time.monotonic() + seconds
    prompts = json.dumps([wire(*CLICK)])
    photos = [drawn(3000 + seed)[1] for seed in range(8)]
    (valkey,) = [each for each in psutil.Process(launcher).children(recursive=True) if "valkey" in each.name()][:1]

    def caller(number: int) -> None:
        with httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=60, trust_env=False) as client:
            turn = number
            while time.monotonic() < until:
                image, image_id = photos[turn % len(photos)], ids[turn % len(photos)]
                post = partial(client.post, "/v1/promptable")
                one, one_s = outcome(partial(post, files={"image": image}, data={"prompts": prompts}))
                other, other_s = outcome(partial(post, json={"image_id": image_id, "prompts": [wire(*CLICK)]}))
                with lock:
                    found.with_image[one] += 1
                    found.by_id[other] += 1
                    found.slowest_s = max(found.slowest_s, one_s, other_s)
                turn += CALLERS

    with httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=60, trust_env=False) as client:
        ids = [client.post("/v1/images", files={"image": photo}).json()["image_id"] for photo in photos]
    threads = [threading.Thread(target=caller, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(seconds / 3)
        os.kill(valkey.pid, signal.SIGSTOP)
        for thread in threads:
            thread.join()
    finally:
        os.kill(valkey.pid, signal.SIGCONT)
    return found


def outcome(ask: Callable[[], httpx.Response]) -> tuple[str, float]:
    """What came of a request (`200`, `status code` of a refusal, or the name of what kept an answer from coming), and
    its seconds. Nothing is raised: a caller whose thread ended would count no more failures."""
    begun = time.monotonic()
    try:
        answer = ask()
    except httpx.HTTPError as error:
        return type(error).__name__, time.monotonic() - begun
    seconds = time.monotonic() - begun
    if answer.status_code == httpx.codes.OK:
        return "200", seconds
    try:
        return f"{answer.status_code} {answer.json()['code']}", seconds
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} without a code", seconds
