"""Requests as an ASGI server brings them, for tests of what happens while an answer is on its way."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Message

from tests.bad_input import SEMANTIC


class Server:
    """One request as an ASGI server would bring it; `leave` is the caller hanging up."""

    def __init__(self, body: bytes, complete: bool = True, path: str = SEMANTIC, **headers: str) -> None:
        self.path, self._headers = path, {"content_type": "image/png", **headers}
        self.sent: list[Message] = []
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._messages.put_nowait({"type": "http.request", "body": body, "more_body": not complete})

    def feed(self, body: bytes, complete: bool = False) -> None:
        """More of the body."""
        self._messages.put_nowait({"type": "http.request", "body": body, "more_body": not complete})

    @property
    def unread(self) -> int:
        """How many pieces nobody has asked for yet."""
        return self._messages.qsize()

    def leave(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})

    async def run(self, app: Any) -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
            "headers": [(name.replace("_", "-").encode(), text.encode()) for name, text in self._headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("gateway", 80),
            "scheme": "http",
            "root_path": "",
        }
        await app(scope, self._messages.get, self._send)

    async def _send(self, message: Message) -> None:
        self.sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.leave()  # as servers do once the answer is complete
