"""A model, an engine and a layout in, a Serve configuration out: what `make bench` measures and `segserve tune` tries.

Latency is one replica with all threads, throughput one replica a core with one thread each; one replica with a pass a
core in flight is the first when a request is alone, and the second when callers come together. Fused has the gateway
inside the model's replica, one hop instead of two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shared.types import DenseTask

BOOKED = {"num_cpus": 0.2}
"""A booking says where a replica may run, not how fast."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How many replicas carry a model, with how many threads a forward pass, of which `in_flight` overlap; `fused`
    without a gateway before them."""

    replicas: int
    threads: int
    fused: bool = False
    in_flight: int = 1

    @property
    def name(self) -> str:
        """As reports show it."""
        shape = f"{self.replicas} x {self.threads} thread{'s' if self.threads > 1 else ''}"
        shape += f", {self.in_flight} in flight" if self.in_flight > 1 else ""
        return f"{shape}, fused" if self.fused else shape


@dataclass(frozen=True, slots=True)
class Serving:
    """A dense model as an application: everything that its part of a Serve YAML says."""

    model: str
    task: DenseTask
    layout: Layout
    engine: str = "auto"
    precision: str = "f32"
    max_batch: int = 1
    unchecked: bool = False
    """See `ServiceArgs.unchecked`."""

    def applications(self) -> list[dict[str, Any]]:
        """The application, behind a gateway unless it is fused."""
        args: dict[str, Any] = {
            "model": self.model,
            "engine": self.engine,
            "precision": self.precision,
            "threads": self.layout.threads,
            "max_batch": self.max_batch,
        }
        if self.layout.in_flight > 1:
            args["in_flight"] = self.layout.in_flight
        if self.unchecked:
            args["unchecked"] = True
        deployment = {
            "num_replicas": self.layout.replicas,
            "ray_actor_options": dict(BOOKED),
            "user_config": {"max_batch": self.max_batch, "max_queue": 256},
        }
        if self.layout.fused:
            args["tasks"] = [self.task]
            whole = {"name": "Fused", **deployment}
            return [_application(self.model, "/", "services.gateway.fused:build", args, whole)]
        named = {"name": self.task.capitalize(), **deployment}
        service = _application(self.model, None, f"services.{self.task}.deployment:build", args, named)
        return [gateway(), service]

    def configuration(self) -> dict[str, Any]:
        """The whole Serve YAML as data."""
        return configuration(self.applications())


def gateway() -> dict[str, Any]:
    """The gateway's application."""
    return _application(
        "gateway", "/", "services.gateway.deployment:build", {}, {"name": "Gateway", "ray_actor_options": dict(BOOKED)}
    )


def promptable(model: str, threads: int, in_flight: int) -> list[dict[str, Any]]:
    """A gateway and a promptable model, as `serve.yaml` has it."""
    args = {"model": model, "threads": threads, "in_flight": in_flight}
    deployments = [
        {"name": "Encoder", "ray_actor_options": dict(BOOKED), "user_config": {"max_batch": 1}},
        {"name": "Decoder", "ray_actor_options": dict(BOOKED), "user_config": {"max_batch": 8}},
    ]
    service = _application(model, None, "services.promptable.deployment:build", args, *deployments)
    return [gateway(), service]


def configuration(applications: list[dict[str, Any]]) -> dict[str, Any]:
    """A Serve YAML of these applications, as data."""
    return {"proxy_location": "HeadOnly", "applications": applications}


def _application(
    name: str, route: str | None, import_path: str, args: dict[str, Any], *deployments: dict[str, Any]
) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "route_prefix": route, "import_path": import_path}
    if args:
        found["args"] = args
    return {**found, "deployments": [dict(each) for each in deployments]}
