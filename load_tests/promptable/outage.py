"""The store is frozen in the middle of clicks: what becomes of requests with their image, and of those with its id."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
import psutil

from load_tests.promptable.bare import drawn, wire
from load_tests.promptable.tenants import CLICK

CALLERS = 4


@dataclass(slots=True)
class Outage:
    """Counts of `status code` by kind of request, and the slowest answer in seconds."""

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
        with httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=60) as client:
            turn = number
            while time.monotonic() < until:
                image, image_id = photos[turn % len(photos)], ids[turn % len(photos)]
                begun = time.monotonic()
                one = client.post("/v1/promptable", files={"image": image}, data={"prompts": prompts})
                slow = time.monotonic() - begun
                other = client.post("/v1/promptable", json={"image_id": image_id, "prompts": [wire(*CLICK)]})
                with lock:
                    found.with_image[_outcome(one)] += 1
                    found.by_id[_outcome(other)] += 1
                    found.slowest_s = max(found.slowest_s, slow)
                turn += CALLERS

    with httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=60) as client:
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


def _outcome(answer: httpx.Response) -> str:
    return "200" if answer.status_code == 200 else f"{answer.status_code} {answer.json()['code']}"
