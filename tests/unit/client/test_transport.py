"""What the client does when the server is busy, broken, away or no SegServe at all; and what goes over the wire."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from shared.client import Client, ServerUnreachable
from shared.errors import (
    DeadlineExceeded,
    ImageStoreUnavailable,
    InternalError,
    Overloaded,
    SegServeError,
    TooManyRequests,
)
from shared.schemas.examples import INSTANCE, MODEL, PANOPTIC, PROMPTABLE, SEMANTIC, UPLOADED
from shared.types import Prompt

IMAGE = np.zeros((4, 6, 3), np.uint8)
ID = PROMPTABLE["image_id"]


class Server:
    """Answers with what it is given, one after the other, the last one for ever; remembers requests and waits."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []
        self.client = Client(
            "http://segserve", transport=httpx.MockTransport(self._answer), sleep=self.waits.append, retries=3
        )

    def sent(self) -> Any:
        """The JSON of the last request."""
        return json.loads(self.requests[-1].content)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def refused(error: type[SegServeError], retry_after: str | None = None) -> httpx.Response:
    body = {"code": error.code, "message": "no", "details": [], "request_id": "r1"}
    return httpx.Response(error.status, json=body, headers={"Retry-After": retry_after} if retry_after else {})


def ok(answer: Any) -> httpx.Response:
    return httpx.Response(200, json=answer)


@pytest.mark.parametrize("error", [Overloaded, ImageStoreUnavailable, TooManyRequests])
def test_a_busy_server_is_asked_again_when_it_says(error: type[SegServeError]) -> None:
    server = Server(refused(error, "2"), refused(error, "1"), ok(SEMANTIC))
    assert server.client.semantic(IMAGE).model == "street"
    assert server.waits == [2.0, 1.0]
    first, _, last = (request.content for request in server.requests)
    assert len(first) == len(last) > 50, "the picture is sent again, whole"


def test_it_gives_up_after_so_many_times_with_the_servers_own_error() -> None:
    server = Server(refused(Overloaded, "1"))
    with pytest.raises(Overloaded) as caught:
        server.client.semantic(IMAGE)
    assert caught.value.retry_after_s == 1.0
    assert len(server.requests) == 4


@pytest.mark.parametrize("retry_after", [None, "soon", "3600"])
def test_without_a_time_to_come_again_it_does_not(retry_after: str | None) -> None:
    server = Server(refused(Overloaded, retry_after))
    with pytest.raises(Overloaded):
        server.client.semantic(IMAGE)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (httpx.ConnectError("refused"), ServerUnreachable),
        (httpx.RemoteProtocolError("cut off"), ServerUnreachable),
        (httpx.ReadTimeout("slow"), DeadlineExceeded),
    ],
)
def test_a_server_that_is_away_is_said_so(failure: Exception, error: type[SegServeError]) -> None:
    server = Server(failure)
    with pytest.raises(error, match="http://segserve"):
        server.client.models()
    assert not server.client.ready()


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(502, text="<html>Bad gateway</html>"),
        httpx.Response(500, json={"detail": "oops"}),
        httpx.Response(500, json=["oops"]),
        httpx.Response(200, text="<html>Welcome</html>"),
        httpx.Response(200, json={"hello": "world"}),
        httpx.Response(200, json=["hello"]),
    ],
)
def test_what_is_no_segserve_is_said_so(answer: httpx.Response) -> None:
    with pytest.raises(InternalError, match=f"{answer.status_code} there is no SegServe"):
        Server(answer).client.semantic(IMAGE)


def test_an_error_of_a_later_version_is_an_error_still() -> None:
    body = {"code": "brand_new", "message": "A new reason.", "details": [], "request_id": "r1"}
    with pytest.raises(SegServeError, match="A new reason"):
        Server(httpx.Response(418, json=body)).client.semantic(IMAGE)


@pytest.mark.parametrize(("status", "ready"), [(200, True), (503, False), (404, False)])
def test_readiness_is_asked_once(status: int, ready: bool) -> None:
    server = Server(httpx.Response(status, headers={"Retry-After": "1"}))
    assert server.client.ready() is ready
    assert len(server.requests) == 1


