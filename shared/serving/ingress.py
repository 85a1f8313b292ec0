"""Which processes answer HTTP (Serve opens a port in the first deployment of every application, asked for or not), and
what is written of each request: nothing.
"""

from __future__ import annotations

from typing import Literal

from ray import serve
from ray.serve._private.constants import RAY_SERVE_ENABLE_HA_PROXY
from ray.serve.exceptions import RayServeException

BUILDS_HTTP = "__serve_build_asgi_app__"
"""What Serve calls for the HTTP application of a class that has one."""

NO_ACCESS_LOG = {"enable_access_log": False, "log_level": "WARNING"}
"""`logging_config` of every deployment. Serve would write a line for each request in each replica that it passes; the
gateway's metrics count them, and failures are logged. The level is that of Serve's own words, not of ours: below it
Serve does not even make the line that nobody writes. The Serve YAML may say otherwise for a deployment."""


Place = Literal["proxy", "spare", "gateway", "closed"]


def place() -> Place:
    """What this process is to HTTP: Serve's proxy at the public port, its proxy that HAProxy turns to when no gateway
    answers (`spare`), a replica whose class builds an HTTP application, or a replica that answers nothing. Known once
    the first request is there."""
    try:
        replica = serve.get_replica_context()
    except RayServeException:
        return "spare" if RAY_SERVE_ENABLE_HA_PROXY else "proxy"
    return "gateway" if hasattr(replica.servable_object, BUILDS_HTTP) else "closed"
