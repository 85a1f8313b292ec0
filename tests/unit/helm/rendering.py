"""Values in, the chart's manifests out, by a real helm of either major."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.data import ROOT
from tests.unit.helm.binaries import place

CHART = ROOT / "helm" / "segserve"
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))
VALUES = (None, *EXAMPLES)
"""The default values, and every example."""
Manifest = dict[str, Any]


def helm(major: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm; skips where it could not be had."""
    binary = place(major)
    if not binary.is_file():
        pytest.skip(f"no helm {major}: python -m tests.unit.helm.binaries fetches it")
    return subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=60, check=False)


@cache
def text(values: Path | None = None, *sets: str, major: int = 4) -> str:
    """All manifests as helm prints them."""
    more = [*(["-f", str(values)] if values else []), *(part for each in sets for part in ("--set-string", each))]
    done = helm(major, "template", "seg", str(CHART), "--namespace", "vision", *more)
    assert done.returncode == 0, done.stderr
    return done.stdout


def manifests(values: Path | None = None, *sets: str, major: int = 4) -> list[Manifest]:
    """Each manifest as data."""
    return [each for each in yaml.safe_load_all(text(values, *sets, major=major)) if each]


def refused(*sets: str, major: int = 4) -> str:
    """What helm says of values that it must refuse."""
    done = helm(major, "template", "seg", str(CHART), *(part for each in sets for part in ("--set-json", each)))
    assert done.returncode != 0, f"not refused: {sets}"
    return done.stderr


def of_kind(kind: str, found: list[Manifest]) -> list[Manifest]:
    """Those of a kind."""
    return [each for each in found if each["kind"] == kind]


def ray_service(found: list[Manifest]) -> Manifest:
    """The one RayService."""
    (service,) = of_kind("RayService", found)
    return service


def serve_text(found: list[Manifest]) -> str:
    """The Serve YAML inside it."""
    inner: str = ray_service(found)["spec"]["serveConfigV2"]
    return inner


def pods(found: list[Manifest]) -> dict[str, Manifest]:
    """Every pod of a release, by what makes it; those inside the RayService too, which linters do not look into."""
    cluster = ray_service(found)["spec"]["rayClusterConfig"]
    templates = {"head": cluster["headGroupSpec"]["template"]}
    templates |= {f"worker-{group['groupName']}": group["template"] for group in cluster["workerGroupSpecs"]}
    for kind in ("Deployment", "StatefulSet", "Job"):
        templates |= {each["metadata"]["name"]: each["spec"]["template"] for each in of_kind(kind, found)}
    templates |= {each["metadata"]["name"]: each for each in of_kind("Pod", found)}
    return {
        name: {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**template["metadata"], "name": name},
            "spec": template["spec"],
        }
        for name, template in templates.items()
    }
