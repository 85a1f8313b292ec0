"""Command line of the training: reads a CamVid-like folder, trains the stages asked for, leaves checkpoints in
--out.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from shared.models.networks.street import StreetNet
from shared.models.training.balance import balance
from shared.models.training.data import Split, read_split
from shared.models.training.dense import DENSE_BUDGET, GPU_BUDGET, DenseLoop, DenseRecipe
from shared.models.training.drawn import with_drawings
from shared.models.training.loop import Budget, load_checkpoint, save_atomically
from shared.models.training.prompt import GPU_PROMPT_BUDGET, PROMPT_BUDGET, PromptLoop
from shared.models.training.teacher import TEACHER, TEACHER_BUDGET, TeacherLoop, load_teacher
from shared.models.training.validate import calibrate, validate_semantic

EVER = 2.0
"""A progress that is never reached."""
FINAL = "dense_final.pt"
BUDGETS = {
    "cpu": {"teacher": TEACHER_BUDGET, "dense": DENSE_BUDGET, "prompt": PROMPT_BUDGET},
    "cuda": {"teacher": TEACHER_BUDGET, "dense": GPU_BUDGET, "prompt": GPU_PROMPT_BUDGET},
}
SHARES = {"dense": 8 / 11, "prompt": 3 / 11}
"""Of the minutes asked for."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(prog="python -m shared.models.training", description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with train/ and val/, each images/ and labels/"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and curves")
    parser.add_argument(
        "--stage",
        choices=("teacher", "dense", "prompt", "all"),
        default="all",
        help="all: dense and prompt; dense learns from a teacher that is in --out",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        help="wall time in all (default: 75 dense and 28 prompt, on a GPU 12 and 3); all splits it 8:3",
    )
    parser.add_argument(
        "--steps",
        type=int,
        help="so many steps instead of minutes, of one --stage: with the same --seed and --threads the same weights",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoints in --out")
    parser.add_argument("--start", type=Path, help="begin from these weights (a street.safetensors) instead of none")
    parser.add_argument(
        "--rate",
        type=float,
        help="peak learning rate (default: 2e-3 dense, 1.5e-3 prompt; on a GPU 4e-3, 2.5e-3)",
    )
    _add_judges(parser)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: torch's own choice)")
    options = parser.parse_args(arguments)
    if options.minutes is not None and not 0 < options.minutes < math.inf:
        parser.error(f"argument --minutes: {options.minutes}: a number above 0")
    if options.steps is not None and (options.steps < 1 or options.stage == "all"):
        parser.error(f"argument --steps: {options.steps} with --stage {options.stage}: at least 1, of one stage")
    return options


def _add_judges(parser: argparse.ArgumentParser) -> None:
    """What tells how good the recipe is, and what each step of it gives."""
    parser.add_argument(
        "--hold-out", metavar="SEQUENCE", help="train without the photos whose names begin so, and measure on them"
    )
    parser.add_argument(
        "--without",
        choices=("fading", "cutmix", "teacher", "balance"),
        nargs="+",
        default=(),
        help="leave these steps of the recipe out, to see what they give",
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the training."""
    options = parse(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_float32_matmul_precision("high")
    train = read_split(options.data, "train", device)
    if options.hold_out:
        train, val = train.held_out(options.hold_out)
    else:
        val = read_split(options.data, "val", device)
    seen = with_drawings(train)
    recipe = without(DenseRecipe().on(device), options.without)
    shares = SHARES if options.stage == "all" else {options.stage: 1.0}
    for stage, share in shares.items():
        budget = budget_of(BUDGETS[device.type][stage], options, share)
        if stage == "teacher":
            loop = TeacherLoop(seen, val, options.out, budget, recipe, options.resume, config=TEACHER)
            loop.run()
        elif stage == "dense":
            teacher = teacher_of(options, device)
            DenseLoop(
                seen, val, options.out, budget, recipe, options.resume, start=options.start, teacher=teacher
            ).run()
            finish_dense(options.out, train, val, "balance" not in options.without)
        else:
            dense = load_dense(options.out, device)
            PromptLoop(dense, seen, val, options.out, budget, resume=options.resume, start=options.start).run()


def without(recipe: DenseRecipe, left_out: Sequence[str]) -> DenseRecipe:
    """The recipe less the steps named."""
    if "fading" in left_out:
        recipe = replace(recipe, even_from=EVER)
    if "cutmix" in left_out:
        recipe = replace(recipe, crops=replace(recipe.crops, cutmix=0.0), full=replace(recipe.full, cutmix=0.0))
    return recipe


def teacher_of(options: argparse.Namespace, device: torch.device) -> StreetNet | None:
    """The teacher that an earlier stage left in --out; none where there is none or none is wanted."""
    if "teacher" in options.without or not (options.out / f"{TeacherLoop.name}.pt").exists():
        return None
    return load_teacher(options.out, device)


def budget_of(default: Budget, options: argparse.Namespace, share: float) -> Budget:
    """The budget of a stage that gets this `share` of the minutes asked for."""
    minutes = default.minutes if options.minutes is None else options.minutes * share
    rate = default.rate if options.rate is None else options.rate
    return replace(default, minutes=minutes, rate=rate, steps=options.steps)


def finish_dense(out: Path, train: Split, val: Split, balanced: bool = True) -> StreetNet:
    """The dense stage's average, balanced on `train` and calibrated on `val`, also written to `dense_final.pt`: what
    prompts and export build on.
    """
    device = val.photos.device
    state = load_checkpoint(out / f"{DenseLoop.name}.pt", device)
    net = StreetNet().to(device)
    net.load_state_dict(state["average"])
    offsets = balance(net.eval(), train) if balanced else []
    temperature = calibrate(net, val)
    final = {"net": net.state_dict(), "offsets": offsets, "temperature": temperature, "steps": state["steps"]}
    save_atomically(final, out / FINAL)
    tqdm.write(f"offsets {offsets}, temperature {temperature:.3f}, val mIoU {validate_semantic(net, val).miou:.4f}")
    return net


def load_dense(out: Path, device: torch.device) -> StreetNet:
    """What `finish_dense` wrote."""
    net = StreetNet().to(device)
    net.load_state_dict(load_checkpoint(out / FINAL, device)["net"])
    return net


if __name__ == "__main__":
    main()
