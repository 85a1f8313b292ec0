"""What a peer is to serve: written into its environment by the benchmark, read by its server file."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

VARIABLE = "SEGBENCH_PLAN"


@dataclass(frozen=True, slots=True)
class Plan:
    """One model, one engine, and how many workers of how many threads carry it."""

    model: str
    """Name of a card."""
    engine: str
    precision: str = "f32"
    unchecked: bool = False
    """Whether the precision needs no check on the card."""
    threads: int = 1
    """Of one forward pass."""
    workers: int = 1
    """Processes, or instances where a server has threads instead."""
    in_flight: int = 1
    """Passes that overlap in one worker, each then on its share of the threads; SegServe alone has it."""
    way: Literal["same", "documented"] = "same"
    """same: SegServe's own functions around the engine; documented: as the documentation of transformers shows it."""
    port: int = 0
    cache_dir: str = ""
    """Compiled graphs."""
    card_dirs: tuple[str, ...] = ()

    def environment(self) -> dict[str, str]:
        """The variable that carries it."""
        return {VARIABLE: json.dumps(dataclasses.asdict(self))}

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Plan:
        """Raises `KeyError` when the benchmark did not start us."""
        raw: dict[str, Any] = json.loads(environ[VARIABLE])
        return cls(**{**raw, "card_dirs": tuple(raw["card_dirs"])})

    @property
    def folders(self) -> tuple[Path, ...]:
        """Of cards."""
        return tuple(Path(folder) for folder in self.card_dirs)
