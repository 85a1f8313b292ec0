"""What runs a network: named arrays in, named arrays out, one interface for every engine.

An engine knows shapes, threads and precision; it knows nothing of images, labels or cards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from shared.types import Precision as Precision

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Shapes = Mapping[str, tuple[int, ...]]
"""The static shape of every input, by name."""
ShapeKey = tuple[tuple[str, tuple[int, ...]], ...]
"""The same, hashable."""
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

OnUnforeseen = Callable[[Shapes], None]
"""Called once for each run whose shapes were not warmed, so that such runs can be counted."""


class Engine(Protocol):
    """A network, ready to run. Blocking. Several threads may call `run`: what must be serial is serialised here, so
    that the pre- and postprocessing of one batch can overlap the forward pass of another."""

    @property
    def name(self) -> str:
        """One of `shared.types.EngineName`."""
        ...

    @property
    def precision(self) -> Precision:
        """What the arithmetic is done in; inputs and outputs keep their own types."""
        ...

    @property
    def batch_limit(self) -> int:
        """Most items that one run should take; on a CPU 1, because batching gains nothing there."""
        ...

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """All inputs by name; all outputs by name, owned by the caller. Raises `ValueError` for a wrong name."""
        ...

    def warm(self, shapes: Sequence[Shapes]) -> None:
        """Compile and run each of these shapes once; from then on they are foreseen. Runs at least one even where all
        are warm already. Raises when one cannot run."""
        ...


class Around:
    """What an engine that wraps another says of itself: the same as the one within."""

    def __init__(self, within: Engine) -> None:
        self._within = within

    @property
    def name(self) -> str:
        """Of the engine within."""
        return self._within.name

    @property
    def precision(self) -> Precision:
        """Of the engine within."""
        return self._within.precision

    @property
    def batch_limit(self) -> int:
        """Of the engine within."""
        return self._within.batch_limit


def ignore_unforeseen(_shapes: Shapes) -> None:
    """The `OnUnforeseen` of an engine that nobody counts."""


def counted(callback: Callable[[], None] | None) -> OnUnforeseen:
    """`LoadOptions.on_unforeseen_shape` in an engine's form."""
    return ignore_unforeseen if callback is None else lambda _shapes: callback()


def shapes_of(inputs: Arrays) -> dict[str, tuple[int, ...]]:
    """The shapes of these arrays, by name."""
    return {name: tuple(array.shape) for name, array in inputs.items()}


def shape_key(shapes: Shapes) -> ShapeKey:
    """A hashable form of `shapes`, the same for every order of names."""
    return tuple(sorted((name, tuple(shape)) for name, shape in shapes.items()))


def check_names(given: Arrays | Shapes, wanted: Mapping[str, Any]) -> None:
    """Raises `ValueError` unless exactly the wanted inputs are given."""
    if given.keys() != wanted.keys():
        raise ValueError(f"inputs {sorted(given)} were given, the network takes {sorted(wanted)}")


def parse_precision(text: str) -> Precision:
    """One of `PRECISIONS`. Raises `ValueError` for anything else."""
    for precision in PRECISIONS:
        if text == precision:
            return precision
    raise ValueError(f"precision {text!r} is not one of {', '.join(PRECISIONS)}")


def zeros(shapes: Shapes, dtypes: Mapping[str, np.dtype[Any]]) -> dict[str, Array]:
    """Inputs of these shapes, all zero."""
    return {name: np.zeros(shape, dtype=dtypes[name]) for name, shape in shapes.items()}
