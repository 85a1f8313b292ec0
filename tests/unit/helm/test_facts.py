"""What the chart repeats of the project is what the project says; what it says is what pods need of it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import cluster, pod
from deploy.valkey import EmbeddedValkey
from services.gateway.deployment import OPTIONS
from shared.serving.replica import DEPLOYMENT_OPTIONS
from shared.settings import Settings
from tests.data import ROOT
from tests.unit.helm.rendering import CHART, EXAMPLES, manifests, of_kind, pods, ray_service

EXAMPLE = {path.stem: path for path in EXAMPLES}
COMPONENT = "app.kubernetes.io/component"
LOOPBACK_ONLY = {
    "RAY_AUTH_MODE",  # KubeRay sets it, and the token
    "RAY_AUTH_TOKEN_PATH",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER",
    "RAY_metrics_report_interval_ms",
    "REPORTER_UPDATE_INTERVAL_MS",
    "PYTHONPATH",  # the image sets it
    *cluster.AT_REST,
}
"""Variables of one machine's platform that a cluster does without."""


def test_ray_is_told_what_the_local_platform_tells_it() -> None:
    wanted = {name: value for name, value in cluster.environment(Path("token")).items() if name not in LOOPBACK_ONLY}
    found = pods(manifests())
    for name in ("head", "worker-cpu"):
        given = environment(found[name])
        assert {key: given.get(key) for key in wanted} == wanted
        assert given["SEGSERVE_NODE_PROBES"] == "true", "KubeRay's probe of a worker asks /-/healthz"


def environment(of: dict[str, Any]) -> dict[str, str | None]:
    """Name and value of each variable of a pod's first container."""
    return {each["name"]: each.get("value") for each in of["spec"]["containers"][0]["env"]}


@pytest.mark.parametrize(
    ("sets", "settings"),
    [((), Settings()), (("settings.request_timeout_s=900.5",), Settings(request_timeout_s=900.5))],
)
def test_serve_finds_haproxy_where_the_pod_prepared_it(sets: tuple[str, ...], settings: Settings) -> None:
    wanted = dict(pod.variables(Path("/tmp/segserve"), settings))
    wanted["RAY_SERVE_HAPROXY_NBTHREAD"] = "1"  # of this machine's cores
    found = pods(manifests(None, *sets))
    for name in ("head", "worker-cpu"):
        given = environment(found[name])
        assert {key: given.get(key) for key in wanted} == wanted
        (first, *_) = found[name]["spec"]["initContainers"]
        assert first["command"] == ["python", "-m", "deploy.pod", "/tmp/segserve"]
        own = environment({"spec": {"containers": [first]}})
        assert own == {key: value for key, value in given.items() if key not in wanted}
        assert {"name": "tmp", "mountPath": "/tmp"} in first["volumeMounts"]
        (port,) = (each for each in found["worker-cpu"]["spec"]["containers"][0]["ports"] if each["name"] == "serve")
        assert port["containerPort"] == pod.PORT


def test_serves_own_proxy_needs_none_of_it() -> None:
    found = pods(manifests(None, "transport=serve"))
    for name in ("head", "worker-cpu"):
        assert not [each for each in environment(found[name]) if "HAPROXY" in each or "HA_PROXY" in each]
        assert "initContainers" not in found[name]["spec"]


@pytest.mark.skipif(sys.platform != "linux", reason="HAProxy exists for Linux only")
def test_a_pod_prepares_a_wrapper_that_opens_its_door_to_all_and_serves_page_to_its_probe(tmp_path: Path) -> None:
    wrapper = pod.prepare(tmp_path / "segserve", Settings(node_probes=True, max_body_bytes=2048, max_upload_bytes=4096))
    assert wrapper.stat().st_mode & 0o777 == 0o700
    assert wrapper.parent.stat().st_mode & 0o777 == 0o700
    assert wrapper.read_text().splitlines()[-1].endswith(' 0.0.0.0 8000 2048 4096 1 -- "$@"')


def test_the_versions_are_those_that_are_pinned() -> None:
    pinned = re.search(r"(?m)^ray==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"))
    assert pinned
    assert ray_service(manifests())["spec"]["rayClusterConfig"]["rayVersion"] == pinned[1]
    ours = re.search(r'(?m)^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert ours
    assert chart["appVersion"] == ours[1]


def test_valkey_evicts_as_the_embedded_one_does(tmp_path: Path) -> None:
    (config,) = (
        each for each in of_kind("ConfigMap", manifests()) if each["metadata"]["name"] == "seg-segserve-valkey"
    )
    given = directives(config["data"]["valkey.conf"])
    with EmbeddedValkey(tmp_path) as embedded:
        wanted = directives(embedded._configuration())
    for name in ("port", "unixsocket", "unixsocketperm", "maxmemory"):
        wanted.pop(name)
    assert given.pop("port") == "6379"
    assert given.pop("maxmemory") == "1536mb"
    assert given == wanted


def directives(text: str) -> dict[str, str]:
    """Name and value of each line of a configuration."""
    lines = (line.strip() for line in text.splitlines())
    return dict(line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))


