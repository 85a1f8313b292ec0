"""Every card: it can be shrunk, its label space exists, its network has the parameters it says, its weights travel."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from shared.catalog.card import Card, FileWeights
from shared.catalog.catalog import BUILT_IN, built_in, find_card
from shared.labels import label_spaces
from shared.models.weights import count_parameters, digest_of, digest_tensors, load_network
from tests.contract.tiny import distinct, library_of

CARDS = built_in()
NAMES = [card.name for card in CARDS]
SHRUNK = [card for card in distinct(CARDS) if card.tiny]


@pytest.mark.parametrize("card", CARDS, ids=NAMES)
def test_the_card_is_complete(card: Card) -> None:
    assert find_card(card.name) == card
    assert card.parameters > 0
    assert card.licence
    assert card.summary.endswith(".")
    assert card.label_space in (*label_spaces(), "")
    assert card.tiny or isinstance(card.weights, FileWeights), "a large network needs a tiny form for tests"
    assert card.shrunk().roles == card.roles
    assert all(figure.source for figure in card.figures)


@pytest.mark.parametrize("card", [card for card in CARDS if card.tiny], ids=[card.name for card in CARDS if card.tiny])
def test_the_network_has_the_parameters_that_the_card_says(card: Card) -> None:
    with torch.device("meta"):
        network = library_of(card).build(card)
    assert count_parameters(network) == card.parameters


@pytest.mark.parametrize("card", SHRUNK, ids=[card.name for card in SHRUNK])
def test_weights_survive_a_file(card: Card, tmp_path: Path) -> None:
    tiny, library = card.shrunk(), library_of(card)
    made = load_network(tiny, library)
    tensors = {key: tensor.clone() for key, tensor in made.module.state_dict().items()}
    save_file(tensors, tmp_path / "tiny.safetensors")
    read = load_network(tiny.model_copy(update={"weights": FileWeights(path="tiny.safetensors")}), library, tmp_path)
    assert read.sha256 == made.sha256 == digest_of(digest_tensors(made.module))
    assert read.parameters == made.parameters


def test_no_two_cards_are_the_default_of_one_task() -> None:
    defaults = [task for card in CARDS for task in card.default_for]
    assert len(set(defaults)) == len(defaults)


def test_every_file_among_the_cards_is_a_card() -> None:
    assert sorted(path.stem for path in BUILT_IN.iterdir()) == sorted(NAMES)
