"""The Open Inference Protocol over ASGI, its requests and answers written and read by Triton's own client."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import httpx
import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult

from services.gateway.routes.compat import inference_outputs, tensors
from shared.calls import ModelInfo
from shared.settings import Settings
from tests.bad_input import PNG, png_header
from tests.data import pixels_of
from tests.unit.gateway.running import Running, running
from tests.unit.gateway.tiny import Brightness, bright, info

LENGTH = tensors.HEADER_LENGTH
INFER = "/v2/models/threshold/infer"
CLICK = "/v2/models/wand/infer"
TEXT = base64.b64encode(PNG).decode()
PIXELS = pixels_of(PNG)
IMAGE: dict[str, Any] = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [TEXT]}


def tensor(name: str, values: Any, datatype: str, binary: bool = True) -> InferInput:
    """An input of Triton's client."""
    found = InferInput(name, list(values.shape), datatype)
    found.set_data_from_numpy(values, binary_data=binary)
    return found


def encoded(data: bytes = PNG) -> InferInput:
    """An encoded image."""
    return tensor("image", np.array([data], dtype=np.object_), "BYTES")


async def infer(
    gateway: Running,
    path: str,
    inputs: list[InferInput],
    outputs: list[InferRequestedOutput] | None = None,
    **more: Any,
) -> InferResult:
    """One inference as Triton's client sends and reads it."""
    body, length = InferenceServerClient.generate_request_body(inputs, outputs, **more)
    headers = {} if length is None else {LENGTH: str(length)}
    answer = await gateway.client.post(path, content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    told = answer.headers.get(LENGTH)
    return InferenceServerClient.parse_response_body(answer.content, header_length=told and int(told))


async def refused(gateway: Running, status: int, says: str, path: str = INFER, **body: Any) -> None:
    """A JSON request that must be told why it is refused."""
    told(await gateway.client.post(path, json=body), status, says)


def told(answer: httpx.Response, status: int, says: str) -> None:
    """An error as Triton's client reads it."""
    assert (answer.status_code, set(answer.json())) == (status, {"error"}), answer.text
    assert says in answer.json()["error"], answer.text


async def test_an_encoded_image_gives_the_label_map(gateway: Running) -> None:
    found = await infer(gateway, INFER, [encoded()], request_id="7")
    labels = found.as_numpy("label_map")
    assert (labels.dtype, labels.shape) == (np.uint16, (48, 64))
    assert np.array_equal(labels, np.where(bright(PNG), 1, 65535))
    assert found.as_numpy("scores").tolist() == [1.0]
    assert found.as_numpy("labels").tolist() == [b"bright"]
    response = found.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("7", "threshold", "1")
    assert found.as_numpy("masks") is None, "they say what the map says, and come where they are asked for"


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("batch", [True, False])
async def test_pixels_are_an_image_too(binary: bool, batch: bool, gateway: Running) -> None:
    pixels = PIXELS[None] if batch else PIXELS
    outputs = [InferRequestedOutput("masks", binary_data=binary), InferRequestedOutput("label_map", binary_data=binary)]
    found = await infer(gateway, INFER, [tensor("image", pixels, "UINT8", binary)], outputs)
    assert np.array_equal(pixels_of(gateway.dense.calls[0].image), PIXELS)
    assert np.array_equal(found.as_numpy("masks"), bright(PNG)[None])
    assert np.array_equal(found.as_numpy("label_map"), np.where(bright(PNG), 1, 65535))


async def test_json_alone_will_do(gateway: Running) -> None:
    answer = await gateway.client.post(INFER, json={"inputs": [IMAGE], "outputs": [{"name": "masks"}]})
    assert answer.headers["content-type"] == "application/json"
    [masks] = answer.json()["outputs"]
    assert (masks["datatype"], masks["shape"]) == ("BOOL", [1, 48, 64])
    assert np.array_equal(np.array(masks["data"]).reshape(48, 64), bright(PNG))


async def test_parameters_are_the_tasks_options(gateway: Running) -> None:
    await infer(
        gateway, INFER, [encoded()], parameters={"task": "panoptic", "score_threshold": 0.5, "classes": "car, sky"}
    )
    call = gateway.dense.calls[0]
    assert (call.task, call.options.score_threshold, call.options.classes) == ("panoptic", 0.5, ("car", "sky"))


async def test_prompts_give_a_mask_each(gateway: Running) -> None:
    points = np.array([[[5, 5], [0, 0]], [[60, 5], [50, 40]]], np.float32)
    labels = np.array([[1, -1], [1, 0]], np.int32)
    prompts = [tensor("point_coords", points, "FP32"), tensor("point_labels", labels, "INT32")]
    boxes = tensor("boxes", np.array([[0, 0, 20, 20], [40, 0, 64, 48]], np.float32), "FP32")
    found = await infer(gateway, CLICK, [encoded(), *prompts, boxes])
    masks = found.as_numpy("masks")
    assert masks.dtype == np.bool_
    assert np.array_equal(masks, np.stack([~bright(PNG), bright(PNG)]))
    assert found.as_numpy("scores").tolist() == [1.0, 1.0]
    one, two = gateway.wand.calls[0].prompts
    assert (one.points.tolist(), one.labels.tolist(), one.box) == ([[5, 5]], [1], (0, 0, 20, 20))
    assert (two.points.tolist(), two.labels.tolist()) == ([[60, 5], [50, 40]], [1, 0])


POINTS = {"name": "point_coords", "datatype": "FP32", "shape": [1, 1, 2], "data": [5, 5]}


@pytest.mark.parametrize(
    ("inputs", "status", "says"),
    [
        ([], 422, "inputs"),
        ([POINTS], 422, "image"),
        ([IMAGE, IMAGE], 422, "each once"),
        ([IMAGE, {**IMAGE, "name": "x"}], 422, "image, point_coords"),
        ([{**IMAGE, "data": ["!"]}], 400, "base64"),
        ([{**IMAGE, "data": [7]}], 422, "base64"),
        ([{**IMAGE, "shape": [2], "data": [TEXT, TEXT]}], 422, "one image a request"),
        ([{**IMAGE, "datatype": "FP32"}], 422, "UINT8[H,W,3]"),
        ([{**IMAGE, "data": [base64.b64encode(b"none").decode()]}], 415, "image"),
        ([{**IMAGE, "data": [base64.b64encode(png_header(16000, 16000)).decode()]}], 413, "pixels"),
        ([{**IMAGE, "parameters": {"shared_memory_region": "x"}}], 422, "shared_memory_region"),
        ([{**IMAGE, "datatype": "UINT8", "shape": [1, 1, 3], "data": [1, 2]}], 422, "has 2 values where its shape"),
        ([{**IMAGE, "datatype": "UINT8", "shape": [1, 1, 3], "data": [1, 2, 256]}], 422, "no UINT8"),
        ([{**IMAGE, "datatype": "UINT8", "shape": [1, 1, 3], "data": [[[1, 2], [3]]]}], 422, "numbers for the shape"),
        ([{**IMAGE, "datatype": "UINT8", "shape": [1, 1, 3], "data": "abc"}], 422, "has 0 values"),
        ([{**IMAGE, "datatype": "UINT8", "shape": [1, 1, 4], "data": [1, 2, 3, 4]}], 422, "UINT8[H,W,3]"),
        ([{**IMAGE, "datatype": "UINT8", "shape": [0, 4, 3], "data": []}], 422, "UINT8[H,W,3]"),
        ([{**IMAGE, "datatype": "UINT8", "shape": [16000, 16000, 3], "data": []}], 413, "too large"),
        ([{**IMAGE, "datatype": "UINT8", "shape": [-1, 4, 3], "data": []}], 422, "at least 0"),
        ([IMAGE, POINTS], 404, "no such model is served for promptable"),
    ],
)
async def test_bad_inputs_are_told_apart(inputs: list[Any], status: int, says: str, gateway: Running) -> None:
    await refused(gateway, status, says, inputs=inputs)
    assert not gateway.dense.calls


BOXES = {"name": "boxes", "datatype": "FP32", "shape": [1, 4], "data": [0, 0, 9, 9]}


@pytest.mark.parametrize(
    ("inputs", "status", "says"),
    [
        ([], 422, "needs prompts"),
        ([{**POINTS, "datatype": "FP64"}], 422, "datatype FP32"),
        ([{**POINTS, "shape": [1, 2]}], 422, "another shape"),
        ([{**POINTS, "shape": [0, 1, 2], "data": []}], 422, "N is one prompt each"),
        ([{**POINTS, "shape": [300, 1, 2], "data": []}], 422, "up to 256"),
        ([{**POINTS, "shape": [1, 2000, 2], "data": []}], 422, "up to 1024"),
        ([{**POINTS, "shape": [2, 1, 2], "data": [1, 1, 2, 2]}, BOXES], 422, "N is one prompt each"),
        ([{**POINTS, "data": [5, 500]}], 422, "points"),
        ([{**POINTS, "data": [5, None]}], 422, ""),
        (
            [BOXES, {"name": "point_labels", "datatype": "INT32", "shape": [1, 1], "data": [1]}],
            422,
            "one label a point",
        ),
        ([POINTS, {"name": "point_labels", "datatype": "INT32", "shape": [1, 1], "data": [3]}], 422, "labels"),
        ([{**BOXES, "data": [9, 9, 0, 0]}], 422, "box"),
    ],
)
async def test_bad_prompts_are_told_apart(inputs: list[Any], status: int, says: str, gateway: Running) -> None:
    await refused(gateway, status, says, CLICK, inputs=[IMAGE, *inputs])
    assert not gateway.wand.calls


@pytest.mark.parametrize(
    ("more", "status", "says"),
    [
        ({"outputs": [{"name": "depth"}]}, 422, "no such output"),
        ({"outputs": [{"name": "masks", "parameters": {"classification": 3}}]}, 422, "classification"),
        ({"parameters": {"task": "depth"}}, 422, "should be a task"),
        ({"parameters": {"task": "instance"}}, 404, "instance"),
        ({"parameters": {"format": "png"}}, 422, "unknown parameter"),
        ({"parameters": {"min_confidence": 7}}, 422, "at most 1"),
    ],
)
async def test_bad_parameters_are_told_apart(more: dict[str, Any], status: int, says: str, gateway: Running) -> None:
    await refused(gateway, status, says, inputs=[IMAGE], **more)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda body, length: (body[:-1], length), "beyond the end of the body"),
        (lambda body, length: (body + b"x", length), "belong to none"),
        (lambda body, length: (body, 10**9), "how many bytes of JSON"),
        (lambda body, length: (body, "x"), "how many bytes of JSON"),
        (lambda body, length: (body, 0), "how many bytes of JSON"),
        (lambda body, length: (body, length - 1), "not valid JSON"),
        (lambda body, length: (body, length + 1), "not valid JSON"),
    ],
)
async def test_binary_bodies_that_do_not_fit_are_malformed(change: Any, says: str, gateway: Running) -> None:
    body, length = change(*InferenceServerClient.generate_request_body([encoded()]))
    told(await gateway.client.post(INFER, content=body, headers={LENGTH: str(length)}), 400, says)


