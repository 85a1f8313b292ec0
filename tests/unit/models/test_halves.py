"""A network in two halves answers as the whole does, and computes the first half once for each array."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from shared.catalog.catalog import find_card
from shared.models.adapters.street_engines import EMBEDDING, PROMPTS
from shared.models.adapters.street_exported import pruned
from shared.models.engines.engine import Array
from shared.models.engines.halves import KEPT, HalvedEngine, cut
from shared.models.engines.openvino import OpenVinoEngine, core, input_dtypes, reshaped
from shared.models.files import locate
from shared.models.postprocess.street_prompts import render_prompts

SHAPE = (1, 2, 4, 4)


def network() -> ov.Model:
    """relu(a) * b, and relu(a), turned, + b."""
    a, b = (ops.parameter([-1, 2, -1, -1], np.float32, name=name) for name in "ab")
    early = ops.relu(a)
    turned = ops.transpose(early, np.array([0, 1, 3, 2]))
    model = ov.Model([ops.result(ops.multiply(early, b)), ops.result(ops.add(turned, b))], [a, b], "both")
    for parameter, name in ((a, "a"), (b, "b")):
        parameter.output(0).get_tensor().set_names({name})
    for port, name in zip(model.outputs, ("product", "sum"), strict=True):
        port.get_tensor().set_names({name})
    return model


def engine() -> HalvedEngine:
    return HalvedEngine(network(), ("a", 2), ("b", 2))


def read_only(values: Array) -> Array:
    """A view through which nobody writes, on memory that the test still can write to."""
    view = values.view()
    view.flags.writeable = False
    return view


def test_the_first_half_alone_crosses_over() -> None:
    early, late = cut(reshaped(network(), {"a": SHAPE, "b": SHAPE}), "a", "b")
    assert [port.get_any_name() for port in early.inputs] == ["a"]
    assert [port.get_any_name() for port in late.inputs] == ["b", "a_0"]
    assert [port.get_any_name() for port in late.outputs] == ["product", "sum"]


def test_it_answers_as_the_whole() -> None:
    rng = np.random.default_rng(0)
    halved, whole = engine(), OpenVinoEngine(lambda shapes: reshaped(network(), shapes), input_dtypes(network()))
    halved.warm([{"a": SHAPE, "b": SHAPE}])
    for _ in range(3):
        inputs = {name: rng.normal(size=SHAPE).astype(np.float32) for name in "ab"}
        expected = whole.run(inputs)
        for found in (halved.run(inputs), halved.run({**inputs, "a": read_only(inputs["a"])})):
            assert found.keys() == expected.keys()
            assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_the_half_of_a_read_only_array_is_computed_once() -> None:
    halved, values, other = engine(), np.ones(SHAPE, np.float32), np.zeros(SHAPE, np.float32)
    frozen = read_only(values)
    halved.run({"a": frozen, "b": other})
    values += 1
    assert (halved.run({"a": frozen, "b": other})["sum"] == 1).all()
    assert (halved.run({"a": values, "b": other})["sum"] == 2).all()


def test_a_half_ends_with_its_array() -> None:
    halved, other = engine(), np.zeros(SHAPE, np.float32)
    values = np.ones(SHAPE, np.float32)
    halved.run({"a": read_only(values), "b": other})
    assert halved.kept == 1
    del values
    assert halved.kept == 0


def test_the_halves_of_few_arrays_are_kept() -> None:
    halved, other = engine(), np.zeros(SHAPE, np.float32)
    arrays = [np.full(SHAPE, value, np.float32) for value in range(KEPT + 3)]
    for values in arrays:
        halved.run({"a": read_only(values), "b": other})
    assert halved.kept == KEPT
    arrays[0][:] = 7
    assert (halved.run({"a": read_only(arrays[0]), "b": other})["sum"] == 7).all()


def test_other_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="inputs"):
        engine().run({"a": np.ones(SHAPE, np.float32)})


def test_the_bundled_decoder_says_the_same_in_halves() -> None:
    card = find_card("street", ())
    path = locate(card.name, str(card.extras["decoder"]), None)
    model = core().read_model(str(path))
    whole = OpenVinoEngine(lambda shapes: reshaped(pruned(model, ("masks", "iou")), shapes), input_dtypes(model))
    halved = HalvedEngine(model, (EMBEDDING, 80), (PROMPTS, 6))
    embedding = read_only(np.random.default_rng(0).normal(size=(1, 80, 24, 32)).astype(np.float16))
    for x in (3.0, 20.0):
        points = np.array([[x, 11.0]], np.float32)
        prompts = render_prompts(points, np.ones(1, np.int32), (1, 2, 50, 60), None, 24, 32, 1.0)[None]
        expected = whole.run({EMBEDDING: embedding, PROMPTS: prompts})
        found = halved.run({EMBEDDING: embedding, PROMPTS: prompts})
        for name in ("masks", "iou"):
            np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
