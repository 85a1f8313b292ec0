"""Every card of the catalog, shrunk, loaded once a role; whoever adds a card adds its tests by that alone."""

from __future__ import annotations

from typing import Any

import pytest

from shared.catalog.card import Card
from shared.catalog.catalog import built_in
from shared.protocols import LoadedModels
from tests.contract.tiny import distinct, load_tiny, with_one_thread


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A class with a `role` is run for each card that has it."""
    role = getattr(metafunc.cls, "role", None)
    if role is not None and "card" in metafunc.fixturenames:
        cards = distinct(card for card in built_in() if role in card.roles)
        metafunc.parametrize("card", cards, ids=[card.name for card in cards], scope="class")


one_thread = pytest.fixture(scope="session", autouse=True)(with_one_thread)


@pytest.fixture(scope="class")
def loaded(card: Card, request: pytest.FixtureRequest) -> LoadedModels:
    """The shrunk card's models for the class's role."""
    return load_tiny(card, request.cls.role)


@pytest.fixture(scope="class")
def model(loaded: LoadedModels, request: pytest.FixtureRequest) -> Any:
    """The model of the class's role."""
    return loaded.roles[request.cls.role]


@pytest.fixture(scope="class")
def answers(card: Card, model: Any, request: pytest.FixtureRequest) -> list[Any]:
    """What the model says of all items of its contract together."""
    found: list[Any] = model.predict(request.cls().items(card))
    return found