async def test_a_length_within_binary_data_must_fit(gateway: Running) -> None:
    body, length = InferenceServerClient.generate_request_body([encoded()])
    content = body[:length] + b"\xff\xff\xff\xff" + body[length + 4 :]
    told(await gateway.client.post(INFER, content=content, headers={LENGTH: str(length)}), 422, "image: has")


async def test_too_much_is_refused_by_its_size() -> None:
    async with running(settings=Settings(max_body_bytes=10_000)) as gateway:
        body, length = InferenceServerClient.generate_request_body(
            [tensor("image", np.zeros((99, 99, 3), np.uint8), "UINT8")]
        )
        told(await gateway.client.post(INFER, content=body, headers={LENGTH: str(length)}), 413, "10000")


async def test_pixels_in_json_are_bounded(gateway: Running) -> None:
    data = [[[255, 255, 255]] * 1024] * 700
    await refused(
        gateway, 413, "bytes of JSON", inputs=[{**IMAGE, "datatype": "UINT8", "shape": [700, 1024, 3], "data": data}]
    )


async def test_lists_in_json_are_bounded(gateway: Running) -> None:
    body = b'{"inputs": [' + b"[]," * 300_000 + b"[]]}"
    told(await gateway.client.post(INFER, content=body), 400, "too many lists")


