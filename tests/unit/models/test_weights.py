"""Weights by card: every source gives the same tensors, and whatever is wrong names the card and what to do."""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from shared.catalog.card import Card
from shared.catalog.catalog import find_card
from shared.models.adapters import smp, torchvision_semantic
from shared.models.files import BUNDLED, WeightsError, digest
from shared.models.weights import TRANSFORMERS, Weighted, digest_tensors, load_network

SEGFORMER = find_card("segformer-b0-ade").shrunk()
LRASPP = find_card("lraspp-mobilenet-v3-large").shrunk()


def with_weights(card: Card, **weights: Any) -> Card:
    return Card.model_validate(card.model_dump() | {"weights": weights})


@pytest.fixture(scope="module")
def made() -> Weighted:
    """The network whose weights travel."""
    return load_network(SEGFORMER, TRANSFORMERS)


@pytest.fixture
def folder(made: Weighted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights folder with every kind of copy of it, on a machine without a hub."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    made_module: Any = made.module
    made_module.save_pretrained(tmp_path / "org" / "name")
    state = made.module.state_dict()
    save_file(state, tmp_path / "own.safetensors")
    torch.save(state, tmp_path / "own.pt")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "wrapped.pt")
    return tmp_path


@pytest.mark.parametrize(
    "weights",
    [
        {"source": "hub", "repo": "org/name"},
        {"source": "hub", "repo": "org/name", "filename": "model.safetensors"},
        {"source": "file", "path": "own.safetensors"},
        {"source": "file", "path": "own.pt"},
        {"source": "file", "path": "org/name/model.safetensors"},
    ],
    ids=str,
)
def test_every_source_gives_the_same_network(weights: Mapping[str, Any], folder: Path, made: Weighted) -> None:
    loaded = load_network(with_weights(SEGFORMER, **weights), TRANSFORMERS, folder)
    assert (loaded.sha256, loaded.parameters) == (made.sha256, made.parameters)
    assert not loaded.module.training
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded.module(pixel_values=image).logits, made.module(pixel_values=image).logits)


def test_a_wrapped_checkpoint_is_unwrapped(folder: Path, made: Weighted) -> None:
    card = with_weights(SEGFORMER, source="file", path="wrapped.pt")
    assert load_network(card, TRANSFORMERS, folder).sha256 == made.sha256


def test_absolute_places_need_no_weights_folder(folder: Path, made: Weighted) -> None:
    for weights in (
        {"source": "file", "path": str(folder / "own.pt")},
        {"source": "hub", "repo": str(folder / "org" / "name")},
    ):
        assert load_network(with_weights(SEGFORMER, **weights), TRANSFORMERS).sha256 == made.sha256


def test_random_weights_follow_the_seed_and_leave_the_generator_alone(made: Weighted) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    again = load_network(SEGFORMER, TRANSFORMERS)
    assert torch.equal(torch.rand(3), expected)
    assert again.sha256 == made.sha256
    assert load_network(with_weights(SEGFORMER, source="random", seed=1), TRANSFORMERS).sha256 != made.sha256


def test_the_digest_sees_every_tensor_and_name() -> None:
    one, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    other.load_state_dict(one.state_dict())
    assert digest_tensors(one) == digest_tensors(other)
    with torch.no_grad():
        other.bias[1] += 1e-6
    assert digest_tensors(one) != digest_tensors(other)
    assert digest_tensors(torch.nn.Sequential(one)) != digest_tensors(one)


def test_the_files_digest_is_checked(folder: Path, made: Weighted) -> None:
    right = digest(folder / "own.pt")
    card = with_weights(SEGFORMER, source="file", path="own.pt", sha256=right)
    assert load_network(card, TRANSFORMERS, folder).sha256 == made.sha256
    with pytest.raises(WeightsError, match=f"own.pt has sha256 {right}, the card says 0000"):
        load_network(with_weights(SEGFORMER, source="file", path="own.pt", sha256="0" * 64), TRANSFORMERS, folder)


def test_a_missing_file_says_where_it_was_looked_for(tmp_path: Path) -> None:
    card = with_weights(SEGFORMER, source="file", path="none.pt")
    with pytest.raises(WeightsError) as caught:
        load_network(card, TRANSFORMERS, tmp_path)
    for part in (card.name, str(tmp_path / "none.pt"), str(BUNDLED / "none.pt"), "SEGSERVE_WEIGHTS_DIR"):
        assert part in str(caught.value)