CALLS: list[tuple[dict[str, Any], Callable[[Client], Any]]] = [
    (SEMANTIC, lambda client: client.semantic(ID)),
    (INSTANCE, lambda client: client.instance(ID)),
    (PANOPTIC, lambda client: client.panoptic(ID)),
    (PROMPTABLE, lambda client: client.promptable(ID, {"points": [[1, 1]]})),
    (UPLOADED, lambda client: client.upload(IMAGE)),
    ({"models": [MODEL]}, lambda client: client.models()),
]


@pytest.mark.parametrize(
    ("answer", "call"), CALLS, ids=["semantic", "instance", "panoptic", "prompts", "upload", "models"]
)
def test_the_interfaces_own_examples_are_read_and_so_are_answers_with_more_in_them(
    answer: dict[str, Any], call: Callable[[Client], Any]
) -> None:
    assert call(Server(ok(answer)).client) == call(Server(ok({**answer, "of_a_later_version": 1})).client)


def test_options_left_out_are_left_to_the_server() -> None:
    server = Server(ok(SEMANTIC))
    server.client.semantic(ID)
    assert server.sent() == {"image_id": ID}
    server.client.semantic(ID, model="street", classes=("car", "road"), min_confidence=0.5, tta=False)
    assert server.sent() == {
        "image_id": ID,
        "model": "street",
        "classes": ["car", "road"],
        "min_confidence": 0.5,
        "tta": False,
    }


def test_a_prompt_goes_over_the_wire_as_the_interface_has_it() -> None:
    logits = np.linspace(-3, 3, 6, dtype=np.float32).reshape(2, 3)
    prompt = Prompt(np.array([[1.5, 2]], np.float32), np.array([0], np.int32), (0, 1, 4, 5), logits, "car")
    server = Server(ok(PROMPTABLE))
    server.client.promptable(ID, [prompt, {"box": [0, 0, 2, 2]}], multimask=True, return_logits=True)
    data = base64.b64encode(logits.astype("<f2").tobytes()).decode()
    wire = {
        "points": [[1.5, 2.0]],
        "labels": [0],
        "box": [0, 1, 4, 5],
        "mask": {"shape": [2, 3], "dtype": "float16", "data": data},
        "text": "car",
    }
    assert server.sent() == {
        "image_id": ID,
        "prompts": [wire, {"box": [0, 0, 2, 2]}],
        "multimask": True,
        "return_logits": True,
    }


def test_logits_come_back_as_an_array_and_go_out_again_unchanged() -> None:
    logits = np.arange(6, dtype=np.float16).reshape(2, 3) / 7
    data = base64.b64encode(logits.astype("<f2").tobytes()).decode()
    answer = json.loads(json.dumps(PROMPTABLE))
    answer["results"][0]["masks"][0]["logits"] = {"shape": [2, 3], "dtype": "float16", "data": data}
    server = Server(ok(answer))
    (mask,) = server.client.promptable(ID, {"points": [[1, 1]]}, return_logits=True).results[0]
    assert mask.logits is not None
    np.testing.assert_array_equal(mask.logits, logits)
    server.client.promptable(ID, Prompt(mask=mask.logits.astype(np.float32)))
    assert server.sent()["prompts"][0]["mask"]["data"] == data


def test_everything_takes_the_parameters_of_sam() -> None:
    mask = {**PROMPTABLE["results"][0]["masks"][0], "point": [180.5, 200.0]}
    server = Server(ok({**PROMPTABLE, "masks": [mask]}))
    found = server.client.everything(ID, points_per_side=16, pred_iou_thresh=0.9)
    assert server.requests[-1].url.path == "/v1/promptable/everything"
    assert server.sent() == {"image_id": ID, "points_per_side": 16, "pred_iou_thresh": 0.9}
    assert found.masks[0].point == (180.5, 200.0)
    assert found.image_id == ID


def test_labels_beyond_a_byte_make_a_wider_map() -> None:
    segment = {"label": "x", "label_id": 700, "score": 1.0, "area": 24, "rle": {"size": [4, 6], "counts": [0, 24]}}
    answer = {**SEMANTIC, "width": 6, "height": 4, "segments": [segment]}
    labels = Server(ok(answer)).client.semantic(IMAGE).label_map()
    assert labels.dtype == np.uint16
    assert (labels == 700).all()
