"""A path in a card to a checked file on this machine. No torch here: exported graphs come this way too."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

import xxhash

BUNDLED = Path(__file__).parent / "bundled"
"""Weights and graphs that come with the project."""


class WeightsError(RuntimeError):
    """Weights cannot be had or do not fit; the message names the card, the place and what to do."""


def locate(card: str, path: str, weights_dir: Path | None) -> Path:
    """The file that a card's `path` means: absolute, or under `weights_dir`, or bundled. Raises `WeightsError`."""
    places = [Path(path)] if Path(path).is_absolute() else [base / path for base in (weights_dir, BUNDLED) if base]
    for place in places:
        if place.is_file():
            return place
    tried = " nor ".join(str(place) for place in places)
    raise WeightsError(f"card {card}: no weights at {tried}. Put the file there, or set SEGSERVE_WEIGHTS_DIR.")


def verify(card: str, path: Path, sha256: str | None) -> None:
    """Raises `WeightsError` unless the file's SHA-256 is the one given (None: nothing to compare with)."""
    if sha256 is None:
        return
    found = digest(path)
    if found != sha256:
        raise WeightsError(
            f"card {card}: {path} has sha256 {found}, the card says {sha256}. The file is damaged or another version."
        )


def require_fit(card: str, place: str, problems: Mapping[str, Collection[str]]) -> None:
    """Raises `WeightsError` if any kind of problem ("missing", "unknown" ...) names a tensor."""
    found = {kind: sorted(names) for kind, names in problems.items() if names}
    if found:
        said = "; ".join(f"{len(names)} {kind}, such as {names[0]}" for kind, names in found.items())
        raise WeightsError(f"card {card}: the tensors of {place} do not fit this network: {said}")


def quick_digest(*paths: Path) -> str:
    """Hexadecimal XXH3 of the files' bytes, one after another: tells files apart at the speed of reading them."""
    hasher = xxhash.xxh3_128()
    for path in paths:
        hasher.update(path.read_bytes())
    return hasher.hexdigest()


def digest(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