def test_a_missing_repository_says_what_to_do(folder: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        load_network(with_weights(SEGFORMER, source="hub", repo="org/other"), TRANSFORMERS, folder)
    for part in (SEGFORMER.name, "org/other at revision main", "HF_HOME", str(folder / "org" / "other")):
        assert part in str(caught.value)
    with pytest.raises(WeightsError, match="org/other at revision main cannot be loaded"):
        load_network(with_weights(SEGFORMER, source="hub", repo="org/other", filename="a.pt"), TRANSFORMERS, folder)


def test_a_card_that_differs_from_its_repository_is_logged(
    folder: Path, made: Weighted, caplog: pytest.LogCaptureFixture
) -> None:
    card = with_weights(SEGFORMER, source="hub", repo="org/name")
    with caplog.at_level(logging.WARNING, logger="shared.models.hub"):
        load_network(card, TRANSFORMERS, folder)
        assert not caplog.records
        config = card.network["config"] | {"hidden_dropout_prob": 0.25}
        other = card.model_copy(update={"network": {**card.network, "config": config}})
        assert load_network(other, TRANSFORMERS, folder).sha256 == made.sha256
    assert "network.config.hidden_dropout_prob differs" in caplog.text


def test_tensors_that_do_not_fit_are_named(folder: Path) -> None:
    state = load_file(folder / "own.safetensors")
    save_file({key: tensor for key, tensor in state.items() if "classifier" not in key}, folder / "less.safetensors")
    save_file(state | {"foreign": torch.zeros(1)}, folder / "more.safetensors")
    wide = state["decode_head.classifier.bias"]
    save_file(state | {"decode_head.classifier.bias": torch.cat([wide, wide])}, folder / "wide.safetensors")
    for name, said in (
        ("less", "2 missing, such as decode_head.classifier.bias"),
        ("more", "1 unknown, such as foreign"),
        ("wide", "1 of another shape, such as decode_head.classifier.bias"),
    ):
        with pytest.raises(WeightsError, match=re.escape(said)):
            load_network(with_weights(SEGFORMER, source="file", path=f"{name}.safetensors"), TRANSFORMERS, folder)


def test_torchvision_networks_are_as_strict_but_for_counters(tmp_path: Path) -> None:
    made = load_network(LRASPP, torchvision_semantic.LIBRARY)
    state = made.module.state_dict()
    save_file({key: tensor for key, tensor in state.items() if "num_batches" not in key}, tmp_path / "old.safetensors")
    save_file({key: tensor for key, tensor in state.items() if "scale" not in key}, tmp_path / "less.safetensors")
    old = with_weights(LRASPP, source="file", path="old.safetensors")
    assert load_network(old, torchvision_semantic.LIBRARY, tmp_path).sha256 == made.sha256
    with pytest.raises(WeightsError, match=r"1 missing, such as classifier\.scale\.1\.weight"):
        load_network(
            with_weights(LRASPP, source="file", path="less.safetensors"), torchvision_semantic.LIBRARY, tmp_path
        )


def no_network(*_: object, **__: object) -> None:
    raise OSError("no route to host")


def test_torchvision_weights_lie_in_the_weights_folder_or_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    card = find_card("lraspp-mobilenet-v3-large")
    with pytest.raises(WeightsError) as caught:
        load_network(card, torchvision_semantic.LIBRARY, tmp_path)
    for part in (card.name, "lraspp_mobilenet_v3_large-d234d4ea.pth", str(tmp_path)):
        assert part in str(caught.value)
    state = load_network(LRASPP, torchvision_semantic.LIBRARY).module.state_dict()
    torch.save(state, tmp_path / "lraspp_mobilenet_v3_large-d234d4ea.pth")
    assert load_network(card, torchvision_semantic.LIBRARY, tmp_path).parameters == card.parameters
    with pytest.raises(WeightsError, match=r"torchvision has no weights named No_Such\.ENTRY"):
        load_network(with_weights(LRASPP, source="hub", repo="torchvision:No_Such.ENTRY"), torchvision_semantic.LIBRARY)


def test_smp_repositories_are_read_by_their_own_loader(tmp_path: Path) -> None:
    card = find_card("deeplabv3plus-resnet50").shrunk()
    made = load_network(card, smp.LIBRARY)
    made_module: Any = made.module
    made_module.save_pretrained(tmp_path / "org" / "deeplab")
    hub = with_weights(card, source="hub", repo="org/deeplab")
    assert load_network(hub, smp.LIBRARY, tmp_path).sha256 == made.sha256
    other = Card.model_validate(hub.model_dump() | {"network": {**card.network, "class": "Unet"}})
    with pytest.raises(WeightsError, match=r"holds a DeepLabV3Plus, network\.class says Unet"):
        load_network(other, smp.LIBRARY, tmp_path)


def test_the_parameter_count_is_checked() -> None:
    with pytest.raises(WeightsError, match="parameters, the card says 5"):
        load_network(SEGFORMER.model_copy(update={"parameters": 5}), TRANSFORMERS)


def test_a_class_that_the_library_does_not_have_is_named() -> None:
    for card, library in ((SEGFORMER, TRANSFORMERS), (LRASPP, torchvision_semantic.LIBRARY)):
        wrong = Card.model_validate(card.model_dump() | {"network": {"class": "NoSuchNetwork"}})
        with pytest.raises(WeightsError, match=r"network\.class 'NoSuchNetwork' is no"):
            load_network(wrong, library)


class Harmful:
    """What a pickle can do to whoever opens it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("harmed"),)


def test_a_pickle_is_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Harmful()}, tmp_path / "bad.pt")
    (tmp_path / "worse.pt").write_bytes(pickle.dumps(Harmful()))
    (tmp_path / "text.safetensors").write_text("not weights at all")
    torch.save([1, 2, 3], tmp_path / "list.pt")
    for name, said in (
        ("bad.pt", "cannot be read as weights"),
        ("worse.pt", "cannot be read as weights"),
        ("text.safetensors", "cannot be read as weights"),
        ("list.pt", "does not hold a mapping of names to tensors"),
    ):
        with pytest.raises(WeightsError, match=re.escape(said)):
            load_network(with_weights(SEGFORMER, source="file", path=name), TRANSFORMERS, tmp_path)
    assert not (tmp_path / "harmed").exists()
