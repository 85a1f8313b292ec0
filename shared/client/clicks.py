"""Clicks on one picture over a WebSocket: prompts out, masks in, the newest winning."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import connect

from shared.client.reach import ServerUnreachable, not_in_time
from shared.client.results import Prompted
from shared.client.transport import Closing, foreign, told
from shared.client.values import plain
from shared.errors import DeadlineExceeded

MAX_MESSAGE_BYTES = 64 * 2**20
MAX_IMAGE_BYTES = 16 * 2**20
"""Largest image that a stream takes as a message."""


class Clicks(Closing):
    """A context manager; blocking, for one thread. Every method raises the classes of `shared.errors`.

    `ask` is one prompt and its answer. To hover, `send` as often as the pointer moves and `receive` in between: an
    answer that is None was overtaken by a newer prompt. What takes longer than the time-out is `DeadlineExceeded`; the
    connection stays, and an answer may still come.
    """

    def __init__(self, url: str, headers: Mapping[str, str], timeout_s: float) -> None:
        self._url, self._timeout_s = url, timeout_s
        self._open = ExitStack()
        try:
            connecting = connect(url, additional_headers=headers, open_timeout=timeout_s, max_size=MAX_MESSAGE_BYTES)
            self._socket = self._open.enter_context(connecting)
        except TimeoutError as error:  # before the connection, or before the WebSocket
            raise DeadlineExceeded(f"No connection to {url} in time.") from error
        except (OSError, WebSocketException) as error:
            raise ServerUnreachable(f"No connection to {url}: {error}") from error
        self._count = 0

    def close(self) -> None:
        """End the connection."""
        self._open.close()

    def open(self, picture: bytes | str) -> str:
        """Click on this picture from now on: an encoded image, or a stored one's id. Its id, once it is embedded."""
        self._send(picture if isinstance(picture, bytes) else json.dumps({"image_id": picture}))
        while "image_id" not in (message := self._message()) or "id" in message:
            pass
        identifier: str = message["image_id"]
        return identifier

    def send(self, prompts: Sequence[Mapping[str, Any]], **options: Any) -> int:
        """Send prompts, as on the wire, and return their number."""
        self._count += 1
        self._send(json.dumps(plain({"id": self._count, "prompts": list(prompts), **options})))
        return self._count

    def receive(self) -> tuple[int, Prompted | None]:
        """The next answer and the number of its prompts; None where newer ones have overtaken them."""
        message = self._message()
        try:
            return message["id"], None if message.get("dropped") else Prompted.of(message)
        except (KeyError, TypeError, ValueError) as error:
            raise foreign(200) from error

    def ask(self, prompts: Sequence[Mapping[str, Any]], **options: Any) -> Prompted:
        """Send prompts and wait for their answer."""
        number = self.send(prompts, **options)
        while True:
            answered, result = self.receive()
            if answered == number and result is not None:
                return result

    def _send(self, message: str | bytes) -> None:
        try:
            self._socket.send(message)
        except (OSError, ConnectionClosed) as error:
            raise ServerUnreachable(f"The connection broke: {error}") from error

    def _message(self) -> dict[str, Any]:
        try:
            message: Any = json.loads(self._socket.recv(self._timeout_s))
        except TimeoutError as error:
            raise not_in_time(self._url) from error
        except (OSError, ConnectionClosed) as error:
            raise ServerUnreachable(f"No answer: {error}") from error
        except ValueError as error:
            raise foreign(200) from error
        if not isinstance(message, dict):
            raise foreign(200)
        if "error" in message:
            raise told(message["error"], 200)
        return message
