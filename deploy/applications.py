"""A Serve YAML in, running applications out, the fast way: built in this process instead of one process each.

Applications carry the version that Serve itself would give them from the same YAML, so that a later `serve deploy`
of an edited file restarts only what was edited.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ray import serve
from ray._common.utils import import_attr
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary
from ray.serve._private.build_app import BuiltApplication, build_app
from ray.serve._private.client import ServeControllerClient
from ray.serve._private.deploy_utils import get_app_code_version
from ray.serve._private.utils import override_runtime_envs_except_env_vars
from ray.serve.context import _get_global_client
from ray.serve.deployment import Deployment
from ray.serve.schema import (
    ApplicationStatus,
    ApplicationStatusOverview,
    DeploymentSchema,
    ServeApplicationSchema,
    ServeDeploySchema,
)

from deploy.configuration import problems, read_config
from deploy.progress import Failed, Progress
from shared.serving.args import ServiceArgs
from shared.serving.ingress import NO_ACCESS_LOG

READY_WITHIN_S = 900.0
"""Longest that the applications may take to become ready: weights may have to be fetched first."""


def build(application: ServeApplicationSchema) -> BuiltApplication:
    """Import and build one application with the options of its deployments. Raises what its builder raises."""
    bound = call_user_app_builder_with_args_if_necessary(import_attr(application.import_path), application.args)
    built = build_app(bound, name=application.name, route_prefix=application.route_prefix)
    version = get_app_code_version(application)
    options = {schema.name: schema for schema in application.deployments}
    unknown = set(options) - {deployment.name for deployment in built.deployments}
    if unknown:
        raise ValueError(f"there is no deployment named {', '.join(sorted(unknown))}")
    environment = application.runtime_env
    deployments = [configured(each, options.get(each.name), version, environment) for each in built.deployments]
    for deployment in deployments:
        for args in deployment.init_args:
            if isinstance(args, ServiceArgs):
                args.live(deployment.user_config)
    return dataclasses.replace(built, deployments=deployments)


def configured(
    deployment: Deployment, schema: DeploymentSchema | None, version: str, environment: dict[str, Any]
) -> Deployment:
    """The deployment with what the YAML says of it, its application's `runtime_env`, and its version."""
    chosen: dict[str, Any] = schema.model_dump(exclude_unset=True, exclude={"name"}) if schema else {}
    found = deployment.options(**chosen, version=version, _internal=True)
    if environment:
        actor = found.ray_actor_options or {}
        merged = override_runtime_envs_except_env_vars(environment, actor.get("runtime_env", {}))
        found = found.options(ray_actor_options={**actor, "runtime_env": merged}, _internal=True)
    return found


def connected() -> ServeControllerClient:
    """The client of the Serve that runs. Raises `Failed` when none does."""
    client = _get_global_client()
    if client is None:
        raise Failed("Serve is not running")
    return client


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """A configuration with its applications built, ready to be handed to Serve."""

    config: ServeDeploySchema
    applications: tuple[BuiltApplication, ...]

    @classmethod
    def read(cls, path: Path) -> Prepared:
        """Raises `Failed` naming the application that cannot be built."""
        config = read_config(path)
        built = []
        for application in config.applications:
            try:
                built.append(build(application))
            except ValidationError as error:
                told = problems(error, application.args)
                raise Failed(f"{path}: application {application.name}: {told}") from None
            except Exception as error:
                raise Failed(f"{path}: application {application.name}: {error}") from error
        return cls(config, tuple(built))

    def deploy(self, host: str, port: int, *, declarative: bool) -> None:
        """Start Serve and hand it every application; returns without waiting for them. `declarative`: as `serve deploy`
        would, in a process of its own for each."""
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(
            proxy_location=self.config.proxy_location,
            http_options={"host": host, "port": port},
            logging_config=self.config.logging_config or NO_ACCESS_LOG,
        )
        self.hand_over(declarative=declarative)

    def hand_over(self, *, declarative: bool) -> None:
        """To the Serve that runs: what did not change since is left alone. `declarative` as in `deploy`."""
        client = connected()
        if declarative:
            client.deploy_apps(self.config)
        else:
            client.deploy_applications(
                self.applications, wait_for_ingress_deployment_creation=False, wait_for_applications_running=False
            )

    def wait_until_running(self, progress: Progress) -> None:
        """Return when every application runs. Raises `Failed` when one cannot start."""
        wait_until_running([application.name for application in self.config.applications], progress)


def wait_until_running(names: Iterable[str], progress: Progress) -> None:
    """Return when every application runs, noting each. Raises `Failed` when one cannot start."""
    waiting = dict.fromkeys(names)
    deadline = time.monotonic() + READY_WITHIN_S
    while waiting:
        status = serve.status().applications
        for name in tuple(waiting):
            state = status.get(name)
            if state and state.status == ApplicationStatus.RUNNING:
                progress.note(name)
                del waiting[name]
            elif state and state.status in (ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY):
                raise Failed(f"application {name}: {reason(state)}")
        if time.monotonic() > deadline:
            raise Failed(f"not ready after {READY_WITHIN_S:.0f} s: {', '.join(waiting)}")
        time.sleep(0.2)


def reason(state: ApplicationStatusOverview) -> str:
    """What Serve says of a failure: the error of each deployment without its traceback."""
    messages = {name: each.message for name, each in state.deployments.items() if each.message} or {"": state.message}
    return "; ".join(f"{name}: {last_error(message)}" for name, message in messages.items())


def last_error(text: str) -> str:
    """What stands below the last frame of a traceback; all of a text without one."""
    lines = text.strip().splitlines()
    frames = [index for index, line in enumerate(lines) if line.startswith("  File ")]
    below = lines[frames[-1] + 1 :] if frames else lines
    return " ".join(line.strip() for line in below if not frames or not line.startswith("    "))