async def test_outputs_are_bounded(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "MAX_JSON_VALUES", 3000)
    asked: dict[str, Any] = {"inputs": [IMAGE], "outputs": [{"name": "masks"}]}
    await refused(gateway, 422, "ask for binary_data", **asked)
    monkeypatch.setattr(inference_outputs, "MAX_MASK_PIXELS", 3000)
    await refused(gateway, 422, "run lengths", **asked, parameters={"binary_data_output": True})


async def test_the_server_and_its_models_describe_themselves(gateway: Running) -> None:
    get = gateway.client.get
    assert "binary_tensor_data" in (await get("/v2")).json()["extensions"]
    assert (await get("/v2/health/live")).json() == {"live": True}
    assert (await get("/v2/health/ready")).json() == {"ready": True}
    found = (await get("/v2/models/wand")).json()
    assert [each["name"] for each in found["inputs"]] == ["image", "point_coords", "point_labels", "boxes"]
    assert {"name": "masks", "datatype": "BOOL", "shape": [-1, -1, -1]} in found["outputs"]
    assert found["versions"] == ["1"]
    for path in ("/v2/models/wand/ready", "/v2/models/wand/versions/1/ready", "/v2/models/threshold/ready"):
        assert (await get(path)).json()["ready"]
    assert (await get("/v2/models/wand/config")).json()["max_batch_size"] == 0
    listed = (await gateway.client.post("/v2/repository/index")).json()
    assert [each["name"] for each in listed] == ["threshold", "wand"]
    for path in ("/v2/models/x", "/v2/models/wand/versions/2", "/v2/models/x/ready", "/v2/models/x/config"):
        told(await get(path), 404, "no such model")
    told(await get("/v2/nothing"), 404, "nothing here")
    assert not gateway.sink.total("segserve_requests_total", route="/v2/health/live"), "a probe"


