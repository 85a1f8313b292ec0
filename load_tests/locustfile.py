"""The load that people cause: single photos to the dense tasks, click sessions, everything mode and jobs.

`make load` runs it against a running platform for a minute and fails when a budget (`load_tests.budgets`) is broken.
Pictures are drawn, so it needs no data. Users of a route that the server does not have stay at home, which is said.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import httpx
from locust import HttpUser, between, events, task
from rich.console import Console

from load_tests.budgets import Group, Kind, Limits, judge, lines
from load_tests.pictures import HEIGHT, WIDTH, drawn

PNG = {"Content-Type": "image/png"}
PHOTOS = [drawn(seed) for seed in range(16)]
console = Console(highlight=False, soft_wrap=True)


class Viewer(HttpUser):
    """Sends one photo at a time to a dense task."""

    weight = 6
    pause: ClassVar[tuple[float, float]] = (0.05, 0.5)
    wait_time = between(*pause)
    route: ClassVar[str] = "/v1/semantic"

    @task(4)
    def semantic(self) -> None:
        """The label map as RLE."""
        self._send("/v1/semantic")

    @task(2)
    def instance(self) -> None:
        """Objects."""
        self._send("/v1/instance")

    @task(2)
    def panoptic(self) -> None:
        """Things and stuff."""
        self._send("/v1/panoptic")

    @task(1)
    def label_map(self) -> None:
        """The bare label map as PNG."""
        self._send("/v1/semantic", {"Accept": "image/png"}, " (png)")

    def _send(self, path: str, headers: dict[str, str] | None = None, suffix: str = "") -> None:
        photo = random.choice(PHOTOS)
        self.client.post(path, data=photo, headers={**PNG, **(headers or {})}, name=path + suffix)


class Annotator(HttpUser):
    """Uploads an image once, then clicks on it several times, refining with the earlier logits."""

    weight = 2
    pause: ClassVar[tuple[float, float]] = (0.2, 1.0)
    wait_time = between(*pause)
    route: ClassVar[str] = "/v1/promptable"

    @task
    def session(self) -> None:
        """One image, five clicks."""
        upload = self.client.post(
            "/v1/images", files={"image": random.choice(PHOTOS)}, data={"embed": json.dumps(["street"])}
        )
        if upload.status_code != 200:
            return
        prompt: dict[str, Any] = {"points": [], "labels": []}
        for _ in range(5):
            prompt["points"].append([random.uniform(0, WIDTH - 1), random.uniform(0, HEIGHT - 1)])
            prompt["labels"].append(random.choice([1, 1, 0]) if prompt["labels"] else 1)
            answer = self.client.post(
                "/v1/promptable",
                json={"image_id": upload.json()["image_id"], "prompts": [prompt], "return_logits": True},
                name="/v1/promptable (click)",
            )
            if answer.status_code != 200:
                return
            prompt["mask"] = answer.json()["results"][0]["masks"][0]["logits"]


class Collector(HttpUser):
    """Wants every mask of an image, from a grid of 8 by 8 clicks."""

    weight = 1
    pause: ClassVar[tuple[float, float]] = (2.0, 6.0)
    wait_time = between(*pause)
    route: ClassVar[str] = "/v1/promptable/everything"

    @task
    def everything(self) -> None:
        """One image."""
        files = {"image": random.choice(PHOTOS)}
        self.client.post(self.route, files=files, data={"points_per_side": "8"}, name="everything (8x8)")


class Submitter(HttpUser):
    """Has a photo done as a job, waits for it and fetches its result."""

    weight = 1
    pause: ClassVar[tuple[float, float]] = (1.0, 4.0)
    wait_time = between(*pause)
    route: ClassVar[str] = "/v1/jobs"

    @task
    def job(self) -> None:
        """One job, forgotten once its result is there."""
        query = {"task": random.choice(["semantic", "instance", "panoptic"])}
        headers = {**PNG, "Idempotency-Key": uuid.uuid4().hex}
        accepted = self.client.post(
            self.route, params=query, data=random.choice(PHOTOS), headers=headers, name=self.route
        )
        if accepted.status_code != 202:
            return
        path, state = accepted.headers["Location"], "queued"
        while state in ("queued", "running"):
            told = self.client.get(path, params={"wait": 30}, name="/v1/jobs (wait)")
            if told.status_code != 200:
                return
            state = told.json()["state"]
        self.client.get(f"{path}/result", name="/v1/jobs (result)")
        self.client.delete(path, name="/v1/jobs (forget)")


class Judge:
    """Asks everything alone before the load, and judges what was seen after it."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self._alone: dict[str, float] = {}
        self._busy_s: dict[str, float] = {}
        self._users: dict[str, int] = {}
        self._begun = 0.0
        self._seconds = 0.0

    def keep_those_with_routes(self, paths: set[str]) -> None:
        """Send home the users whose route the server does not have."""
        there = [user for user in self._environment.user_classes if user.route in paths]
        for user in self._environment.user_classes:
            if user not in there:
                console.print(f"no {user.__name__}s: this server has no {user.route}")
        self._environment.user_classes = there

    def before(self, **_: Any) -> None:
        """Each task of each kind of user alone, three times and once to warm up."""
        for kind in self._environment.user_classes:
            kind.host = kind.host or self._environment.host
            user: Any = kind(self._environment)
            tasks = list(dict.fromkeys(kind.tasks))
            spent = {}
            for each in tasks:
                each(user)
                begun = time.perf_counter()
                for _turn in range(3):
                    each(user)
                spent[each] = (time.perf_counter() - begun) / 3
            self._busy_s[kind.__name__] = sum(spent[each] for each in kind.tasks) / len(kind.tasks)
        for entry in self._environment.stats.entries.values():
            self._alone[entry.name] = float(entry.median_response_time)
        self._environment.stats.reset_all()
        self._begun = time.perf_counter()

    def spawned(self, **_: Any) -> None:
        """Remember how many of whom there are."""
        self._users = dict(self._environment.runner.target_user_classes_count)

    def stopping(self, **_: Any) -> None:
        """The load ends."""
        self._seconds = time.perf_counter() - self._begun

    def after(self, **_: Any) -> None:
        """Print the budgets; exit with 1 when one is broken."""
        kinds = [
            Kind(
                entry.name,
                self._alone.get(entry.name, 0.0),
                entry.num_requests,
                entry.num_failures,
                float(entry.get_response_time_percentile(0.95) or 0.0),
            )
            for entry in self._environment.stats.entries.values()
        ]
        groups = [
            Group(self._users.get(kind.__name__, 0), self._busy_s.get(kind.__name__, 0.0), sum(kind.pause) / 2)
            for kind in self._environment.user_classes
        ]
        budgets = judge(kinds, groups, self._seconds, limits(self._environment.parsed_options))
        for line in lines(budgets):
            console.print(line)
        self._environment.process_exit_code = 0 if all(budget.kept for budget in budgets) else 1


