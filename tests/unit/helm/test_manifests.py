"""What the chart renders is what Kubernetes and KubeRay take, whatever the values, by either major of helm."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.unit.helm.crd import ray_service_validator
from tests.unit.helm.rendering import CHART, VALUES, helm, manifests, of_kind, pods, ray_service

CUSTOM = {"RayService", "PodMonitor", "PrometheusRule", "HTTPRoute"}
every_values = pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem if path else "default")
majors = pytest.mark.parametrize("major", [3, 4])
versions = pytest.mark.parametrize("version", ["1.28", "1.37"])


@majors
def test_lint_and_package(major: int, tmp_path: Path) -> None:
    done = helm(major, "lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout
    done = helm(major, "package", str(CHART), "--destination", str(tmp_path))
    assert done.returncode == 0, done.stderr
    whole, packed = (helm(major, "template", "seg", str(place)) for place in (CHART, *tmp_path.glob("*.tgz")))
    assert packed.returncode == 0, packed.stderr
    assert without_passwords(packed.stdout) == without_passwords(whole.stdout), "the rules travel in the package"


def without_passwords(text: str) -> str:
    """They differ from one rendering to the next."""
    return re.sub(r"(?m)^  password: .*$", "", text)


@every_values
def test_both_majors_render_the_same(values: Path | None) -> None:
    three, four = ([each for each in manifests(values, major=major) if each["kind"] != "Secret"] for major in (3, 4))
    assert three == four


@versions
@every_values
def test_kubernetes_takes_it(values: Path | None, version: str) -> None:
    found = manifests(values)
    for each in found:
        if each["kind"] not in CUSTOM:
            kubernetes_validate.validate(each, version, strict=True)
    for each in pods(found).values():
        kubernetes_validate.validate(each, version, strict=True)


@every_values
def test_kuberay_takes_it(values: Path | None) -> None:
    ray_service_validator().validate(ray_service(manifests(values)))


def test_the_schema_of_kuberay_refuses_what_it_does_not_know() -> None:
    service = ray_service(manifests())
    service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]["imagePullPolcy"] = "x"
    with pytest.raises(jsonschema.ValidationError, match="imagePullPolcy"):
        ray_service_validator().validate(service)


@every_values
def test_every_pod_is_restricted(values: Path | None) -> None:
    """Pod Security's `restricted`, a root that cannot be written to, a bound of memory, and no token but the head's."""
    for name, pod in pods(manifests(values)).items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] == (name == "head"), name
        assert not spec["enableServiceLinks"], name
        for container in spec["containers"] + spec.get("initContainers", []):
            context = container["securityContext"]
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert context["readOnlyRootFilesystem"], name
            assert not context["allowPrivilegeEscalation"], name
            assert "memory" in container["resources"]["limits"], name
            assert not container["image"].endswith(":latest"), name
            volumes = {each["name"] for each in spec["volumes"]} | ({"data"} if name.endswith("-gcs") else set())
            assert {each["name"] for each in container["volumeMounts"]} <= volumes, name


@every_values
def test_no_secret_stands_in_the_open(values: Path | None) -> None:
    found = manifests(values)
    for pod in pods(found).values():
        for container in pod["spec"]["containers"]:
            for variable in container.get("env", []):
                if re.search("PASSWORD|TOKEN|KEY|AUTH", variable["name"]):
                    assert "secretKeyRef" in variable["valueFrom"], variable["name"]
    if values and values.stem == "existing-secrets":
        assert of_kind("Secret", found) == []
        assert manifests(values) == found, "nothing random"


@every_values
def test_what_is_referred_to_is_there(values: Path | None) -> None:
    """Secrets, claims, accounts and maps that a pod names are rendered, or are the user's own."""
    found = manifests(values)
    rendered = {each["metadata"]["name"] for each in found}
    own = set(re.findall(r"(?i)(?:secret|headname|name): (\S+)", values.read_text())) if values else set()
    for pod in pods(found).values():
        assert set(named(pod["spec"])) <= rendered | own


def named(spec: Any) -> list[str]:
    """Names of what a pod refers to."""
    if isinstance(spec, list):
        return [name for each in spec for name in named(each)]
    if not isinstance(spec, dict):
        return []
    here = [spec["serviceAccountName"]] if "serviceAccountName" in spec else []
    for key, name in (("secretKeyRef", "name"), ("configMap", "name"), ("persistentVolumeClaim", "claimName")):
        here += [spec[key][name]] if key in spec else []
    return here + [name for each in spec.values() for name in named(each)]


@every_values
def test_selectors_find_pods_of_every_ray_cluster_of_the_release(values: Path | None) -> None:
    """`ray.io/cluster` changes at each upgrade; the operator's labels are as it sets them."""
    found = manifests(values)
    labels = {name: dict(pod["metadata"]["labels"]) for name, pod in pods(found).items()}
    for name, its in labels.items():
        kind = "head" if name == "head" else "worker" if name.startswith("worker-") else None
        its |= {"ray.io/is-ray-node": "yes", "ray.io/node-type": kind} if kind else {}
    for each in found:
        selector = each["spec"].get("podSelector") or each["spec"].get("selector") if "spec" in each else None
        if each["kind"] in ("NetworkPolicy", "PodDisruptionBudget", "PodMonitor", "Service", "Deployment"):
            wanted = selector.get("matchLabels", selector) if selector else {}
            assert "ray.io/cluster" not in yaml.safe_dump(each)
            assert any(wanted.items() <= its.items() for its in labels.values()), each["metadata"]["name"]
