"""Runs a network in OpenVINO on the CPU: every shape compiled statically, warmed ahead, kept on disk between starts.

Takes an IR file (then torch is not needed) or any function that yields the `ov.Model` for given static shapes.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import openvino as ov

from shared.catalog.loading import LoadOptions
from shared.models.engines.engine import (
    Array,
    Arrays,
    OnUnforeseen,
    Precision,
    ShapeKey,
    Shapes,
    check_names,
    ignore_unforeseen,
    parse_precision,
    shape_key,
    shapes_of,
    zeros,
)
from shared.models.engines.kept import alone, digest
from shared.models.engines.side_by_side import LanesOnDemand, Traffic

PRECISION_HINTS: Mapping[Precision, str] = {"f32": "f32", "bf16": "bf16", "f16": "f16", "int8": "f32"}
"""Of what is not quantised: an int8 graph carries its own quantisers."""
UNFORESEEN_KEPT = 8
"""Compiled shapes that were never warmed and are kept all the same; the one unused for longest goes first."""

Source = Callable[[Shapes], ov.Model]
"""Yields the network with exactly these static input shapes."""


@dataclass(frozen=True, slots=True)
class OpenVinoOptions:
    """How to compile: `threads` 0 leaves it to OpenVINO; `hint` LATENCY or THROUGHPUT; no `cache_dir`, no cache.
    `in_flight` passes may overlap, each then on its share of the threads."""

    precision: Precision = "f32"
    threads: int = 0
    hint: str = "LATENCY"
    cache_dir: Path | None = None
    in_flight: int = 1
    streams: int = 0
    """Passes of one compiled graph that run at once and share its weights and `threads`; 0 leaves it to the hint."""

    @classmethod
    def of(cls, options: LoadOptions) -> OpenVinoOptions:
        """As a model is to be loaded."""
        precision = parse_precision(options.precision)
        return cls(precision, options.threads, cache_dir=options.cache_dir, in_flight=options.in_flight)

    def overlapping(self) -> OpenVinoOptions:
        """Of the graph for passes that overlap."""
        threads = max(self.threads or os.cpu_count() or 1, self.in_flight)
        return replace(self, threads=threads, in_flight=1, streams=self.in_flight)

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
        if self.streams > 0:
            chosen["NUM_STREAMS"] = self.streams
        if self.cache_dir is not None:
            chosen["CACHE_DIR"] = str(self.cache_dir)
        return chosen


class OpenVinoEngine:
    """One network, one compiled graph a shape.

    A shape that was not warmed is compiled when it first comes (seconds for a large network) and reported to
    `on_unforeseen` each time it runs. With several passes in flight a warmed shape is compiled once more when passes
    first overlap; until that is done they wait for one another.
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
        self._lanes = LanesOnDemand(self._side_by_side)
        self._traffic = Traffic()
        self._unforeseen: OrderedDict[Any, ov.InferRequest] = OrderedDict()
        self._lock = Lock()
        self._compiling = Lock()

    @property
    def precision(self) -> Precision:
        """Of the arithmetic."""
        return self._options.precision

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """See `Engine.run`."""
        check_names(inputs, self._dtypes)
        with self._traffic.one_more() as is_alone, self._taken(shapes_of(inputs), is_alone) as request:
            return self._infer(request, inputs)

    def warm(self, shapes: Sequence[Shapes]) -> None:
        """See `Engine.warm`. Of shapes that are warm already the first alone is run again: roles that share a network
        each warm it, and a pass through one shape proves that it still answers. What the others need for intermediate
        results is given back until they come."""
        for index, wanted in enumerate(shapes):
            check_names(wanted, self._dtypes)
            key = shape_key(wanted)
            if key in self._warmed and index > 0:
                continue
            with self._lock:
                if key not in self._warmed:
                    self._warmed[key] = self._unforeseen.pop(key, None) or self._new_request(wanted)
                self._infer(self._warmed[key], zeros(wanted, self._dtypes))
                if index > 0:
                    self._warmed[key].get_compiled_model().release_memory()

    def outputs_of(self, shapes: Shapes) -> Shapes:
        """The shapes of the outputs for these of the inputs, which are warm."""
        ports = self._warmed[shape_key(shapes)].model_outputs
        return {name: tuple(port.shape) for name, port in zip(self._outputs, ports, strict=True)}

    def _side_by_side(self, key: ShapeKey) -> list[ov.InferRequest]:
        """A request for each of the passes that may overlap, every one of them warm; they share one graph."""
        shapes = dict(key)
        graph = self._compile(shapes, self._options.overlapping())
        lanes = [graph.create_infer_request() for _ in range(self._options.in_flight)]
        for lane in lanes:
            self._infer(lane, zeros(shapes, self._dtypes))
        return lanes

    @contextmanager
    def _taken(self, shapes: Shapes, is_alone: bool) -> Iterator[ov.InferRequest]:
        """The request that runs these shapes, for this thread alone."""
        key = shape_key(shapes)
        lanes = self._lanes.of(key) if self._options.in_flight > 1 and not is_alone and key in self._warmed else None
        if lanes is not None:
            with lanes.taken() as request:
                yield request
            return
        with self._lock:
            yield self._request(shapes)

    def _request(self, shapes: Shapes) -> ov.InferRequest:
        key = shape_key(shapes)
        if key in self._warmed:
            return self._warmed[key]
        self._on_unforeseen(shapes)
        request = self._unforeseen.pop(key, None) or self._new_request(shapes)
        self._unforeseen[key] = request
        while len(self._unforeseen) > UNFORESEEN_KEPT:
            self._unforeseen.popitem(last=False)
        return request

    def _new_request(self, shapes: Shapes) -> ov.InferRequest:
        return self._compile(shapes, self._options).create_infer_request()

    def _compile(self, shapes: Shapes, options: OpenVinoOptions) -> ov.CompiledModel:
        # OpenVINO maps a cached graph into memory even while another process writes it, and that process then dies of
        # SIGBUS.
        with self._compiling, alone(options.cache_dir, digest(shape_key(shapes))):
            model = self._source(shapes)
            self._outputs = tuple(port.get_any_name() for port in model.outputs)
            return core().compile_model(model, "CPU", options.properties())

    def _infer(self, request: ov.InferRequest, inputs: Arrays) -> dict[str, Array]:
        """Outputs by the names that the source gave them: compiling may add names of its own, never another order. The
        inputs live here alone, and end with the call: handed to `infer` they would live until the next."""
        feeds = {name: np.require(array, self._dtypes[name], ("C", "W")) for name, array in inputs.items()}
        for name, feed in feeds.items():
            request.set_tensor(name, ov.Tensor(feed, shared_memory=True))
        request.infer({}, share_inputs=True)
        ports = zip(self._outputs, request.model_outputs, strict=True)
        return {name: np.array(request.get_tensor(port).data) for name, port in ports}


def from_ir(
    path: Path, options: OpenVinoOptions | None = None, on_unforeseen: OnUnforeseen = ignore_unforeseen
) -> OpenVinoEngine:
    """An engine over an IR file (`.xml` with its `.bin` beside it). Raises `RuntimeError` when it cannot be read."""
    model = core().read_model(str(path))
    return OpenVinoEngine(partial(reshaped, model), input_dtypes(model), options, on_unforeseen)


def reshaped(model: ov.Model, shapes: Shapes) -> ov.Model:
    """A copy of the model with these static input shapes."""
    clone = model.clone()
    clone.reshape({name: ov.PartialShape(list(shape)) for name, shape in shapes.items()})
    return clone


def input_dtypes(model: ov.Model) -> dict[str, np.dtype[Any]]:
    """The names and numpy types of a graph's inputs."""
    return {port.get_any_name(): np.dtype(port.get_element_type().to_dtype()) for port in model.inputs}


@cache
def core() -> ov.Core:
    """This process's OpenVINO runtime: it owns the plugins, so there is one."""
    return ov.Core()