def test_rays_own_state_is_in_another_store_that_forgets_nothing() -> None:
    found = manifests(EXAMPLE["ingress"])
    (state,) = of_kind("StatefulSet", found)
    (config,) = (each for each in of_kind("ConfigMap", found) if each["metadata"]["name"] == state["metadata"]["name"])
    given = directives(config["data"]["valkey.conf"])
    assert (given["appendonly"], given["maxmemory-policy"], given["dir"]) == ("yes", "noeviction", "/data")
    options = ray_service(found)["spec"]["rayClusterConfig"]["gcsFaultToleranceOptions"]
    assert options["redisAddress"] == "redis://seg-segserve-gcs:6379"
    head = pods(found)["head"]["spec"]["containers"][0]
    store = {each["name"]: each.get("value") for each in head["env"]}["SEGSERVE_REDIS_URL"]
    assert store == "redis://:$(VALKEY_PASSWORD)@seg-segserve-valkey:6379/0"


def test_the_rules_and_the_scraping_are_those_of_deploy_prometheus() -> None:
    found = manifests(EXAMPLE["ingress"])
    rules = {each["metadata"]["name"].rpartition("-")[2]: each["spec"] for each in of_kind("PrometheusRule", found)}
    folder = ROOT / "deploy" / "prometheus"
    assert rules == {path.stem: yaml.safe_load(path.read_text()) for path in (folder / "rules").glob("*.yml")}
    (scrape,) = yaml.safe_load((folder / "prometheus.yml").read_text())["scrape_configs"]
    (monitor,) = of_kind("PodMonitor", found)
    ports = {port["name"] for port in pods(found)["head"]["spec"]["containers"][0]["ports"]}
    for endpoint in monitor["spec"]["podMetricsEndpoints"]:
        assert endpoint["port"] in ports
        assert endpoint["relabelings"] == [
            {"action": "replace", "targetLabel": "job", "replacement": scrape["job_name"]}
        ]
        assert endpoint["metricRelabelings"] == [
            {"sourceLabels" if key == "source_labels" else key: value for key, value in each.items()}
            for each in scrape["metric_relabel_configs"]
        ]


def test_the_boards_are_those_of_deploy_grafana_and_grafanas_sidecar_finds_them() -> None:
    given = [
        each for each in of_kind("ConfigMap", manifests(EXAMPLE["ingress"])) if "-board-" in each["metadata"]["name"]
    ]
    assert all(each["metadata"]["labels"]["grafana_dashboard"] == "1" for each in given)
    boards = {name: json.loads(text) for each in given for name, text in each["data"].items()}
    folder = ROOT / "deploy" / "grafana" / "dashboards"
    assert boards == {path.name: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
    assert len(boards) == 5


@pytest.mark.parametrize("options", [OPTIONS, DEPLOYMENT_OPTIONS], ids=["gateway", "models"])
def test_a_pod_outlives_its_replicas_shutdown_and_the_proxys_draining(options: dict[str, float]) -> None:
    draining_s = 30
    for name, found in pods(manifests()).items():
        if name.startswith(("head", "worker")):
            assert found["spec"]["terminationGracePeriodSeconds"] > options["graceful_shutdown_timeout_s"] + draining_s


def test_nothing_is_made_that_was_not_asked_for() -> None:
    kinds = {each["kind"] for each in manifests()}
    assert kinds.isdisjoint({"Ingress", "HTTPRoute", "PodMonitor", "PrometheusRule", "PersistentVolumeClaim", "Job"})
    assert of_kind("StatefulSet", manifests()) == []
    assert not ray_service(manifests())["spec"]["rayClusterConfig"].get("gcsFaultToleranceOptions")
    assert kinds >= {"RayService", "NetworkPolicy", "PodDisruptionBudget", "ServiceAccount", "Secret", "Deployment"}


def test_metrics_ports_are_open_to_monitoring_alone() -> None:
    (policy,) = (each for each in of_kind("NetworkPolicy", manifests()) if each["metadata"]["name"].endswith("-ray"))
    for rule in policy["spec"]["ingress"]:
        ports = {each["port"] for each in rule.get("ports", [])}
        if ports & {8080, 44217, 44227}:
            (peer,) = rule["from"]
            assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
        elif not ports:
            (peer,) = rule["from"]
            assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/instance"] == "seg"


def test_every_ray_pod_reaches_rays_state_since_kuberays_clearing_job_is_one_without_being_a_head() -> None:
    found = of_kind("NetworkPolicy", manifests(EXAMPLE["ingress"]))
    egress = {each["metadata"]["name"]: each["spec"].get("egress", []) for each in found}
    for name, rules in egress.items():
        peers = [peer for rule in rules for peer in rule.get("to", [])]
        components = {peer.get("podSelector", {}).get("matchLabels", {}).get(COMPONENT) for peer in peers}
        assert ("gcs" in components) == name.endswith("-ray"), name