async def test_a_version_is_chosen_by_the_path() -> None:
    older: ModelInfo = info("threshold", "semantic", version="0", default=False)
    async with running(more=([Brightness(older)], [])) as gateway:
        assert (await gateway.client.get("/v2/models/threshold")).json()["versions"] == ["0", "1"]
        found = await infer(gateway, "/v2/models/threshold/versions/0/infer", [encoded()])
        assert found.get_response()["model_version"] == "0"
        assert not gateway.dense.calls


@pytest.mark.parametrize("change", ["load", "unload"])
async def test_models_are_not_changed_by_api(change: str, gateway: Running) -> None:
    told(await gateway.client.post(f"/v2/repository/models/wand/{change}"), 403, "switched off")


async def test_keys_are_asked_for_and_tenants_apart() -> None:
    digests = {hashlib.sha256(key.encode()).hexdigest(): key for key in ("ada", "bo")}
    asked = {"inputs": [IMAGE, POINTS]}
    async with running(settings=Settings(api_keys=digests)) as gateway:
        for path in ("/v2", "/v2/models/wand", "/v2/models/wand/ready"):
            told(await gateway.client.get(path), 401, "API key")
        await refused(gateway, 401, "API key", "/v2/repository/models/wand/load")
        assert (await gateway.client.get("/v2/health/ready")).status_code == 200
        await refused(gateway, 401, "API key", CLICK, **asked)
        for key in digests.values():
            answer = await gateway.client.post(CLICK, json=asked, headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == 200
        assert [call.caller.tenant for call in gateway.wand.calls] == ["ada", "bo"]
