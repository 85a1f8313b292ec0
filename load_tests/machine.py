"""What a benchmark ran on: hardware, versions, date and load, kept with its figures."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from deploy.cluster import ROOT

PACKAGES = ("ray", "openvino", "torch", "transformers", "numpy", "opencv-python-headless", "uvicorn", "fastapi")
PEER_PACKAGES = {"litserve": "litserve", "bentoml": "bentoml", "mosec": "mosec", "pytriton": "nvidia-pytriton"}


def described(peers: Path) -> dict[str, Any]:
    """Everything, as data. `peers` is the folder of the peers' environments."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average": [round(each, 2) for each in os.getloadavg()],
        "versions": {name: found for name in PACKAGES if (found := installed(name))},
        "peers": {name: found for name, package in PEER_PACKAGES.items() if (found := beside(peers / name, package))},
    }


def processor() -> str:
    """The model name of the first core, as Linux tells it; else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def commit() -> str:
    """Of the working tree; empty outside of git."""
    try:
        asked = ["git", "describe", "--always", "--dirty"]
        return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def installed(package: str) -> str:
    """Its version here; empty when it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def beside(home: Path, package: str) -> str:
    """Its version in the environment `home`; empty when it is not installed there."""
    stem = package.replace("-", "_")
    found = sorted(home.glob(f"lib/python*/site-packages/{stem}-*.dist-info"))
    return found[0].name.removeprefix(f"{stem}-").removesuffix(".dist-info") if found else ""
