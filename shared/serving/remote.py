"""A call over a Serve handle, with our errors: what Ray raises comes in here and never goes further.

The call has a deadline and ends with its caller: when either goes, the replica's work is cancelled. A call whose
replica died is tried once more, since every call of ours is idempotent.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from contextvars import copy_context
from typing import Any

from ray.exceptions import NodeDiedError, RayActorError, RayError, RayTaskError, TaskCancelledError, WorkerCrashedError
from ray.serve._private.utils import generate_request_id
from ray.serve.context import _set_request_context
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
    RequestCancelledError,
)
from ray.serve.handle import DeploymentHandle

from shared.errors import DeadlineExceeded, InternalError, ModelUnavailable, Overloaded, SegServeError

logger = logging.getLogger(__name__)

GONE = (
    RayActorError,
    NodeDiedError,
    WorkerCrashedError,
    ReplicaUnavailableError,
    RequestCancelledError,
    TaskCancelledError,
)
"""What a call raises when its replica went away under it (a forced stop cancels what still runs)."""


SUPERSEDED_PAUSE_S = 0.25
PICKLE = "pickle"
"""What goes between replicas is found by name there; the default, made for classes of a notebook, is slower."""


class Superseded(ModelUnavailable):
    """The replica belongs to a version of the model that is being replaced: another one will answer."""


async def call(
    handle: DeploymentHandle[Any],
    method: str,
    *arguments: object,
    deadline: float,
    key: str = "",
    patient: bool = True,
) -> Any:
    """`handle.method(*arguments)` by `deadline` (Unix seconds). `key` chooses the replica where the router hashes.
    `patient`: ask again while only superseded replicas answer; else `Superseded` is for the caller's caller.

    A replica answers a refusal by returning the `SegServeError`; it is raised here. Raises `SegServeError` only.
    """
    try:
        answer = await _until_current(handle, method, arguments, deadline, key, patient)
    except Exception as error:
        raise translated(error, handle) from None
    if isinstance(answer, SegServeError):
        raise answer
    return answer


async def stream(
    handle: DeploymentHandle[Any], method: str, *arguments: object, deadline: float, key: str = ""
) -> AsyncGenerator[Any, None]:
    """What the generator `handle.method(*arguments)` gives, by `deadline`; `key` as in `call`. Closing it ends the
    replica's work. Raises `SegServeError` only; asks once more where the replica was gone before the first item."""
    retried = begun = False
    while True:
        try:
            async with aclosing(_items(handle, method, arguments, deadline, key)) as items:
                async for item in items:
                    if isinstance(item, SegServeError):
                        raise item
                    begun = True
                    yield item
            return
        except Superseded:
            if begun or time.time() + SUPERSEDED_PAUSE_S > deadline:
                raise
            await asyncio.sleep(SUPERSEDED_PAUSE_S)
        except Exception as error:
            if begun or retried or not isinstance(error, GONE):
                raise translated(error, handle) from None
            logger.warning("%s of %s: the replica is gone (%s): once more", method, handle, type(error).__name__)
            retried = True


async def _items(
    handle: DeploymentHandle[Any], method: str, arguments: tuple[object, ...], deadline: float, key: str
) -> AsyncGenerator[Any, None]:
    response: Any = _sent(handle, method, arguments, key, stream=True)
    ended = False
    try:
        while True:
            async with limit(deadline):
                try:
                    item = await anext(response)
                except StopAsyncIteration:
                    ended = True
                    return
            yield item
    finally:
        if not ended:
            response.cancel()


@asynccontextmanager
async def limit(deadline: float) -> AsyncIterator[None]:
    """Waits for a replica until `deadline`: `DeadlineExceeded` after it, and a stop from the replica's own side is
    told from one of ours."""
    try:
        async with asyncio.timeout(max(0.0, deadline - time.time())):
            yield
    except TimeoutError:
        raise DeadlineExceeded from None
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise RequestCancelledError from None


async def _until_current(
    handle: DeploymentHandle[Any],
    method: str,
    arguments: tuple[object, ...],
    deadline: float,
    key: str,
    patient: bool,
) -> Any:
    """Ask again while only a superseded replica answers, and once more when a replica died."""
    retried = False
    while True:
        try:
            answer = await _once(handle, method, arguments, deadline, key)
        except GONE as error:
            if retried:
                raise
            logger.warning("%s of %s: the replica is gone (%s): once more", method, handle, type(error).__name__)
            retried = True
            continue
        if not patient or not isinstance(answer, Superseded) or time.time() + SUPERSEDED_PAUSE_S > deadline:
            return answer
        await asyncio.sleep(SUPERSEDED_PAUSE_S)


async def _once(
    handle: DeploymentHandle[Any], method: str, arguments: tuple[object, ...], deadline: float, key: str
) -> Any:
    response: Any = _sent(handle, method, arguments, key, stream=False)
    ended = False
    try:
        async with limit(deadline):
            answer = await response
            ended = True
            return answer
    finally:
        if not ended:
            response.cancel()


def _sent(handle: DeploymentHandle[Any], method: str, arguments: tuple[object, ...], key: str, stream: bool) -> Any:
    """The response of a call that is on its way, under an internal id of its own.

    Calls of one request inherit its id, and Serve's consistent-hash router finds waiting calls by it (Ray 2.60): of two
    that wait at once for one deployment, as when a request embeds two images, one would wait for ever.
    """
    chosen = handle.options(
        method_name=method,
        session_id=key,
        stream=stream,
        request_serialization=PICKLE,
        response_serialization=PICKLE,
    )

    def send() -> Any:
        _set_request_context(_internal_request_id=generate_request_id())
        return chosen.remote(*arguments)

    return copy_context().run(send)


def translated(error: Exception, handle: DeploymentHandle[Any]) -> SegServeError:
    """Our error for what a handle raised; the cause of an unknown one is logged and never shown."""
    if isinstance(error, RayTaskError):
        cause = error.cause
        if isinstance(cause, SegServeError):
            return type(cause)(cause.message, cause.details, cause.retry_after_s)
        logger.error("%s failed:\n%s", handle, error.traceback_str)
        return InternalError()
    if isinstance(error, SegServeError):
        return error
    if isinstance(error, BackPressureError):
        return Overloaded(retry_after_s=1.0)
    if isinstance(error, (DeploymentUnavailableError, *GONE)):
        return ModelUnavailable(retry_after_s=5.0)
    if not isinstance(error, RayError | RayServeException):
        logger.error("%s failed on our side", handle, exc_info=error)
    else:
        logger.error("%s failed: %s", handle, error)
    return InternalError()
