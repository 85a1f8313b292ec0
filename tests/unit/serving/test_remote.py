"""Calls over a handle: every way in which Ray fails becomes one of our errors, with one more try where that helps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ObjectLostError, RayTaskError
from ray.serve._private.common import DeploymentID
from ray.serve.context import _get_serve_request_context, _set_request_context
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RequestCancelledError

from shared.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidOption,
    ModelUnavailable,
    Overloaded,
    SegServeError,
)
from shared.serving.remote import Superseded, call, stream
from tests.unit.serving.held import settle, skip

Answer = Callable[[], Awaitable[Any]]


class Response:
    """What `remote` gives back: awaited for the answer, and told when nobody wants it any more."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.cancelled = False

    def __await__(self) -> Any:
        return self._answer().__await__()

    def cancel(self) -> None:
        self.cancelled = True


class Handle:
    """A handle whose calls are answered from a list, in order; the last answer is given again."""

    def __init__(self, *answers: object) -> None:
        self._answers = list(answers)
        self.responses: list[Response] = []
        self.options_seen: list[dict[str, str]] = []

    def options(self, **options: str) -> Handle:
        self.options_seen.append(options)
        return self

    def remote(self, *arguments: object) -> Response:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

        async def given() -> object:
            if isinstance(answer, float):
                await asyncio.sleep(answer)
            if isinstance(answer, BaseException) and not isinstance(answer, SegServeError):
                raise answer
            return answer

        self.responses.append(Response(given))
        return self.responses[-1]


async def ask(handle: Handle, within_s: float = 60, key: str = "") -> Any:
    stand_in: Any = handle
    return await call(stand_in, "segment", "image", deadline=time.time() + within_s, key=key)


def task_error(cause: Exception) -> Exception:
    make: Callable[..., Exception] = RayTaskError
    return make("segment", "Traceback: secret", cause, proctitle="x", pid=1, ip="127.0.0.1")


async def test_an_answer_passes_and_the_key_chooses_the_replica() -> None:
    handle = Handle("mask")
    assert await ask(handle, key="sha256:aa") == "mask"
    (options,) = handle.options_seen
    assert (options["method_name"], options["session_id"]) == ("segment", "sha256:aa")


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (BackPressureError(10, 10), Overloaded),
        (DeploymentUnavailableError(DeploymentID("Semantic", "a")), ModelUnavailable),
        (ActorDiedError(), ModelUnavailable),
        (RequestCancelledError("1"), ModelUnavailable),
        (task_error(ArithmeticError("secret")), InternalError),
        (ObjectLostError("00", None, ""), InternalError),
        (ZeroDivisionError("secret"), InternalError),
    ],
)
async def test_what_ray_raises_becomes_ours_and_tells_nothing(raised: Exception, kind: type[SegServeError]) -> None:
    with pytest.raises(kind) as caught:
        await ask(Handle(raised))
    assert "secret" not in caught.value.message
    assert caught.value.__cause__ is None


async def test_our_error_comes_out_of_a_task_error_as_it_went_in() -> None:
    went_in = InvalidOption.of("score_threshold", 2, 1, "must be at most 1")
    with pytest.raises(InvalidOption) as caught:
        await ask(Handle(task_error(went_in)))
    assert type(caught.value) is InvalidOption
    assert (caught.value.message, caught.value.details) == (went_in.message, went_in.details)


async def test_a_refusal_that_was_returned_is_raised() -> None:
    with pytest.raises(Overloaded):
        await ask(Handle(Overloaded("busy")))


@pytest.mark.parametrize("gone", [ActorDiedError(), asyncio.CancelledError()])
async def test_a_dead_replica_costs_one_more_try(gone: BaseException) -> None:
    handle = Handle(gone, "mask")
    assert await ask(handle) == "mask"
    assert len(handle.responses) == 2


async def test_a_replica_that_is_being_replaced_is_asked_again_until_another_answers() -> None:
    assert await ask(Handle(Superseded(), Superseded(), "mask")) == "mask"
    handle = Handle(Superseded())
    with pytest.raises(ModelUnavailable):
        await ask(handle, within_s=0.6)
    assert len(handle.responses) <= 3, "one each quarter of a second, until the deadline"


