"""The wall-time loop, resuming, simulated users, and the whole training from files to exportable weights, in
seconds.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from shared.models.networks.street import StreetNet
from shared.models.networks.street_weights import build
from shared.models.training.amend import amended
from shared.models.training.augment import Recipe
from shared.models.training.data import read_split
from shared.models.training.dense import DENSE_BUDGET, DenseLoop, DenseRecipe
from shared.models.training.ema import Average
from shared.models.training.loop import (
    Budget,
    TimedLoop,
    learning_rate,
    load_checkpoint,
    random_state,
    save_atomically,
    set_random_state,
)
from shared.models.training.prompt import PROMPT_BUDGET, PromptLoop, PromptRecipe
from shared.models.training.prompts import Interaction, cores, jitter_box, largest_piece
from shared.models.training.report import report
from shared.models.training.tricks import Mirrored, learning_curve, tricks
from shared.models.training.validate import calibrate, confusion, scores, validate_semantic
from shared.models.training.validate_prompts import validate_prompts
from tests.unit.models.test_training_data import write_split


class Quadratic(TimedLoop[nn.Linear]):
    """Learns to give two; every step takes no time of its own."""

    name = "quadratic"

    def losses(self, progress: float) -> dict[str, torch.Tensor]:
        loss = (self.net(torch.ones(1, 1)) - 2).square().sum()
        torch.autograd.backward(loss)
        return {"square": loss.detach()}

    def measure(self) -> dict[str, Any]:
        return {"answer": float(self.average.net(torch.ones(1, 1)))}


def test_the_rate_warms_up_and_falls() -> None:
    budget = Budget(minutes=1, rate=1.0, warm_up=0.1)
    rates = [learning_rate(p, budget) for p in np.linspace(0, 1, 101)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == pytest.approx(1.0, abs=1e-6)
    assert rates[-1] == pytest.approx(0.01)
    assert all(a >= b for a, b in pairwise(rates[10:]))


def test_it_ends_on_time_and_resumes_where_it_was(tmp_path: Path) -> None:
    budget = Budget(minutes=1 / 60, rate=0.05, save_every=0.2 / 60, measure_every=0.3 / 60, average=0.9)
    loop = Quadratic(nn.Linear(1, 1), tmp_path, budget)
    loop.run()
    assert 1.0 <= loop.seconds < 1.6
    assert json.loads((tmp_path / "quadratic_curve.json").read_text()) == loop.curve
    assert abs(loop.curve[-1]["answer"] - 2) < 0.1
    again = Quadratic(nn.Linear(1, 1), tmp_path, replace(budget, minutes=1.5 / 60), resume=True)
    assert (again.steps, again.seconds) == (loop.steps, loop.seconds)
    assert torch.equal(again.net.weight, loop.net.weight)
    again.run()
    assert again.steps > loop.steps
    assert load_checkpoint(tmp_path / "quadratic.pt")["steps"] == again.steps


def test_a_budget_of_steps_is_kept_to_the_step_and_resumes(tmp_path: Path) -> None:
    budget = Budget(minutes=1e-9, rate=0.05, steps=40, average=0.9)
    whole = Quadratic(nn.Linear(1, 1), tmp_path / "whole", budget)
    first = Quadratic(nn.Linear(1, 1), tmp_path / "half", replace(budget, steps=30))
    first.net.load_state_dict(whole.net.state_dict())
    whole.run()
    assert (whole.steps, whole.spent) == (40, 1.0)
    first.run()
    second = Quadratic(nn.Linear(1, 1), tmp_path / "half", budget, resume=True)
    assert second.spent == 0.75
    second.run()
    assert second.steps == 40


def test_a_finished_run_that_is_resumed_changes_nothing(tmp_path: Path) -> None:
    budget = Budget(minutes=1e-9, rate=0.05, steps=5, average=0.9)
    Quadratic(nn.Linear(1, 1), tmp_path, budget).run()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert before.keys() == {"quadratic.pt", "quadratic_curve.json"}
    again = Quadratic(nn.Linear(1, 1), tmp_path, budget, resume=True)
    again.run()
    assert len(again.curve) == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_run_whose_end_was_not_measured_is_still_measured(tmp_path: Path) -> None:
    budget = Budget(minutes=1e-9, rate=0.05, steps=5, average=0.9)
    killed = Quadratic(nn.Linear(1, 1), tmp_path, budget)
    while killed.spent < 1:
        killed.step(killed.spent)
    killed.save()
    again = Quadratic(nn.Linear(1, 1), tmp_path, budget, resume=True)
    again.run()
    assert [row["steps"] for row in again.curve] == [5]


def test_a_resumed_run_draws_what_it_would_have_drawn(tmp_path: Path) -> None:
    loop = Quadratic(nn.Linear(1, 1), tmp_path, Budget(minutes=1e-9, rate=0.05, steps=5))
    loop.save()
    expected = torch.rand(3)
    Quadratic(nn.Linear(1, 1), tmp_path, loop.budget, resume=True)
    assert torch.equal(torch.rand(3), expected)


def test_a_gpus_random_state_goes_into_its_checkpoint_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, states = torch.device("cuda", 1), {torch.device("cuda", 1): torch.arange(16, dtype=torch.uint8)}

    def put(state: torch.Tensor, device: torch.device) -> None:
        states[device] = state

    monkeypatch.setattr(torch.cuda, "get_rng_state", states.__getitem__)
    monkeypatch.setattr(torch.cuda, "set_rng_state", put)
    kept = random_state(gpu)
    states[gpu] = torch.zeros(16, dtype=torch.uint8)
    set_random_state({"random": kept["random"]}, gpu)  # a checkpoint of an earlier version
    assert not states[gpu].any()
    set_random_state(kept, gpu)
    assert torch.equal(states[gpu], torch.arange(16, dtype=torch.uint8))
    assert random_state(torch.device("cpu")).keys() == {"random"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_a_run_resumed_on_a_gpu_draws_what_it_would_have_drawn(tmp_path: Path) -> None:
    loop = Quadratic(nn.Linear(1, 1).cuda(), tmp_path, Budget(minutes=1e-9, rate=0.05, steps=5))
    loop.save()
    expected = torch.rand(3, device="cuda")
    Quadratic(nn.Linear(1, 1).cuda(), tmp_path, loop.budget, resume=True)
    assert torch.equal(torch.rand(3, device="cuda"), expected)


def test_the_average_follows_slowly() -> None:
    net = nn.Linear(1, 1)
    average = Average(net, decay=0.5)
    average.steps = 1000
    before = average.net.weight.clone()
    net.weight.data += 4
    average.update(net)
    assert float(average.net.weight - before) == pytest.approx(2)


def test_scores_of_a_confusion_matrix() -> None:
    labels = torch.tensor([[0, 0, 3, 11]])
    got = scores(confusion(torch.tensor([[0, 3, 3, 5]]), labels))
    assert got.iou["sky"] == got.iou["road"] == pytest.approx(0.5)
    assert got.miou == pytest.approx(0.5)
    assert got.pixel_accuracy == pytest.approx(2 / 3)
    assert np.isnan(got.iou["car"])


def test_a_user_clicks_where_the_answer_is_most_wrong() -> None:
    wanted = np.zeros((40, 60), bool)
    wanted[10:30, 10:50] = True
    user = Interaction(wanted, 0)
    user.correct(np.zeros_like(wanted))
    assert user.labels == [1]
    assert wanted[int(user.points[0][1]), int(user.points[0][0])]
    answer = wanted.copy()
    answer[30:, :] = True
    user.correct(answer)
    assert user.labels == [1, 0]
    assert user.points[1][1] > 30
    user.correct(wanted)
    assert len(user.points) == 2


def test_a_user_may_want_something_else_once_the_first_answer_is_seen() -> None:
    wanted = np.zeros((40, 60), bool)
    wanted[10:30, 10:50] = True
    user = Interaction(wanted, 0)
    user.change_mind()
    assert user.wanted is wanted
    user.click((20, 15), 1)
    user.later = amended(wanted, np.random.default_rng(0), user.points)
    user.change_mind()
    user.correct(wanted)
    x, y = user.points[1]
    assert wanted[int(y), int(x)] != user.wanted[int(y), int(x)]
    assert user.labels[1] == int(user.wanted[int(y), int(x)])


def test_amended_masks_lose_or_gain_a_piece_at_their_border_and_keep_what_was_clicked() -> None:
    mask = np.zeros((60, 80), bool)
    mask[10:50, 20:60] = True
    changes = []
    for seed in range(40):
        other = amended(mask, np.random.default_rng(seed), [(40.5, 30.5), (2.5, 2.5)])
        assert other[30, 40]
        assert not other[2, 2]
        changes.append((int((mask & ~other).sum()), int((other & ~mask).sum())))
    assert all(lost == 0 or gained == 0 for lost, gained in changes)
    assert max(lost for lost, _ in changes) > 100
    assert max(gained for _, gained in changes) > 100
    assert max(map(max, changes)) <= mask.sum() / 2
    everywhere = np.ones((9, 9), bool)
    held = [(x + 0.5, y + 0.5) for x in range(9) for y in range(9)]
    assert np.array_equal(amended(everywhere, np.random.default_rng(0), held), everywhere)


def test_boxes_are_jittered_around_the_mask_and_the_largest_piece_is_kept() -> None:
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:40] = True
    mask[0:3, 0:3] = True
    piece = largest_piece(mask)
    assert piece.sum() == 400
    x0, y0, x1, y1 = jitter_box(piece, np.random.default_rng(0), 0.1)
    assert np.abs(np.array([x0, y0, x1, y1]) - (20, 10, 40, 30)).max() <= 2.0001


def test_both_stages_train_from_files_and_their_averages_are_measured(tmp_path: Path) -> None:
    write_split(tmp_path / "data", 2, (96, 128))
    split = read_split(tmp_path / "data", "train")
    crops = Recipe(sizes=((64, 96),), paste=0.5)
    moment = replace(DENSE_BUDGET, minutes=1e-6)
    recipe = DenseRecipe(crops=crops, crop_batch=2, full=crops, full_batch=2)
    dense = DenseLoop(split, split, tmp_path, moment, recipe)
    dense.run()
    assert dense.steps == 1
    assert 0 <= dense.curve[-1]["val"]["miou"] <= 1
    net = StreetNet()
    net.load_state_dict(load_checkpoint(tmp_path / "dense.pt")["average"])
    before = net.state_dict()["heads.semantic.2.weight"].clone()
    temperature = calibrate(net.eval(), split)
    save_atomically({"net": net.state_dict()}, tmp_path / "dense_final.pt")
    assert [row["what"] for row in tricks(tmp_path, split, [(144, 192)])][1:] == [
        "moving average of the weights",
        "class offsets and temperature",
        "without the detail head: labels at 1/4",
        "shown in the buckets in which it is served",
        "mirror image averaged (tta)",
    ]
    assert learning_curve(tmp_path) == [
        {"minutes": dense.curve[-1]["minutes"], "steps": 1, "miou": round(dense.curve[-1]["val"]["miou"], 4)}
    ]
    torch.testing.assert_close(net.state_dict()["heads.semantic.2.weight"], before / temperature)
    accuracy = dense.curve[-1]["val"]["pixel_accuracy"]
    assert validate_semantic(net, split).pixel_accuracy == pytest.approx(accuracy, abs=0.02)
    users = PromptRecipe(crops=crops, photos=2, objects=2, full=crops, full_photos=2)
    prompt = PromptLoop(net, split, None, tmp_path, replace(PROMPT_BUDGET, minutes=1e-6), users)
    prompt.run()
    assert prompt.steps == 1
    assert {"mask_first", "mask_later", "score_first", "score_later"} == set(prompt.curve[-1]["loss"])
    figures = validate_prompts(net, prompt.average.net, split, min_area=200)
    assert 0 <= figures["iou_1"] <= 1
    assert figures["objects"] > 0


def test_a_mirrored_network_sees_both_sides() -> None:
    net = StreetNet().eval()
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        one, other = Mirrored(net)(x).logits.softmax(1), Mirrored(net)(x.flip(3)).logits.softmax(1)
    torch.testing.assert_close(one, other.flip(3), rtol=1e-3, atol=1e-4)


def test_the_report_has_every_figure(tmp_path: Path) -> None:
    write_split(tmp_path, 1, (96, 128))
    figures = report(build(), read_split(tmp_path, "train"), [(144, 192)])
    assert 0 <= figures["calibration_error"] <= 1
    assert figures["semantic"]["miou"] <= 1
    for key in ("clicks_1000", "clicks_100"):
        assert {"iou_1", "iou_3", "iou_5", "objects"} <= figures[key].keys()
    assert figures["clicks_100"]["objects"] >= figures["clicks_1000"]["objects"] > 0
    json.dumps(figures)


def test_cores_are_counted_where_the_system_does_not_say_which_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores() == (os.cpu_count() or 1)