def limits(options: Namespace) -> Limits:
    """From the command line."""
    return Limits(options.budget_errors, options.budget_throughput, options.budget_queue, options.budget_p95_ms)


def add_budgets(parser: Any) -> None:
    """`--budget-*`."""
    usual = Limits()
    parser.add_argument("--budget-errors", type=float, default=usual.error_rate, help="most errors a request")
    parser.add_argument("--budget-throughput", type=float, default=usual.throughput, help="least throughput ratio")
    parser.add_argument("--budget-queue", type=float, default=usual.queue, help="p95 in whole queues beyond alone")
    parser.add_argument("--budget-p95-ms", type=float, default=usual.p95_ms, help="p95 in ms instead")

    parser.add_argument("--requests-to", default="", help="a file that gets a line for each request")


def written_to(path: str) -> Callable[..., None]:
    """A listener that writes each request down: when it ended, its kind, its milliseconds, and what was wrong."""
    file = Path(path).open("w", encoding="utf-8", buffering=1)  # noqa: SIM115 - open for as long as locust runs

    def write(name: str, response_time: float, exception: BaseException | None, **_: Any) -> None:
        file.write(json.dumps([time.time(), name, response_time, str(exception or "")]) + "\n")

    return write


def judged(environment: Any, **_: Any) -> None:
    """Once, when locust has read its command line."""
    if path := environment.parsed_options.requests_to:
        environment.events.request.add_listener(written_to(path))
    watching = Judge(environment)
    answer = httpx.get(f"{environment.host}/openapi.json", timeout=30, trust_env=False).raise_for_status()
    watching.keep_those_with_routes(set(answer.json()["paths"]))
    environment.events.test_start.add_listener(watching.before)
    environment.events.spawning_complete.add_listener(watching.spawned)
    environment.events.test_stopping.add_listener(watching.stopping)
    environment.events.quitting.add_listener(watching.after)


HOOKS: Any = events
HOOKS.init_command_line_parser.add_listener(add_budgets)
HOOKS.init.add_listener(judged)
