"""Cards from files: YAML read as it is meant, own folders before built-in ones, errors that name the file."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
import yaml

from shared.catalog.card import Card
from shared.catalog.catalog import BUILT_IN, CardError, built_in, find_card, read_card
from shared.catalog.loading import LoadOptions, load, resolve_loader
from shared.protocols import LoadedModels

SEGFORMER = "segformer-b0-ade"


def written(folder: Path, name: str = "mine", **changes: object) -> Path:
    data = find_card(SEGFORMER).model_dump(mode="json") | {"name": name} | changes
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def test_built_in_cards_are_found_by_name() -> None:
    assert find_card(SEGFORMER) in built_in()
    with pytest.raises(CardError, match=rf"no card named nothing; there are .*{SEGFORMER}"):
        find_card("nothing")


def test_own_folders_win(tmp_path: Path) -> None:
    written(tmp_path, SEGFORMER, summary="Mine.")
    written(tmp_path)
    assert find_card(SEGFORMER, [tmp_path]).summary == "Mine."
    assert find_card("mine", [tmp_path]).name == "mine"
    assert find_card("street", [tmp_path]).name == "street"


def test_versions_are_checked() -> None:
    assert find_card(f"{SEGFORMER}@1").version == "1"
    with pytest.raises(CardError, match="has version 1, not 2"):
        find_card(f"{SEGFORMER}@2")


def test_on_is_a_word_and_not_a_boolean(tmp_path: Path) -> None:
    path = written(tmp_path)
    text = path.read_text(encoding="utf-8").replace("'on':", "on:")
    assert "\n  on: " in text
    path.write_text(text, encoding="utf-8")
    assert read_card(path).figures == find_card(SEGFORMER).figures
    path.write_text(text.replace("text_prompts: false", "text_prompts: yes"), encoding="utf-8")
    assert read_card(path).text_prompts is True, "pydantic reads the word"


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    for content, said in (
        ("name: [", "broken.yaml"),
        ("- a\n- b\n", "broken.yaml"),
        ("name: broken\ncolour: red\n", "colour"),
    ):
        path = tmp_path / "broken.yaml"
        path.write_text(content, encoding="utf-8")
        with pytest.raises(CardError, match=said):
            read_card(path)
    with pytest.raises(CardError, match=r"missing\.yaml"):
        read_card(tmp_path / "missing.yaml")


def test_a_file_is_named_like_its_card(tmp_path: Path) -> None:
    path = written(tmp_path).rename(tmp_path / "other.yaml")
    with pytest.raises(CardError, match=r"the card's name is mine, its file must be mine\.yaml"):
        read_card(path)


def test_yaml_builds_no_objects(tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text("name: !!python/object/apply:os.getcwd []\n", encoding="utf-8")
    with pytest.raises(CardError, match="could not determine a constructor"):
        read_card(path)


def test_loading_asks_for_roles_that_the_card_has() -> None:
    with pytest.raises(ValueError, match=rf"card {SEGFORMER} has roles .*, not \['instance'\]"):
        load(find_card(SEGFORMER), LoadOptions(roles=("instance",)))


def given(card: Card, options: LoadOptions) -> LoadedModels:
    """A loader of this test's."""
    return LoadedModels({}, card.name, options.engine, "", 0)


def test_the_loader_is_the_function_that_the_card_names() -> None:
    card = find_card(SEGFORMER).model_copy(update={"loader": f"{__name__}:given"})
    assert resolve_loader(card) is not None
    assert load(card, LoadOptions(roles=("semantic",), engine="torch")).weights_sha256 == SEGFORMER
    for loader, error in (("no.such.module:load", ImportError), (f"{__name__}:absent", AttributeError)):
        with pytest.raises(error, match=r"no|absent"):
            resolve_loader(card.model_copy(update={"loader": loader}))


@pytest.mark.parametrize(("threads", "in_flight", "of_opencv"), [(1, 1, 1), (2, 2, 1), (2, 1, 3), (0, 1, 3)], ids=str)
def test_opencv_has_one_thread_where_each_pass_has_one(threads: int, in_flight: int, of_opencv: int) -> None:
    card = find_card(SEGFORMER).model_copy(update={"loader": f"{__name__}:given"})
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(3)
        load(card, LoadOptions(roles=("semantic",), engine="torch", threads=threads, in_flight=in_flight))
        assert cv2.getNumThreads() == of_opencv
    finally:
        cv2.setNumThreads(before)


def test_only_yaml_lies_among_the_cards() -> None:
    assert {path.suffix for path in BUILT_IN.iterdir()} == {".yaml"}
