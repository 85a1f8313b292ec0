"""Which version of us runs, told once by each process."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from shared.protocols import Sink

FROM_SOURCE = "source"
"""In place of a version where the project is not installed."""


def tell_build(sink: Sink) -> None:
    """Set `segserve_build_info`."""
    try:
        ours = version("segserve")
    except PackageNotFoundError:
        ours = FROM_SOURCE
    sink.gauge("segserve_build_info", 1.0, version=ours, python=platform.python_version())
