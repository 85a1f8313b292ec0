"""A Serve YAML in, its checked form out; or one line that names the file, the field and the value at fault."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from ray.serve.schema import ServeDeploySchema

from deploy.progress import Failed

SHOWN_CHARACTERS = 60
"""How much of a wrong value is repeated."""
_KINDS = {
    "model_type": "should be a mapping",
    "dict_type": "should be a mapping",
    "list_type": "should be a list",
    "int_parsing": "should be an integer",
}
"""Our words for what pydantic says of kinds."""


def read_config(path: Path) -> ServeDeploySchema:
    """Raises `Failed` naming the file and what is wrong with it."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Failed(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Failed(f"{path}: no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        what = "is empty" if data is None else f"holds {_shown(data)}"
        raise Failed(f"{path}: {what}; a Serve YAML is a mapping with the key `applications`")
    if data.get("applications") == []:
        raise Failed(f"{path}: applications: at least one, not an empty list")
    try:
        return ServeDeploySchema.model_validate(data)
    except ValidationError as error:
        raise Failed(f"{path}: {problems(error, data)}") from None


def problems(error: ValidationError, data: Any) -> str:
    """Each field of `data` at fault with what is wrong and its value, in one line."""
    found: dict[str, str] = {}
    for each in error.errors(include_url=False):
        reason = _KINDS.get(each["type"]) or each["msg"].removeprefix("Value error, ").removeprefix("Input ")
        if each["type"] == "missing":
            told = "is missing"
        elif each["type"] == "extra_forbidden":
            told = "there is no such field"
        else:
            told = f"{reason[:1].lower()}{reason[1:]}, not {_shown(each['input'])}"
        # Of a field that may be several kinds of things, the first kind's complaint says enough.
        found.setdefault(_place(each["loc"], data, missing=each["type"] == "missing"), told)
    return "; ".join(f"{place}: {told}" if place else told for place, told in found.items())


def _place(location: Iterable[int | str], data: Any, *, missing: bool) -> str:
    """The field as it stands in the YAML; pydantic's location goes on with the kind of thing that it tried."""
    text = ""
    for step in location:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            if text and not (missing and isinstance(data, dict)):
                break
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "a mapping" if isinstance(value, dict) else repr(value)[:SHOWN_CHARACTERS]
