"""Figures of the GPU bench in, a table and a JSON file out; each line as it comes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from load_tests.client import Window
from load_tests.processes import Spent, cpu_between

TARGET = 0.9
"""Of the best batch of a network by itself, behind the platform."""
COLUMNS = {"callers": 8, "per_second": 8, "ratio": 6, "p50_ms": 8, "p99_ms": 8, "server_cpu_ms": 7}
"""Of a served network, and how wide they are."""


def gpu(device: str) -> dict[str, Any]:
    """What computes, and what drives it."""
    if device == "cpu":
        return {"gpu": "none (CPU)"}
    import torch

    found = torch.cuda.get_device_properties(device)
    return {
        "gpu": found.name,
        "gpu_memory_gib": round(found.total_memory / 2**30, 1),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def memory_in_use(device: str) -> str:
    """Of the whole GPU, as its driver says; by all processes."""
    if device == "cpu":
        return "none"
    asked = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)


class Report:
    """What was measured so far, on disk after each step."""

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.facts = dict(facts)
        self.failed = False
        self._folder = folder
        self._alone: dict[str, dict[str, Any]] = {}
        self._served: dict[str, list[dict[str, Any]]] = {}

    def bare(self, found: dict[str, Any]) -> None:
        """A network by itself."""
        self._alone[found["model"]] = {key: value for key, value in found.items() if key != "model"}
        self.failed |= "failed" in found
        self.write()

    def failure(self, model: str, said: str) -> None:
        """A network that the platform does not serve."""
        self._served.setdefault(model, []).append({"failed": said[-1500:]})
        self.failed = True
        self.write()

    def served(self, model: str, callers: int, window: Window, before: Spent, after: Spent) -> str:
        """A window of a served network; its line."""
        best = float(self._alone.get(model, {}).get("best", 0.0))
        answers = len(window.latencies_ms)
        row = {
            "callers": callers,
            "per_second": round(window.per_second, 1),
            "p50_ms": round(window.percentile_ms(50), 1),
            "p99_ms": round(window.percentile_ms(99), 1),
            "ratio": round(window.per_second / best, 3) if best else None,
            "server_cpu_ms": round(1000 * cpu_between(before, after) / max(1, answers), 2),
            "client_cpu_ms": round(window.client_ms, 2),
            "answers": answers,
            "errors": dict(window.errors),
        }
        self._served.setdefault(model, []).append(row)
        self.failed |= not answers or bool(window.errors)
        self.write()
        return f"{model:36s} " + "  ".join(f"{key} {value}" for key, value in row.items() if value not in ({}, None))

    @staticmethod
    def line_of(found: Mapping[str, Any]) -> str:
        """A network by itself, as it is printed."""
        return f"{found['model']:36s} " + "  ".join(f"{key} {found[key]}" for key in found if key != "model")

    def table(self) -> str:
        """All of it."""
        lines = [
            "",
            f"{self.facts['date']}  {self.facts['gpu']}  {self.facts['options']}",
            "images a second; ratio: served to the best batch by itself (target .9)",
            f"{'network':36s} {'best batch':>12s} {'alone':>8s} {'callers':>8s} {'served':>8s} {'ratio':>6s} "
            f"{'p50 ms':>8s} {'p99 ms':>8s} {'CPU ms':>7s}",
        ]
        for model in dict.fromkeys((*self._alone, *self._served)):
            alone = self._alone.get(model, {})
            head = f"{model:36s} {alone.get('best_batch', '-'):>12} {alone.get('best', '-'):>8}"
            for row in self._served.get(model) or [{}]:
                cells = {key: row.get(key) for key in COLUMNS}
                shown = (f"{'-' if cells[key] is None else cells[key]!s:>{width}s}" for key, width in COLUMNS.items())
                lines.append(f"{head} {' '.join(shown)}")
                head = " " * len(head)
        return "\n".join(lines)

    def write(self) -> Path:
        """The file, as JSON."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "gpu.json"
        data = {**self.facts, "target": TARGET, "alone": self._alone, "served": self._served}
        path.write_text(json.dumps(data, indent=1), encoding="utf-8")
        return path
