"""The instance service on Ray Serve: `args` of the Serve YAML in, an application of one model out."""

from __future__ import annotations

from typing import Any

from ray.serve import Application

from shared.serving.args import ServiceArgs
from shared.serving.replica import dense_application


def build(args: dict[str, Any]) -> Application:
    """What `import_path: services.instance.deployment:build` runs; its deployment is named `Instance`. Raises
    `ValidationError` naming the argument that is not valid."""
    return dense_application("Instance", "instance", ServiceArgs.model_validate(args))
