"""Facts and a function that writes a file in, the path of that file out: written once, found again by every restart.

One process of this machine at a time writes a file, beside its place, and renames it when it is whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

CODE = ("openvino", "onnx", "onnxscript", "torch", "torchvision", "transformers", "timm", "segmentation_models_pytorch")
"""Packages whose new version may compute something else from the same weights."""


def kept(folder: Path | None, facts: Any, suffix: str, write: Callable[[Path], None]) -> Path:
    """The file that `write` makes from `facts` (anything that JSON holds), in `folder`; what it leaves beside under the
    same stem goes with it.

    Without a folder it lives as long as this process. Versions of the packages in `CODE` are facts too.
    """
    place = folder or Path(_own().name)
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{digest([facts, _versions()])}{suffix}"
    with alone(place, path.name):
        if not path.is_file():
            part = path.with_name(f"{path.stem}.{os.getpid()}{suffix}")
            write(part)
            for beside in place.glob(f"{part.stem}.*"):  # an IR's weights, before the graph that needs them
                if beside != part:
                    beside.replace(path.with_suffix(beside.suffix))
            part.replace(path)
    return path


@contextmanager
def alone(folder: Path | None, name: str) -> Iterator[None]:
    """One process of this machine at a time is within this block for `name`; without a folder nobody waits."""
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def digest(facts: Any) -> str:
    """32 hexadecimal digits over facts that JSON holds."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _versions() -> Mapping[str, str]:
    return {name: version(name) for name in CODE if find_spec(name) is not None}


@cache
def _own() -> TemporaryDirectory[str]:
    """This process's folder for what nobody else is to find."""
    return TemporaryDirectory(prefix="segserve-compiled-")
