"""Routes whose functions read the request themselves: FastAPI has nothing to take apart for them, and is not asked to.

`direct` brings requests to them without the dozen layers that FastAPI puts before its routes, each of which also
handles every piece of the answer: a tenth of the gateway's own work on a request, and another eighth is the taking
apart. The documentation of such a route is FastAPI's as ever, and so is what happens to a request that fits none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send


class PlainRoute(APIRoute):
    """For coroutine functions that take the request alone and give a response."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Called once the path matches. Other methods are refused by FastAPI."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        response: Response = await self.endpoint(Request(scope, receive, send))
        await response(scope, receive, send)


def direct(app: FastAPI, routes: Iterable[BaseRoute]) -> None:
    """From now on requests for the plain routes among `routes` pass the application's own middleware alone: instances
    of their own, made with the same arguments. Nothing may be added to the application afterwards."""
    plain = [route for route in routes if isinstance(route, PlainRoute) and "{" not in route.path]
    app.middleware_stack = _Fork(app, {(method, each.path): each for each in plain for method in each.methods or ()})


class _Fork:
    """Two ways through an application."""

    def __init__(self, app: FastAPI, routes: Mapping[tuple[str, str], PlainRoute]) -> None:
        self._whole, self._routes = app.build_middleware_stack(), routes
        self._short: ASGIApp = _to_route
        for each in reversed(app.user_middleware):
            self._short = each.cls(self._short, *each.args, **each.kwargs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = None
        if scope["type"] == "http" and not scope.get("root_path"):
            route = self._routes.get((scope["method"], scope["path"]))
        if route is None:
            await self._whole(scope, receive, send)
            return
        scope["route"], scope["path_params"] = route, {}
        await self._short(scope, receive, send)


async def _to_route(scope: Scope, receive: Receive, send: Send) -> None:
    route: PlainRoute = scope["route"]
    await route.handle(scope, receive, send)
