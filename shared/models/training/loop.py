"""A training loop within a budget of wall time or of steps: every schedule is a function of the fraction spent, so it
always ends when it should.

Network, average, optimiser, progress and random state go to one checkpoint every few minutes; a resumed run goes on
there.
"""

from __future__ import annotations

import json
import math
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from shared.models.training.ema import Average
from shared.models.training.muon import make_optimiser

Net = TypeVar("Net", bound=nn.Module)

LONGEST_STEP_S = 60.0
"""Seconds that one step and what it measures may count: a machine asleep or a process stopped spends no budget."""


SHOW_EVERY_S = 10.0
"""Seconds between two updates of the losses beside the progress bar."""


@dataclass(frozen=True)
class Budget:
    """Minutes of wall time, or so many steps however long they take (the same training on every machine); the learning
    rate's peak and warm-up (a fraction of the budget), and minutes between events.
    """

    minutes: float
    rate: float
    steps: int | None = None
    warm_up: float = 0.03
    weight_decay: float = 0.02
    average: float = 0.998
    save_every: float = 3.0
    measure_every: float = 5.0


def learning_rate(progress: float, budget: Budget) -> float:
    """Linear warm-up, then a cosine to one hundredth, by the fraction of the budget spent."""
    if progress < budget.warm_up:
        return budget.rate * (0.05 + 0.95 * progress / budget.warm_up)
    along = min(1.0, (progress - budget.warm_up) / (1 - budget.warm_up))
    return budget.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * along)))


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint beside `path` and rename it into place, so that a kill never leaves half a file."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """A checkpoint written by `TimedLoop.save`, read without pickle's powers."""
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Where the CPU's random numbers are, and on a GPU those of `device`: uint8 tensors in main memory."""
    state = {"random": torch.get_rng_state()}
    if device.type == "cuda":
        state["random_cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Go on from a checkpoint's `random_state`; one without a GPU's (another device, an older one) leaves that."""
    random: Tensor = state["random"]
    torch.set_rng_state(random.cpu())
    if device.type == "cuda" and "random_cuda" in state:
        on_gpu: Tensor = state["random_cuda"]
        torch.cuda.set_rng_state(on_gpu.cpu(), device)


class TimedLoop(ABC, Generic[Net]):
    """Trains `net` within a budget; subclasses say what a step is and what is measured."""

    name: str
    """Stem of the checkpoint's and the curve's file."""

    def __init__(self, net: Net, out: Path, budget: Budget, resume: bool = False) -> None:
        self.net, self.out, self.budget = net, out, budget
        self.device = next(net.parameters()).device
        self.average = Average(net, budget.average)
        self.optimiser = make_optimiser(net, budget.rate, budget.weight_decay)
        self.seconds, self.steps = 0.0, 0
        self.curve: list[dict[str, Any]] = []
        out.mkdir(parents=True, exist_ok=True)
        if resume and self.path.exists():
            self._restore(load_checkpoint(self.path, self.device))

    @property
    def path(self) -> Path:
        """The checkpoint."""
        return self.out / f"{self.name}.pt"

    @abstractmethod
    def losses(self, progress: float) -> dict[str, Tensor]:
        """Draw one batch, run it backwards (gradients only), and return the parts of the loss, detached."""

    @abstractmethod
    def measure(self) -> dict[str, Any]:
        """Scores of the average on the validation split; empty without one."""

    def _restore(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.average.net.load_state_dict(state["average"])
        self.average.steps = self.steps = state["steps"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.seconds, self.curve = state["seconds"], state["curve"]
        set_random_state(state, self.device)

    def save(self) -> None:
        """Write the checkpoint and the curve."""
        state = {
            "net": self.net.state_dict(),
            "average": self.average.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "steps": self.steps,
            "seconds": self.seconds,
            "curve": self.curve,
            **random_state(self.device),
        }
        save_atomically(state, self.path)
        (self.out / f"{self.name}_curve.json").write_text(json.dumps(self.curve, indent=1))

    @property
    def spent(self) -> float:
        """The fraction of the budget spent."""
        return self.steps / self.budget.steps if self.budget.steps else self.seconds / (60 * self.budget.minutes)

    def close(self) -> None:
        """What a loop holds beside its network is let go."""

    def step(self, progress: float) -> dict[str, Tensor]:
        """One update of the network and of its average."""
        rate = learning_rate(progress, self.budget)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        parts = self.losses(progress)
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimiser.step()
        self.average.update(self.net)
        self.steps += 1
        return parts

    @property
    def finished(self) -> bool:
        """Whether the budget is spent and the end is in the curve."""
        return self.spent >= 1 and bool(self.curve) and self.curve[-1]["steps"] == self.steps

    def run(self) -> None:
        """Train until the budget is spent, saving and measuring on the way and at the end; a finished run stays."""
        try:
            if self.finished:
                return
            self._train()
        finally:
            self.close()
        self.save()

    def _train(self) -> None:
        saved = measured = shown = self.seconds
        before = time.monotonic()
        means: dict[str, Tensor] = {}
        self.net.train()
        with self._bar() as bar:
            while self.spent < 1:
                for name, value in self.step(self.spent).items():
                    means[name] = 0.98 * means.get(name, value) + 0.02 * value
                if self.seconds - measured >= 60 * self.budget.measure_every:
                    measured = self.seconds
                    self._record(means)
                if self.seconds - saved >= 60 * self.budget.save_every:
                    saved = self.seconds
                    self.save()
                now = time.monotonic()
                self.seconds, before = self.seconds + min(now - before, LONGEST_STEP_S), now
                if self.seconds - shown >= SHOW_EVERY_S:  # reading a loss waits for a GPU
                    shown = self.seconds
                    bar.set_postfix(rounded(means, 3), step=self.steps, refresh=False)
                bar.update(round(min(1.0, self.spent) * (bar.total or 0)) - bar.n)
        self._record(means)

    def _bar(self) -> tqdm[Any]:
        """Of steps where the budget counts them, else of seconds."""
        steps = self.budget.steps
        total, spent = (steps, self.steps) if steps else (round(60 * self.budget.minutes), round(self.seconds))
        return tqdm(total=total, initial=spent, unit="step" if steps else "s", mininterval=20, desc=self.name)

    def _record(self, means: dict[str, Tensor]) -> None:
        row: dict[str, Any] = {"minutes": round(self.seconds / 60, 2), "steps": self.steps}
        row["loss"] = rounded(means, 4)
        row.update(self.measure())
        self.curve.append(row)
        tqdm.write(json.dumps(row))


def rounded(means: dict[str, Tensor], digits: int) -> dict[str, float]:
    """The numbers in `means`, for people."""
    return {name: round(float(value), digits) for name, value in means.items()}
