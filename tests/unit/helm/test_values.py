"""Wrong values are refused before anything is installed, and the message names the value."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from shared.serving.args import ServiceArgs, UserConfig
from shared.settings import Settings
from tests.unit.helm.rendering import CHART, refused

MODEL = '{"name": "a", "service": "%s", "args": {"model": "street"%s}%s}'


@pytest.mark.parametrize("major", [3, 4])
@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ("gateway.replicsa=2", ("gateway", "replicsa")),
        ("gateway.replicas=0", ("gateway", "replicas")),
        ("gatway={}", ("gatway",)),
        ("models=[]", ("models",)),
        ("models=[" + MODEL % ("semantic", ', "thraeds": 2', "") + "]", ("models", "args", "thraeds")),
        ("models=[" + MODEL % ("semantic", ', "precision": "fp8"', "") + "]", ("models", "precision")),
        ("models=[" + MODEL % ("detection", "", "") + "]", ("models", "service")),
        ("models=[" + MODEL % ("promptable", "", ', "replicas": 2') + "]", ("models", "replicas")),
        ("models=[" + MODEL % ("instance", "", ', "encoder": {}') + "]", ("models", "encoder")),
        ('models=[{"name": "a", "service": "semantic", "args": {}}]', ("models", "args", "model")),
        ('settings={"max_pixel": "5"}', ("settings", "max_pixel")),
        ('image={"pullPolicy": "Sometimes"}', ("image", "pullPolicy")),
        ('auth={"keys": [{"sha256": "secret", "tenant": "a"}]}', ("auth", "keys", "sha256")),
        ("upgrade.deletionDelaySeconds=60", ("upgrade", "deletionDelaySeconds")),
        ('fullnameOverride="' + 41 * "x" + '"', ("fullnameOverride",)),
        ('settings={"redis_url": "redis://:pw@x"}', ("settings.redis_url: the chart sets it",)),
        ("valkey.enabled=false", ("externalRedis.existingSecret",)),
        ('ingress={"enabled": true, "hosts": ["a.example"]}', ("auth: an Ingress", "auth.keys")),
        ("models=[" + ", ".join([MODEL % ("semantic", "", "")] * 2) + "]", ("models: a: the name is taken",)),
        ("models=[" + MODEL % ("semantic", "", ', "resources": {"gpus": 1}') + "]", ("no workerGroup has any",)),
        ("models=[" + MODEL % ("fused", "", "") + "]", ("it must be the only entry",)),
        ("gateway.enabled=false", ("without a gateway",)),
        (
            "models=[" + MODEL % ("semantic", "", ', "autoscaling": {"minReplicas": 3, "maxReplicas": 2}') + "]",
            ("models: a.autoscaling: minReplicas (3) is above maxReplicas (2)",),
        ),
        ('upgrade.strategy="NewClusterWithIncrementalUpgrade"', ("needs gatewayClassName",)),
        (
            'upgrade={"strategy": "NewClusterWithIncrementalUpgrade", "gatewayClassName": "a"};httpRoute.enabled=true'
            ";auth.anonymous=true",
            ("switch ingress and httpRoute off",),
        ),
        ('gcsFaultTolerance={"enabled": true, "externalAddress": "a:1"}', ("gcsFaultTolerance.existingSecret",)),
    ],
)
def test_a_wrong_value_is_named(sets: str, said: tuple[str, ...], major: int) -> None:
    told = refused(*sets.split(";"), major=major)
    assert [each for each in said if each not in told] == []


def schema() -> dict[str, Any]:
    """The chart's."""
    found: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    return found


def test_the_schema_knows_exactly_what_the_code_takes() -> None:
    definitions, settings = schema()["definitions"], schema()["properties"]["settings"]
    for name, given, model in (
        ("definitions.args", definitions["args"], ServiceArgs),
        ("definitions.userConfig", definitions["userConfig"], UserConfig),
        ("properties.settings", settings, Settings),
    ):
        known = given["properties"].keys()
        assert known == model.model_fields.keys(), f"edit {name} of helm/segserve/values.schema.json"
    for name, model in (("args", ServiceArgs), ("userConfig", UserConfig)):
        ours, code = definitions[name]["properties"], model.model_json_schema()["properties"]
        for field, kind in code.items():
            assert choices(ours[field]) == choices(kind), field
            assert limits(ours[field]) == limits(kind), field


def choices(kind: Any) -> set[str]:
    """Every word that a field may be."""
    if isinstance(kind, list):
        return {each for part in kind for each in choices(part)}
    if not isinstance(kind, dict):
        return set()
    here = set(kind.get("enum", ())) | ({kind["const"]} if "const" in kind else set())
    return here | {each for part in kind.values() for each in choices(part)}


def limits(kind: Any) -> set[tuple[str, float]]:
    """Every bound of a number."""
    kinds = [kind, *kind.get("anyOf", ())]
    return {(bound, each[bound]) for each in kinds for bound in ("minimum", "maximum") if bound in each}


def test_every_value_has_its_type_and_its_line() -> None:
    """Every object of the schema but Kubernetes' own is closed, and everything in values.yaml is in the schema."""
    properties = schema()["properties"]
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert values.keys() <= properties.keys()
    assert properties.keys() - values.keys() == {"global"}
    for name, value in values.items():
        if value and isinstance(value, dict) and properties[name].get("additionalProperties") is False:
            assert value.keys() == properties[name]["properties"].keys(), name
