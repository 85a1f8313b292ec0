"""Runs a network through one compiled program a shape, whatever compiled it: ONNX Runtime, inductor, TensorRT."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np

from shared.models.engines.engine import Array, Arrays, Precision, Shapes, check_names, shape_key, shapes_of, zeros

Program = Callable[[Mapping[str, Array]], dict[str, Array]]
"""Contiguous inputs of one set of shapes to outputs by name, which belong to the caller."""
Compile = Callable[[Shapes], Program]


class StaticEngine:
    """One program a shape, compiled when the shape is warmed, or, slowly, when it first comes."""

    def __init__(
        self,
        name: str,
        compile_for: Compile,
        dtypes: Mapping[str, np.dtype[Any]],
        precision: Precision = "f32",
        batch_limit: int = 1,
    ) -> None:
        """`dtypes` names the inputs and their types."""
        self.name = name
        self._compile = compile_for
        self._dtypes = dict(dtypes)
        self._precision = precision
        self._batch_limit = batch_limit
        self._programs: dict[Any, Program] = {}
        self._lock = Lock()

    @property
    def precision(self) -> Precision:
        """Of the arithmetic."""
        return self._precision

    @property
    def batch_limit(self) -> int:
        """As it was made."""
        return self._batch_limit

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """See `Engine.run`."""
        check_names(inputs, self._dtypes)
        feeds = {name: np.ascontiguousarray(inputs[name], dtype=dtype) for name, dtype in self._dtypes.items()}
        with self._lock:
            return self._program(shapes_of(feeds))(feeds)

    def warm(self, shapes: Sequence[Shapes]) -> None:
        """See `Engine.warm`."""
        for wanted in shapes:
            check_names(wanted, self._dtypes)
            self.run(zeros(wanted, self._dtypes))

    def _program(self, shapes: Shapes) -> Program:
        key = shape_key(shapes)
        if key not in self._programs:
            self._programs[key] = self._compile(shapes)
        return self._programs[key]
