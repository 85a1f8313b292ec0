"""The stages by the command line: a teacher is learnt from, steps can be left out, batches drawn ahead arrive in order
or with what went wrong.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from shared.models.networks.street import StreetConfig
from shared.models.training import __main__ as command
from shared.models.training import teacher as teachers
from shared.models.training.ahead import Ahead, tensors
from shared.models.training.augment import FULL_RESOLUTION, Recipe
from shared.models.training.dense import DenseRecipe
from shared.models.training.loop import load_checkpoint
from tests.unit.models.test_training_data import write_split

TINY = StreetConfig(stem=8, widths=(8, 8, 8, 8), depths=(1, 1, 1, 1), pyramid=(64, 8, 8), context=8, detail=4)
RECIPE = DenseRecipe(
    crops=Recipe(sizes=((64, 96),)), crop_batch=2, full=Recipe(sizes=((96, 64),)), full_batch=2, lovasz_from=0.0
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_split(tmp_path / "data", 3, (96, 128))
    shutil.copytree(tmp_path / "data/train", tmp_path / "data/val")
    return tmp_path / "data"


def test_a_teacher_in_the_folder_is_learnt_from(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (command, teachers):
        monkeypatch.setattr(module, "TEACHER", TINY)
    monkeypatch.setattr(command, "DenseRecipe", lambda: RECIPE)
    arguments = ["--data", str(data), "--out", str(tmp_path / "out"), "--minutes", "0.00001", "--threads", "1"]
    command.main([*arguments, "--stage", "teacher"])
    command.main([*arguments, "--stage", "dense"])
    assert load_checkpoint(tmp_path / "out/dense.pt")["curve"][-1]["loss"]["teacher"] > 0
    final = load_checkpoint(tmp_path / "out" / command.FINAL)
    assert len(final["offsets"]) == 11
    command.main([*arguments, "--stage", "dense", "--without", "teacher", "balance"])
    assert "teacher" not in load_checkpoint(tmp_path / "out/dense.pt")["curve"][-1]["loss"]
    assert load_checkpoint(tmp_path / "out" / command.FINAL)["offsets"] == []


def test_the_same_steps_from_the_same_seed_give_the_same_weights(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "DenseRecipe", lambda: RECIPE)

    def weights(out: str, seed: int) -> dict[str, torch.Tensor]:
        arguments = ["--data", str(data), "--out", str(tmp_path / out), "--threads", "1", "--steps", "3"]
        for stage in ("dense", "prompt"):
            command.main([*arguments, "--stage", stage, "--seed", str(seed)])
        assert load_checkpoint(tmp_path / out / "dense.pt")["steps"] == 3
        found: dict[str, torch.Tensor] = load_checkpoint(tmp_path / out / "prompt.pt")["net"]
        return found

    first, again, other = weights("first", 0), weights("again", 0), weights("other", 1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["--steps", "0", "--stage", "dense"], "--steps"),
        (["--steps", "5"], "--steps"),
        (["--minutes", "-1"], "--minutes"),
        (["--minutes", "0"], "--minutes"),
        (["--minutes", "nan"], "--minutes"),
    ],
)
def test_a_budget_that_cannot_be_spent_is_refused(
    wrong: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command.parse(["--data", "d", "--out", "o", *wrong])
    assert told in capsys.readouterr().err


def test_class_weights_and_mining_fade_unless_they_are_told_to_stay() -> None:
    recipe = DenseRecipe()
    assert [recipe.unevenness(p) for p in (0.0, 0.39, recipe.full_from, 1.0)] == [1, 1, 0, 0]
    assert recipe.unevenness((recipe.even_from + recipe.full_from) / 2) == pytest.approx(0.5)
    kept = command.without(recipe, ["fading", "cutmix"])
    assert [kept.unevenness(p) for p in (0.0, 1.0)] == [1, 1]
    assert kept.crops.cutmix == kept.full.cutmix == 0 < FULL_RESOLUTION.cutmix


def test_what_was_drawn_arrives_and_what_went_wrong_does_too() -> None:
    drawn = iter([(torch.ones(1), (torch.zeros(2), "a word"))])
    ahead = Ahead(lambda: next(drawn), torch.device("cpu"))
    found = ahead.next()
    assert [len(tensor) for tensor in tensors(found)] == [1, 2]
    with pytest.raises(StopIteration):
        ahead.next()
    ahead.close()
