"""Command line of the training: reads a CamVid-like folder, trains the stages asked for, leaves checkpoints in
--out.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from shared.models.networks.street import StreetNet
from shared.models.training.balance import balance
from shared.models.training.data import Split, read_split
from shared.models.training.dense import DENSE_BUDGET, DenseLoop
from shared.models.training.drawn import with_drawings
from shared.models.training.loop import Budget, load_checkpoint, save_atomically
from shared.models.training.prompt import PROMPT_BUDGET, PromptLoop
from shared.models.training.validate import calibrate


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(prog="python -m shared.models.training", description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with train/ and val/, each images/ and labels/"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and curves")
    parser.add_argument("--stage", choices=("dense", "prompt", "all"), default="all")
    parser.add_argument(
        "--minutes", type=float, help="wall time in all (default: 75 dense, 28 prompt); all splits it 8:3"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoints in --out")
    parser.add_argument("--start", type=Path, help="begin from these weights (a street.safetensors) instead of none")
    parser.add_argument("--rate", type=float, help="peak learning rate (default: 2e-3 dense, 1.5e-3 prompt)")
    parser.add_argument(
        "--hold-out", metavar="SEQUENCE", help="train without the photos whose names begin so, and measure on them"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: torch's own choice)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run the training."""
    options = parse(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train = read_split(options.data, "train", device)
    if options.hold_out:
        train, val = train.held_out(options.hold_out)
    else:
        val = read_split(options.data, "val", device)
    seen = with_drawings(train)
    share = {"dense": 8 / 11, "prompt": 3 / 11} if options.stage == "all" else {"dense": 1.0, "prompt": 1.0}

    if options.stage in ("dense", "all"):
        budget = budget_of(DENSE_BUDGET, options, share["dense"])
        DenseLoop(seen, val, options.out, budget, resume=options.resume, start=options.start).run()
    if options.stage in ("prompt", "all"):
        budget = budget_of(PROMPT_BUDGET, options, share["prompt"])
        dense = finish_dense(options.out, train, val)
        PromptLoop(dense, seen, val, options.out, budget, resume=options.resume, start=options.start).run()


def budget_of(default: Budget, options: argparse.Namespace, share: float) -> Budget:
    """The budget of a stage that gets this `share` of the minutes asked for."""
    minutes = default.minutes if options.minutes is None else options.minutes * share
    return replace(default, minutes=minutes, rate=default.rate if options.rate is None else options.rate)


def finish_dense(out: Path, train: Split, val: Split) -> StreetNet:
    """The dense stage's average, balanced on `train` and calibrated on `val`, also written to `dense_final.pt`: what
    prompts and export build on.
    """
    device = val.photos.device
    state = load_checkpoint(out / "dense.pt", device)
    net = StreetNet().to(device)
    net.load_state_dict(state["average"])
    offsets = balance(net.eval(), train)
    temperature = calibrate(net, val)
    final = {"net": net.state_dict(), "offsets": offsets, "temperature": temperature, "steps": state["steps"]}
    save_atomically(final, out / "dense_final.pt")
    return net


if __name__ == "__main__":
    main()
