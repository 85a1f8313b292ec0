"""A network of two inputs cut in two: what the first alone decides is computed once for each array of it and kept; the
rest runs each time. A click on an image pays for the click alone, and its answer is the whole network's.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from threading import RLock

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from openvino.passes import ConstantFolding, Manager

from shared.models.engines.engine import (
    Array,
    Arrays,
    OnUnforeseen,
    Precision,
    Shapes,
    check_names,
    ignore_unforeseen,
)
from shared.models.engines.openvino import OpenVinoEngine, OpenVinoOptions, input_dtypes, reshaped

KEPT = 24
"""Arrays whose half is kept, the last ones used."""
SAMPLE = (64, 64)
"""Height and width by which the halves are asked for their inputs."""
MOVES = frozenset({"Transpose", "Reshape", "Broadcast", "Unsqueeze", "Squeeze"})
"""Operations that compute nothing."""
Place = tuple[int, tuple[int, ...]]
"""Address and shape of an array."""


def cut(model: ov.Model, first: str, second: str) -> tuple[ov.Model, ov.Model]:
    """Of a model with two inputs and static shapes: what depends on `first` alone, and the rest, whose inputs are
    `second` and the outputs of the former under their names. Takes the model apart: give it a clone."""
    passes = Manager()
    passes.register_pass(ConstantFolding())  # shapes that were computed from either input are numbers now
    passes.run_passes(model)
    inputs = {parameter.output(0).get_any_name(): parameter for parameter in model.get_parameters()}
    crossing = _crossing(model, inputs[first], inputs[second])
    for number, output in enumerate(crossing):
        output.get_tensor().set_names({f"{first}_{number}"})
    early = ov.Model([ops.result(output) for output in crossing], [inputs[first]], f"{first} alone").clone()
    handed = [_in_place_of(output) for output in crossing]
    return early, ov.Model(model.get_results(), [inputs[second], *handed], f"after {first}")


def _crossing(model: ov.Model, first: ov.Node, second: ov.Node) -> list[ov.Output]:
    """What the half after `first` hands to the other, each once."""
    early, late = {first.get_friendly_name()}, {second.get_friendly_name()}
    found: dict[tuple[str, int], ov.Output] = {}
    for node in model.get_ordered_ops():
        sources = [port.get_source_output() for port in node.inputs()]
        names = {source.get_node().get_friendly_name() for source in sources}
        if names & late or (names & early and node.get_type_name() == "Result"):
            late.add(node.get_friendly_name())
            for source in sources:
                if source.get_node().get_friendly_name() in early:
                    computed = _unmoved(source)
                    found[computed.get_node().get_friendly_name(), computed.get_index()] = computed
        elif names & early:
            early.add(node.get_friendly_name())
    return list(found.values())


def _unmoved(output: ov.Output) -> ov.Output:
    """What `output` was before values were only moved about. The later half moves them, at next to no cost: kept in
    each order that it reads them in, they would fill nearly twice the memory."""
    while output.get_node().get_type_name() in MOVES:
        output = output.get_node().input(0).get_source_output()
    return output


def _in_place_of(output: ov.Output) -> ov.Node:
    """An input that whoever read `output` reads now."""
    parameter = ops.parameter(output.get_partial_shape(), output.get_element_type())
    parameter.output(0).get_tensor().set_names(output.get_names())
    readers = [port for port in output.get_target_inputs() if port.get_node().get_type_name() != "Result"]
    for port in readers:
        port.replace_source_output(parameter.output(0))
    return parameter


class HalvedEngine:
    """The two halves in OpenVINO as the one engine of the whole network; both inputs are NCHW of the same height and
    width. The half of an array that is read-only is kept while the array lives and is among the `KEPT` last used; of
    any other it is computed each time."""

    name = OpenVinoEngine.name
    batch_limit = OpenVinoEngine.batch_limit

    def __init__(
        self,
        model: ov.Model,
        first: tuple[str, int],
        second: tuple[str, int],
        options: OpenVinoOptions | None = None,
        on_unforeseen: OnUnforeseen = ignore_unforeseen,
    ) -> None:
        """`model` is the whole network, its shapes open; its inputs by name and number of channels."""
        self._model, self._channels = model, dict((first, second))
        self._first, self._second = self._channels
        dtypes, (_, late) = input_dtypes(model), self._halves(*SAMPLE)
        # Once an array: no need of a lane for each of the passes that overlap.
        alone = replace(options or OpenVinoOptions(), in_flight=1)
        self._early = OpenVinoEngine(self._early_of, {self._first: dtypes[self._first]}, alone)
        self._late = OpenVinoEngine(self._late_of, input_dtypes(late), options, on_unforeseen)
        self._kept: OrderedDict[Place, tuple[weakref.ref[Array], Arrays]] = OrderedDict()
        self._lock = RLock()  # an array may end, and say so, while its thread is in here

    @property
    def precision(self) -> Precision:
        """Of the arithmetic."""
        return self._late.precision

    @property
    def kept(self) -> int:
        """How many arrays' halves are here."""
        return len(self._kept)

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """See `Engine.run`."""
        check_names(inputs, dict.fromkeys((self._first, self._second)))
        return self._late.run({self._second: inputs[self._second], **self._half(inputs[self._first])})

    def warm(self, shapes: Sequence[Shapes]) -> None:
        """See `Engine.warm`."""
        self._early.warm([{self._first: each[self._first]} for each in shapes])
        self._late.warm([{self._second: each[self._second], **self._handed(each[self._first])} for each in shapes])

    def _handed(self, shape: tuple[int, ...]) -> Shapes:
        return self._early.outputs_of({self._first: shape})

    def _early_of(self, shapes: Shapes) -> ov.Model:
        return self._halves(*shapes[self._first][2:])[0]

    def _late_of(self, shapes: Shapes) -> ov.Model:
        return self._halves(*shapes[self._second][2:])[1]

    def _halves(self, height: int, width: int) -> tuple[ov.Model, ov.Model]:
        shapes = {name: (1, channels, height, width) for name, channels in self._channels.items()}
        return cut(reshaped(self._model, shapes), self._first, self._second)

    def _half(self, array: Array) -> Arrays:
        """What `early` says of the array: kept, or computed now. Two threads that ask at once both compute it."""
        if array.flags.writeable:
            return self._early.run({self._first: array})
        owner = array.base if isinstance(array.base, np.ndarray) else array
        place = array.__array_interface__["data"][0], array.shape
        with self._lock:
            found = self._kept.get(place)
            if found is not None and found[0]() is owner:
                self._kept.move_to_end(place)
                return found[1]
        half = self._early.run({self._first: array})
        with self._lock:
            self._kept[place] = weakref.ref(owner, lambda ended: self._forget(place, ended)), half
            self._kept.move_to_end(place)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return half

    def _forget(self, place: Place, ended: weakref.ref[Array]) -> None:
        with self._lock:
            found = self._kept.get(place)
            if found is not None and found[0] is ended:
                del self._kept[place]
