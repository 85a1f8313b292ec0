"""What the README names is there: files, modules, `make` targets, commands, and fields of settings, cards and YAML."""

from __future__ import annotations

import re
from importlib.util import find_spec

from pydantic import BaseModel

from shared.catalog.card import Preprocess
from shared.serving.args import ServiceArgs, UserConfig
from shared.settings import PREFIX, Settings
from tests.data import ROOT


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def named(pattern: str) -> set[str]:
    """What stands in this place somewhere in the README."""
    found = set(re.findall(pattern, text("README.md")))
    assert found, pattern
    return found


def test_files() -> None:
    assert [path for path in named(r"\]\((?!http)([^)#]+)\)") if not (ROOT / path).exists()] == []


def test_modules() -> None:
    assert [module for module in named(r"python\s+-m\s+([a-z_]+(?:\.[a-z_]+)*)") if not find_spec(module)] == []


def test_make_targets_and_their_variables() -> None:
    makefile = text("Makefile")
    assert named(r"`(?:PORT=9000 )?make ([a-z-]+)") <= set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))
    assert named(r"(?<![A-Z_])([A-Z]+)=") <= set(re.findall(r"\$\((?:if \$\()?([A-Z]+)\)", makefile))


def test_commands() -> None:
    assert named(r"segserve ([a-z]+)") <= set(re.findall(r'add_parser\("([a-z]+)"', text("services/cli.py")))


def test_fields() -> None:
    kinds: dict[str, type[BaseModel]] = {"args": ServiceArgs, "user_config": UserConfig, "preprocess": Preprocess}
    for kind, model in kinds.items():
        assert named(rf"`{kind}\.([a-z_]+)`") <= set(model.model_fields), kind
    assert named(rf"{PREFIX}([A-Z_]+)") <= {field.upper() for field in Settings.model_fields}
