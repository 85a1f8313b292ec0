"""A Serve YAML into built applications, and Serve's failures into one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deploy.applications import Prepared, last_error
from deploy.progress import Failed
from tests.data import ROOT
from tests.integration.trivial.platform import HERE


def test_applications_are_built_with_the_options_of_the_yaml() -> None:
    prepared = Prepared.read(HERE / "serve.yaml")
    found = {
        (application.name, deployment.name): deployment
        for application in prepared.applications
        for deployment in application.deployments
    }
    assert set(found) == {
        ("gateway", "Gateway"),
        ("bright", "Semantic"),
        ("mean", "Encoder"),
        ("mean", "Decoder"),
    }
    assert found["bright", "Semantic"].user_config == {"max_batch": 8}
    assert found["mean", "Decoder"].num_replicas == 2
    assert {application.route_prefix for application in prepared.applications} == {"/", None}


def test_what_an_application_needs_around_it_reaches_each_of_its_replicas(tmp_path: Path) -> None:
    config = yaml.safe_load((HERE / "serve.yaml").read_text())
    mean = next(each for each in config["applications"] if each["name"] == "mean")
    mean["runtime_env"] = {"env_vars": {"A": "1", "B": "1"}}
    mean["deployments"][0].setdefault("ray_actor_options", {})["runtime_env"] = {"env_vars": {"B": "2"}}
    path = tmp_path / "serve.yaml"
    path.write_text(yaml.safe_dump(config))
    applications = {each.name: each for each in Prepared.read(path).applications}
    found = {each.name: (each.ray_actor_options or {}).get("runtime_env") for each in applications["mean"].deployments}
    named = mean["deployments"][0]["name"]
    assert found.pop(named) == {"env_vars": {"A": "1", "B": "2"}}
    assert list(found.values()) == [{"env_vars": {"A": "1", "B": "1"}}]
    assert all("runtime_env" not in (each.ray_actor_options or {}) for each in applications["bright"].deployments)


def test_the_fused_layout_is_one_application_at_the_root() -> None:
    (only,) = Prepared.read(ROOT / "deploy" / "serve.fused.yaml").applications
    assert (only.route_prefix, [each.name for each in only.deployments]) == ("/", ["Fused"])


@pytest.mark.parametrize(
    ("name", "applications"),
    [
        ("serve.yaml", {"gateway", "street", "promptable"}),
        ("serve.gpu.yaml", {"gateway", "street", "promptable"}),
    ],
)
def test_the_files_that_we_ship_can_be_built(name: str, applications: set[str]) -> None:
    prepared = Prepared.read(ROOT / "deploy" / name)
    assert {application.name for application in prepared.applications} == applications


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"import_path": "services.semantic.nothing:build"}, "application bright: No module named"),
        ({"args": {"model": "bright", "thraeds": 2}}, "thraeds"),
        ({"deployments": [{"name": "Semantics"}]}, "no deployment named Semantics"),
        ({"deployments": [{"name": "Semantic", "user_config": {"max_batch": 0}}]}, "max_batch"),
    ],
)
def test_what_cannot_be_built_is_named(tmp_path: Path, change: dict[str, object], said: str) -> None:
    config = yaml.safe_load((HERE / "one.yaml").read_text())
    config["applications"][1].update(change)
    path = tmp_path / "serve.yaml"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(Failed) as caught:
        Prepared.read(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_of_a_traceback_only_what_went_wrong_is_shown() -> None:
    frame = '  File "a.py", line 1, in f\n    g()\n    ^^^\n'
    text = f"It failed:\nTraceback (most recent call last):\n{frame}ValueError: no\n"
    assert last_error(text) == "ValueError: no"
    assert last_error("no replica fits") == "no replica fits"
