"""Card files in, cards by name out. Cards come from `cards/` beside this file and from folders that settings name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import yaml
from pydantic import ValidationError

from shared.catalog.card import Card

BUILT_IN = Path(__file__).parent / "cards"


class Yaml(yaml.CSafeLoader):
    """YAML whose only booleans are true and false: `on`, `off`, `yes`, `no` stay the words that they are."""


BOOLEAN = "tag:yaml.org,2002:bool"
Yaml.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != BOOLEAN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Yaml.add_implicit_resolver(BOOLEAN, re.compile("^(?:true|false)$"), ["t", "f"])


class CardError(ValueError):
    """A card cannot be read; the message names the file and the field."""


def read_card(path: Path) -> Card:
    """Read and check one card. Raises `CardError`."""
    try:
        card = Card.model_validate(yaml.load(path.read_text(encoding="utf-8"), Yaml))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise CardError(f"{path}: {error}") from error
    if card.name != path.stem:
        raise CardError(f"{path}: the card's name is {card.name}, its file must be {card.name}.yaml")
    return card


@cache
def built_in() -> tuple[Card, ...]:
    """Every card of the project, by name."""
    return tuple(read_card(path) for path in sorted(BUILT_IN.glob("*.yaml")))


def find_card(name: str, folders: Iterable[Path] = ()) -> Card:
    """The card of this name or `name@version`: from `folders` first, then the project's own. Raises `CardError`."""
    bare, _, version = name.partition("@")
    for folder in (*folders, BUILT_IN):
        path = folder / f"{bare}.yaml"
        if path.is_file():
            card = read_card(path)
            if version and card.version != version:
                raise CardError(f"{path}: the card has version {card.version}, not {version}")
            return card
    raise CardError(f"no card named {bare}; there are {', '.join(card.name for card in built_in())}")
