"""Training that begins from bundled weights answers as they do before its first step; arithmetic suits the device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from shared.models.networks.street import StreetNet, normalise
from shared.models.networks.street_weights import build, save_street
from shared.models.training import precision
from shared.models.training.augment import Recipe
from shared.models.training.data import Split, read_split
from shared.models.training.dense import DENSE_BUDGET, DenseLoop
from shared.models.training.prompt import PROMPT_BUDGET, PromptLoop, PromptRecipe
from shared.models.training.warm_start import bundled_half, unfold
from tests.unit.models.test_training_data import write_split

NOW = 1e-6


@pytest.fixture
def split(tmp_path: Path) -> Split:
    write_split(tmp_path / "data", 2, (96, 128))
    return read_split(tmp_path / "data", "train")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "street.safetensors"
    street = build()
    for net in street:
        for name, parameter in net.named_parameters():
            if name.endswith("bias"):
                parameter.data.uniform_(-0.5, 0.5)
    save_street(street, path, {})
    return path


def test_the_dense_half_goes_on_where_the_bundle_ended(tmp_path: Path, split: Split, bundle: Path) -> None:
    street = build()
    street.dense.load_state_dict(bundled_half(bundle, "dense"))
    loop = DenseLoop(split, None, tmp_path, replace(DENSE_BUDGET, minutes=NOW), start=bundle)
    x = normalise(split.photos.float())
    with torch.no_grad():
        for got, expected in zip(loop.net.eval()(x), street.dense(x), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    norm = loop.net.encoder.stem[1]
    assert isinstance(norm, torch.nn.BatchNorm2d)
    assert norm.weight.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(norm.running_var, loop.net.encoder.stem[0](x).var((0, 2, 3)))


def test_the_decoder_goes_on_too(tmp_path: Path, split: Split, bundle: Path) -> None:
    crops = Recipe(sizes=((64, 96),), paste=0.0)
    recipe = PromptRecipe(crops=crops, photos=2, objects=2, full=crops, full_photos=2)
    street = build()
    street.decoder.load_state_dict(bundled_half(bundle, "decoder"))
    loop = PromptLoop(StreetNet(), split, None, tmp_path, replace(PROMPT_BUDGET, minutes=NOW), recipe, start=bundle)
    embedding, prompts = torch.randn(1, 80, 16, 24), torch.rand(2, 6, 16, 24)
    with torch.no_grad():
        for got, expected in zip(loop.net.eval()(embedding, prompts), street.decoder(embedding, prompts), strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(RuntimeError, match="no place for"):
        unfold(StreetNet(), {"elsewhere.weight": torch.zeros(1)}, lambda: None)


@pytest.mark.parametrize(
    ("computes", "wanted", "dtype"),
    [(True, True, torch.bfloat16), (False, True, torch.float32), (True, False, torch.float32)],
)
def test_bfloat16_only_where_it_is_computed(
    monkeypatch: pytest.MonkeyPatch, computes: bool, wanted: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(precision, "computes_bfloat16", lambda device: computes)
    with precision.mixed(torch.device("cpu"), wanted):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
