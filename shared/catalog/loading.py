"""A card and options in, loaded models out: the one seam between the catalog and `shared/models`.

The loader's name is resolved here, inside the replica, so that nothing imports torch before it must.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from shared.catalog.card import Card
from shared.protocols import LoadedModels
from shared.types import Role


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How to load: which roles, on which engine and device, with how many threads, and where files lie."""

    roles: tuple[Role, ...]
    engine: str = "auto"
    """"auto" takes the card's first engine that is installed."""
    precision: str = "f32"
    """"auto" must be decided by `settle` before anything is loaded."""
    unchecked: bool = False
    """Take a precision although the card has no check of it."""
    device: str = "auto"
    """"auto", "cpu", "cuda" or "cuda:N"."""
    threads: int = 0
    """Threads of one forward pass; 0 leaves it to the engine."""
    weights_dir: Path | None = None
    cache_dir: Path | None = None
    """Compiled graphs are kept here between starts."""
    max_batch: int = 8
    in_flight: int = 1
    """Threads that run the models at once, each with a batch of its own."""
    on_unforeseen_shape: Callable[[], None] | None = None
    """Called for each run whose input shape was not warmed, by engines that compile shapes."""


Loader = Callable[[Card, LoadOptions], LoadedModels]


def resolve_loader(card: Card) -> Loader:
    """Import the function that `card.loader` names. Raises `ImportError` or `AttributeError`, naming it."""
    module, _, function = card.loader.partition(":")
    loader: Loader = getattr(import_module(module), function)
    return loader


def settle(card: Card, options: LoadOptions) -> LoadOptions:
    """`options` with the precision decided (`shared.models.device.settled`). Raises what that raises."""
    if options.precision != "auto":
        return options
    found: LoadOptions = import_module("shared.models.device").settled(card, options)
    return found


def one_thread_a_pass(threads: int, passes: int) -> bool:
    """Whether `threads` (0: the engine's own choice) shared by so many passes at once leave each with one."""
    return 0 < threads <= passes


def load(card: Card, options: LoadOptions) -> LoadedModels:
    """Load the card's models for the roles asked for. Raises `ValueError` for a role that the card does not have.

    Where each pass has one thread, OpenCV has one too from then on, in the whole process: its others would share the
    upsampling of every pass, and spin for 3 ms afterwards on the cores of the passes beside it.
    """
    missing = set(options.roles) - set(card.roles)
    if missing:
        raise ValueError(f"card {card.name} has roles {card.roles}, not {sorted(missing)}")
    if one_thread_a_pass(options.threads, options.in_flight):
        import_module("cv2").setNumThreads(1)
    return resolve_loader(card)(card, options)
