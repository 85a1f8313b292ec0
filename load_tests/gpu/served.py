"""All networks of the bench behind one platform on one GPU, as `deploy/serve.gpu.yaml` has them; load from processes of
its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.layouts import configuration, gateway
from load_tests.client import Target, Window, posts
from load_tests.contestants import JPEG, Form, form_field
from load_tests.gpu.models import HEIGHT, WIDTH, Subject
from load_tests.processes import Command, Server

GPU_SHARE = 0.02
"""Booked by each replica: they share the card."""
CLICK = [{"points": [[WIDTH // 2, HEIGHT // 2]], "labels": [1]}]


@dataclass(frozen=True, slots=True)
class Layout:
    """How many processes of each kind, and how many threads each has."""

    gateways: int
    replicas: int
    """0: as many as the subject says."""
    codec_threads: int
    threads: int
    in_flight: int


def yaml_of(subjects: Sequence[Subject], chosen: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    """The Serve YAML of the bench, as data."""
    front = gateway()
    front["deployments"][0] |= {"num_replicas": layout.gateways}
    return configuration([front, *(application(each, chosen, layout) for each in subjects)])


def application(subject: Subject, chosen: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    """One network's part of it."""
    most = subject.served_batch(chosen["max_batch"])
    args = {
        "model": subject.name,
        "engine": "torch",
        "device": chosen["device"],
        "precision": chosen["precision"],
        "unchecked": True,
        "max_batch": most,
        "threads": layout.threads,
        "codec_threads": layout.codec_threads,
        "in_flight": layout.in_flight,
    }
    booked = {"num_cpus": 0.1, "num_gpus": 0 if chosen["device"] == "cpu" else GPU_SHARE}
    deployment = {
        "num_replicas": layout.replicas or subject.replicas,
        "ray_actor_options": booked,
        "user_config": {"max_batch": most, "max_pixels": 2**30, "max_queue": 512},
    }
    names = ("Encoder", "Decoder") if subject.task == "promptable" else (subject.task.capitalize(),)
    return {
        "name": subject.name.replace(".", "-"),
        "route_prefix": None,
        "import_path": f"services.{subject.task}.deployment:build",
        "args": args,
        "deployments": [{"name": name, **deployment} for name in names],
    }


def stamped(images: Sequence[bytes], count: int) -> list[bytes]:
    """So many JPEGs whose bytes differ, by a comment: an image that is asked about already is not encoded again."""
    found = []
    for index in range(count):
        image, comment = images[index % len(images)], f"{index:08d}".encode()
        found.append(image[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + image[2:])
    return found


def request_form(subject: Subject) -> tuple[str, Form]:
    """The path, and how an image is asked about."""
    if subject.task == "promptable":
        fields = {"prompts": json.dumps(CLICK), "model": subject.name, "store": "false"}
        return "/v1/promptable", form_field("/v1/promptable", fields)
    path = f"/v1/{subject.task}?model={subject.name}"
    headers = {**JPEG, "Accept": "image/png"}
    return path, lambda url, images: posts(url + path, images, headers)


class Callers:
    """Client processes that stay up from one load to the next."""

    def __init__(self, processes: int, scratch: Path) -> None:
        arguments = (sys.executable, "-m", "load_tests.gpu.callers")
        self._folder = scratch
        self._processes = [
            Server(Command(arguments, {}, scratch / f"callers-{index}.log", talks=True)) for index in range(processes)
        ]

    def prepare(self, name: str, target: Target) -> tuple[Path, dict[str, str]]:
        """Write a target's bodies where the processes read them; their folder and the headers."""
        folder = self._folder / f"bodies-{name}"
        folder.mkdir(exist_ok=True)
        headers: dict[str, str] = {}
        for index, request in enumerate(target.requests):
            head, _, body = request.partition(b"\r\n\r\n")
            lines = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:]]
            headers = {key: value for key, value in lines if key not in ("Host", "Content-Length")}
            (folder / f"{index:05d}").write_bytes(body)
        return folder, headers

    def load(self, url: str, bodies: Path, headers: Mapping[str, str], callers: int, seconds: float) -> Window:
        """One window of all processes together; the rate is the sum of theirs."""
        share = [callers // len(self._processes)] * len(self._processes)
        for index in range(callers % len(self._processes)):
            share[index] += 1
        busy = [pair for pair in zip(self._processes, share, strict=True) if pair[1]]
        for index, (process, count) in enumerate(busy):
            told = {"url": url, "bodies": str(bodies), "headers": dict(headers), "first": index * 37}
            process.say(json.dumps({**told, "callers": count, "seconds": seconds}))
        said = [json.loads(process.heard()) for process, _ in busy]
        rate = sum(len(each["latencies_ms"]) / each["seconds"] for each in said if each["seconds"] > 0)
        latencies = tuple(one for each in said for one in each["latencies_ms"])
        errors: dict[str, int] = {}
        for each in said:
            for kind, times in each["errors"].items():
                errors[kind] = errors.get(kind, 0) + times
        spent = sum(each["client_cpu_s"] for each in said)
        return Window(callers, len(latencies) / rate if rate else 0.0, latencies, errors, spent)

    def stop(self) -> None:
        """End them."""
        for process in self._processes:
            process.stop()
