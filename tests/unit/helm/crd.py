"""KubeRay's definition of a RayService in, a JSON schema out that refuses unknown keys, as it prunes them."""

from __future__ import annotations

import gzip
from functools import cache
from typing import Any

import jsonschema
import pytest
import yaml

from tests.data import SHARED

PATH = SHARED / "kuberay" / "ray.io_rayservices-1.7.0.yaml.gz"


@cache
def ray_service_validator() -> jsonschema.Draft7Validator:
    """Of `ray.io/v1`; skips where the definition does not lie beside the project."""
    if not PATH.is_file():
        pytest.skip("KubeRay's definition of a RayService is not on this machine")
    definition = yaml.load(gzip.decompress(PATH.read_bytes()), yaml.CSafeLoader)
    (version,) = (each for each in definition["spec"]["versions"] if each["name"] == "v1")
    found: dict[str, Any] = strict(version["schema"]["openAPIV3Schema"])
    found["properties"]["metadata"] = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 47}}}
    return jsonschema.Draft7Validator(found)


def strict(schema: Any) -> Any:
    """The same with unknown keys refused, and without what has a default among what is required."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    if found.pop("x-kubernetes-int-or-string", False):
        return {"type": ["integer", "string"]}
    properties = found.get("properties")
    if isinstance(properties, dict) and found.get("type") == "object":
        if not found.get("x-kubernetes-preserve-unknown-fields"):
            found.setdefault("additionalProperties", False)
        found["required"] = [name for name in found.get("required", []) if "default" not in properties.get(name, {})]
    return found
