"""Runs a network in OpenVINO on the CPU: every shape compiled statically, warmed ahead, kept on disk between starts.

Takes an IR file (then torch is not needed) or any function that yields the `ov.Model` for given static shapes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import openvino as ov

from shared.models.engines.engine import (
    Array,
    Arrays,
    OnUnforeseen,
    Precision,
    Shapes,
    check_names,
    ignore_unforeseen,
    shape_key,
    shapes_of,
    zeros,
)
from shared.models.engines.kept import alone, digest

PRECISION_HINTS: Mapping[Precision, str] = {"f32": "f32", "bf16": "bf16", "f16": "f16", "int8": "f32"}
"""Of what is not quantised: an int8 graph carries its own quantisers."""
UNFORESEEN_KEPT = 8
"""Compiled shapes that were never warmed and are kept all the same; the one unused for longest goes first."""

Source = Callable[[Shapes], ov.Model]
"""Yields the network with exactly these static input shapes."""


@dataclass(frozen=True, slots=True)
class OpenVinoOptions:
    """How to compile: `threads` 0 leaves it to OpenVINO; `hint` LATENCY or THROUGHPUT; no `cache_dir`, no cache."""

    precision: Precision = "f32"
    threads: int = 0
    hint: str = "LATENCY"
    cache_dir: Path | None = None

    def properties(self) -> dict[str, Any]:
        """OpenVINO's own names for these options.

        Pinning is off: each process would pin its threads to the same first cores.
        """
        chosen: dict[str, Any] = {
            "PERFORMANCE_HINT": self.hint,
            "INFERENCE_PRECISION_HINT": PRECISION_HINTS[self.precision],
            "ENABLE_CPU_PINNING": False,
        }
        if self.threads > 0:
            chosen["INFERENCE_NUM_THREADS"] = self.threads
        if self.cache_dir is not None:
            chosen["CACHE_DIR"] = str(self.cache_dir)
        return chosen


class OpenVinoEngine:
    """One network, one compiled graph a shape.

    A shape that was not warmed is compiled when it first comes (seconds for a large network) and reported to
    `on_unforeseen` each time it runs.
    """

    name = "openvino"
    batch_limit = 1

    def __init__(
        self,
        source: Source,
        dtypes: Mapping[str, np.dtype[Any]],
        options: OpenVinoOptions | None = None,
        on_unforeseen: OnUnforeseen = ignore_unforeseen,
    ) -> None:
        """`dtypes` names the inputs and their types."""
        self._source = source
        self._dtypes = dict(dtypes)
        self._options = options or OpenVinoOptions()
        self._on_unforeseen = on_unforeseen
        self._outputs: tuple[str, ...] = ()
        self._warmed: dict[Any, ov.InferRequest] = {}
        self._unforeseen: OrderedDict[Any, ov.InferRequest] = OrderedDict()
        self._lock = Lock()

    @property
    def precision(self) -> Precision:
        """Of the arithmetic."""
        return self._options.precision

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """See `Engine.run`."""
        check_names(inputs, self._dtypes)
        with self._lock:
            return self._infer(self._request(shapes_of(inputs)), inputs)

    def warm(self, shapes: Sequence[Shapes]) -> None:
        """See `Engine.warm`. Of shapes that are warm already the first alone is run again: roles that share a network
        each warm it, and a pass through one shape proves that it still answers."""
        for index, wanted in enumerate(shapes):
            check_names(wanted, self._dtypes)
            key = shape_key(wanted)
            if key in self._warmed and index > 0:
                continue
            with self._lock:
                if key not in self._warmed:
                    self._warmed[key] = self._unforeseen.pop(key, None) or self._compile(wanted)
                self._infer(self._warmed[key], zeros(wanted, self._dtypes))

    def _request(self, shapes: Shapes) -> ov.InferRequest:
        key = shape_key(shapes)
        if key in self._warmed:
            return self._warmed[key]
        self._on_unforeseen(shapes)
        request = self._unforeseen.pop(key, None) or self._compile(shapes)
        self._unforeseen[key] = request
        while len(self._unforeseen) > UNFORESEEN_KEPT:
            self._unforeseen.popitem(last=False)
        return request

    def _compile(self, shapes: Shapes) -> ov.InferRequest:
        model = self._source(shapes)
        self._outputs = tuple(port.get_any_name() for port in model.outputs)
        # OpenVINO maps a cached graph into memory even while another process writes it, and that process then dies of
        # SIGBUS.
        with alone(self._options.cache_dir, digest(shape_key(shapes))):
            return core().compile_model(model, "CPU", self._options.properties()).create_infer_request()

    def _infer(self, request: ov.InferRequest, inputs: Arrays) -> dict[str, Array]:
        """Outputs by the names that the source gave them: compiling may add names of its own, never another order."""
        feeds = {name: np.ascontiguousarray(array, dtype=self._dtypes[name]) for name, array in inputs.items()}
        request.infer(feeds, share_inputs=True)
        ports = zip(self._outputs, request.model_outputs, strict=True)
        return {name: np.array(request.get_tensor(port).data) for name, port in ports}


def from_ir(
    path: Path, options: OpenVinoOptions | None = None, on_unforeseen: OnUnforeseen = ignore_unforeseen
) -> OpenVinoEngine:
    """An engine over an IR file (`.xml` with its `.bin` beside it). Raises `RuntimeError` when it cannot be read."""
    model = core().read_model(str(path))

    def static(shapes: Shapes) -> ov.Model:
        clone = model.clone()
        clone.reshape({name: ov.PartialShape(list(shape)) for name, shape in shapes.items()})
        return clone

    return OpenVinoEngine(static, input_dtypes(model), options, on_unforeseen)


def input_dtypes(model: ov.Model) -> dict[str, np.dtype[Any]]:
    """The names and numpy types of a graph's inputs."""
    return {port.get_any_name(): np.dtype(port.get_element_type().to_dtype()) for port in model.inputs}


@cache
def core() -> ov.Core:
    """This process's OpenVINO runtime: it owns the plugins, so there is one."""
    return ov.Core()
