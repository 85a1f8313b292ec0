"""Routes whose functions read the request themselves: FastAPI has nothing to take apart for them, and is not asked to.

An eighth of the gateway's own work on a request. The documentation of such a route is FastAPI's as ever.
"""

from __future__ import annotations

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class PlainRoute(APIRoute):
    """For coroutine functions that take the request alone and give a response."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Called once the path matches. Other methods are refused by FastAPI."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        response: Response = await self.endpoint(Request(scope, receive, send))
        await response(scope, receive, send)