async def test_an_impatient_caller_hears_at_once_that_its_version_is_replaced() -> None:
    stand_in: Any = Handle(Superseded(), "mask")
    with pytest.raises(Superseded):
        await call(stand_in, "encode", "image", deadline=time.time() + 60, patient=False)


async def test_a_late_answer_is_cancelled_and_too_late() -> None:
    handle = Handle(1000.0)
    late = asyncio.create_task(ask(handle, within_s=60))
    await settle()
    await skip(60)
    with pytest.raises(DeadlineExceeded):
        await late
    assert [response.cancelled for response in handle.responses] == [True]


async def test_a_caller_who_leaves_takes_the_replicas_work_along() -> None:
    handle = Handle(1000.0)
    task = asyncio.create_task(ask(handle, within_s=60))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [response.cancelled for response in handle.responses] == [True]


class Generator:
    """What `remote` gives back for a generator: items, or what is raised in their place."""

    def __init__(self, items: list[object]) -> None:
        self._items = items
        self.cancelled = False

    async def __anext__(self) -> object:
        if not self._items:
            raise StopAsyncIteration
        item = self._items.pop(0)
        if isinstance(item, float):
            await asyncio.sleep(item)
        if isinstance(item, BaseException) and not isinstance(item, SegServeError):
            raise item
        return item

    def cancel(self) -> None:
        self.cancelled = True


class Streams:
    """A handle each of whose calls gives the next of these lists of items."""

    def __init__(self, *streams: list[object]) -> None:
        self.responses = [Generator(items) for items in streams]
        self.asked = 0
        self.options_seen: list[dict[str, object]] = []

    def options(self, **options: object) -> Streams:
        self.options_seen.append(options)
        return self

    def remote(self, *arguments: object) -> Generator:
        self.asked += 1
        return self.responses[self.asked - 1]


async def collect(handle: Streams, within_s: float = 60) -> list[Any]:
    stand_in: Any = handle
    return [item async for item in stream(stand_in, "everything", "image", deadline=time.time() + within_s, key="a")]


async def test_a_stream_passes_item_by_item() -> None:
    handle = Streams(["mask", "answer"])
    assert await collect(handle) == ["mask", "answer"]
    (options,) = handle.options_seen
    assert (options["method_name"], options["session_id"], options["stream"]) == ("everything", "a", True)
    assert not handle.responses[0].cancelled


@pytest.mark.parametrize("gone", [ActorDiedError(), Superseded(), asyncio.CancelledError()])
async def test_a_stream_that_had_not_begun_is_asked_for_again(gone: object) -> None:
    handle = Streams([gone], ["mask", "answer"])
    assert await collect(handle) == ["mask", "answer"]
    assert handle.asked == 2


async def test_a_stream_that_breaks_later_ends_with_our_error() -> None:
    handle = Streams(["mask", ActorDiedError()], ["mask"])
    with pytest.raises(ModelUnavailable):
        await collect(handle)
    assert handle.asked == 1
    with pytest.raises(Overloaded):
        await collect(Streams(["mask", Overloaded("busy")]))
    with pytest.raises(InternalError):
        await collect(Streams([ZeroDivisionError("secret")]))


async def test_a_stream_that_is_late_or_left_is_cancelled() -> None:
    late = Streams(["mask", 1000.0])
    collecting = asyncio.create_task(collect(late, within_s=60))
    await settle()
    await skip(60)
    with pytest.raises(DeadlineExceeded):
        await collecting
    assert late.responses[0].cancelled
    left = Streams(["mask", 1000.0])
    stand_in: Any = left
    items = stream(stand_in, "everything", deadline=time.time() + 60)
    assert await anext(items) == "mask"
    await items.aclose()
    assert left.responses[0].cancelled


async def test_calls_of_one_request_wait_under_ids_of_their_own() -> None:
    seen: list[str] = []

    class Noting(Handle):
        def remote(self, *arguments: object) -> Response:
            seen.append(_get_serve_request_context()._internal_request_id)
            return super().remote(*arguments)

    _set_request_context(request_id="r", _internal_request_id="parent")
    await asyncio.gather(*(ask(Noting("mask")) for _ in range(3)))
    assert len({*seen, "parent"}) == 4
    assert _get_serve_request_context()._internal_request_id == "parent"
