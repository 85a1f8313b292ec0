"""Cards refuse what is misspelt or does not belong together, and shrink by merging deeply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import shared
from shared.catalog.card import EXTRAS, Card

BASE: dict[str, Any] = {
    "name": "some-model",
    "summary": "A model.",
    "tasks": ["semantic"],
    "label_space": "voc",
    "loader": "package.module:load",
    "network": {"class": "Net", "config": {"width": 64, "depths": [3, 4]}},
    "weights": {"source": "hub", "repo": "org/name"},
    "preprocess": {"resize": "short_side", "size": 512},
    "parameters": 5,
    "licence": "MIT",
}


def card(**changes: Any) -> Card:
    return Card.model_validate(BASE | changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sumary": "x"}, "sumary"),
        ({"preprocess": {"resize": "short_side", "sise": 3}}, "preprocess.sise"),
        ({"preprocess": {"resize": "stretch"}}, "preprocess.resize"),
        ({"preprocess": {"resize": "none", "align": "crop"}}, "preprocess.align"),
        ({"preprocess": {"resize": "none", "multiple_of": 0}}, "preprocess.multiple_of"),
        ({"preprocess": {"resize": "none", "buckets": [[64, -64]]}}, "preprocess.buckets.0.1"),
        ({"preprocess": {"resize": "none", "dense_buckets": [[0, 64]]}}, "preprocess.dense_buckets.0.0"),
        ({"preprocess": {"resize": "none", "dense_buckets": []}}, "preprocess.dense_buckets"),
        (
            {"preprocess": {"resize": "none", "multiple_of": 4, "dense_buckets": [[64, 64], [64, 130]]}},
            "64x130: sides must be multiples of 4 (multiple_of)",
        ),
        ({"weights": {"source": "web"}}, "weights"),
        ({"weights": {"source": "file", "path": "a.pt", "sha256": "abc"}}, "sha256"),
        ({"tasks": ["classification"]}, "tasks"),
        ({"tasks": []}, "tasks"),
        ({"label_space": ""}, "label_space is required"),
        ({"default_for": ["panoptic"]}, "default_for names a task"),
        ({"tasks": ["instance"], "dense_crf": {}}, "dense_crf is for semantic"),
        ({"dense_crf": {"appearance_rgb": 0}}, "dense_crf.appearance_rgb"),
        ({"dense_crf": {"appearance_xy": 1e-6}}, "dense_crf.appearance_xy"),
        ({"dense_crf": {"smoothness": 1e9}}, "dense_crf.smoothness"),
        (
            {"loader": "shared.models.adapters.street:load", "extras": {"dense_buckets": [[4, 4]]}},
            "dense_buckets: nobody",
        ),
        ({"name": "No Spaces"}, "name"),
        ({"loader": "os.system"}, "loader"),
        ({"engines": ["caffe"]}, "engines"),
        ({"figures": [{"metric": "mIoU", "value": 1.0, "on": "x"}]}, "source"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        card(**changes)
    told = " ".join([str(caught.value), *(".".join(map(str, error["loc"])) for error in caught.value.errors())])
    assert said in told


def test_roles_follow_the_tasks_without_repeats() -> None:
    assert card(tasks=["panoptic", "semantic"]).roles == ("panoptic", "semantic")
    assert card(tasks=["promptable"], label_space="").roles == ("encoder", "decoder")


def test_shrinking_merges_deeply_and_takes_random_weights() -> None:
    small = card(tiny={"network": {"config": {"width": 8}}, "preprocess": {"size": 32}}).shrunk()
    assert small.network == {"class": "Net", "config": {"width": 8, "depths": [3, 4]}}
    assert small.preprocess.size == 32
    assert small.preprocess.resize == "short_side"
    assert small.weights.source == "random"
    assert small.parameters == 0


def test_shrinking_may_name_its_own_weights() -> None:
    small = card(tiny={"weights": {"source": "file", "path": "tiny.pt"}}).shrunk()
    assert small.weights.model_dump() == {"source": "file", "path": "tiny.pt", "sha256": None}


def test_a_card_cannot_be_changed() -> None:
    fixed, field = card(), "name"
    with pytest.raises(ValidationError):
        setattr(fixed, field, "other")


def test_an_adapter_of_a_users_own_reads_what_it_likes() -> None:
    assert card(extras={"side": 96}).extras == {"side": 96}


@pytest.mark.parametrize("name", EXTRAS)
def test_what_a_card_may_tell_its_adapter_is_read_by_one(name: str) -> None:
    root = Path(shared.__file__).parent.parent
    sources = [path.read_text() for folder in ("shared/models", "services") for path in (root / folder).rglob("*.py")]
    assert any("extras" in source and f'"{name}"' in source for source in sources)
