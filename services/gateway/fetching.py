"""The URL of an image in, its bytes out, fetched so that nobody reaches a private network through this server.

Each hop is treated alike: its URL is checked, its host is looked up once, every address found is checked, and the
connection is made to one of these and no other. TLS still proves the host's name. No proxy, no cookies, no credentials.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

import httpcore
import httpx

from services.gateway.addresses import permitted, read
from services.gateway.fields import IMAGE_URL, shown
from shared.errors import Detail, ImageUrlFailed, ImageUrlRefused, InvalidOption, Overloaded, SegServeError, detail
from shared.protocols import Sink
from shared.settings import Settings

MAX_URL_CHARACTERS = 2048
MAX_REDIRECTS = 4
MAX_ADDRESSES = 4
"""So many addresses of one host are tried; all are checked."""
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)
_NOT_PUBLIC = "the host has no address that images are fetched from"

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""A host and a port to addresses. Raises `OSError`."""


class Fetcher:
    """Fetches images by URL within one process's limits. One event loop only."""

    def __init__(
        self,
        settings: Settings,
        sink: Sink,
        lookup: Lookup | None = None,
        tls: Callable[[], ssl.SSLContext] = httpcore.default_ssl_context,
    ) -> None:
        self._settings = settings
        self._sink = sink
        self._lookup = lookup or _addresses
        self._make_tls = tls
        self._tls: ssl.SSLContext | None = None
        self._at_work = 0

    async def fetch(self, url: object, deadline: float) -> bytes:
        """The content at this URL, by `deadline` (Unix seconds). Raises `InvalidOption`, `ImageUrlRefused`,
        `ImageUrlFailed` or `Overloaded`, each about the field `image_url`."""
        settings = self._settings
        if settings.image_urls == "off":
            reason = "images are not fetched by URL here (this is switched off): send the image itself"
            raise InvalidOption.of(IMAGE_URL, shown(url), None, reason)
        if not isinstance(url, str) or len(url) > MAX_URL_CHARACTERS:
            raise InvalidOption.of(IMAGE_URL, shown(url), f"at most {MAX_URL_CHARACTERS} characters", "not a URL")
        if self._at_work >= settings.max_image_fetches:
            reason = "the server fetches as many images as it takes"
            raise Overloaded(details=(detail(IMAGE_URL, None, settings.max_image_fetches, reason),))
        self._at_work += 1
        begun, outcome = time.perf_counter(), "failed"
        try:
            found = await self._in_time(url, deadline)
            outcome = "ok"
            return found
        except ImageUrlRefused:
            outcome = "refused"
            raise
        finally:
            self._at_work -= 1
            self._sink.observe("segserve_image_fetch_seconds", time.perf_counter() - begun, outcome=outcome)

    async def _in_time(self, url: str, deadline: float) -> bytes:
        limit_s = self._settings.image_url_timeout_s
        try:
            async with asyncio.timeout(max(min(limit_s, deadline - time.time()), 0)):
                return await self._followed(url)
        except TimeoutError:
            raise ImageUrlFailed.of(IMAGE_URL, url, f"{limit_s:g} s", "the image did not come in time") from None
        except SegServeError as error:
            raise type(error)(f"{IMAGE_URL}: {error.message}", _about(url, error)) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError):
            raise ImageUrlFailed.of(IMAGE_URL, url, None, "the image could not be fetched") from None

    async def _followed(self, text: str) -> bytes:
        """Redirects are followed here, each as if it had been the first."""
        here = _parsed(text)
        for _ in range(MAX_REDIRECTS + 1):
            there = await self._hop(here)
            if isinstance(there, bytes):
                return there
            following = _joined(here, there)
            if here.scheme == "https" and following.scheme != "https":
                raise ImageUrlRefused("a redirect leads from https to another scheme")
            here = following
        raise ImageUrlFailed(f"more than {MAX_REDIRECTS} redirects", (detail(IMAGE_URL, None, MAX_REDIRECTS),))

    async def _hop(self, url: httpx.URL) -> bytes | str:
        """The content, or where it is said to be."""
        addresses = await self._checked(url)
        async with self._asked(url, addresses) as response:
            headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
            if response.status in _REDIRECTS and b"location" in headers:
                return headers[b"location"]
            if response.status != 200:
                raise ImageUrlFailed(f"the far side answered with status {response.status}")
            if headers.get(b"content-encoding", "identity").strip().lower() not in ("", "identity"):
                raise ImageUrlFailed("the far side sent the image compressed, which was not asked for")
            return await self._content(response, headers.get(b"content-length", ""))

    async def _content(self, response: httpcore.Response, announced: str) -> bytes:
        limit = self._settings.max_body_bytes
        too_large = ImageUrlFailed(f"the image has more than {limit} bytes", (detail(IMAGE_URL, None, limit),))
        if announced.isdecimal() and int(announced) > limit:
            raise too_large
        found = bytearray()
        async for chunk in response.aiter_stream():
            found += chunk
            if len(found) > limit:
                raise too_large
        return bytes(found)

    async def _checked(self, url: httpx.URL) -> Sequence[str]:
        """Addresses of the URL's host, looked up once, of which every one may be reached. Raises `ImageUrlRefused`,
        in the same words whether the host is unknown or private."""
        settings, host, port = self._settings, url.raw_host.decode("ascii"), _port(url)
        named = bool({host, f"{host}:{port}"} & set(settings.image_url_hosts))
        if url.scheme not in _PORTS or not host or (url.scheme == "http" and settings.image_urls == "https"):
            schemes = "https" if settings.image_urls == "https" else "http or https"
            raise ImageUrlRefused(f"should be a URL of {schemes}", (detail(IMAGE_URL, None, schemes),))
        if url.userinfo:
            raise ImageUrlRefused("a URL with a user name or password is not fetched")
        if port != _PORTS[url.scheme] and f"{host}:{port}" not in settings.image_url_hosts:
            raise ImageUrlRefused("this port is not fetched from", (detail(IMAGE_URL, None, _PORTS[url.scheme]),))
        try:
            found = await self._lookup(host, port)
            if found and all(permitted(read(each), named) for each in found):
                return found
        except (OSError, ValueError):  # ValueError: a name that no resolver takes
            pass
        raise ImageUrlRefused(_NOT_PUBLIC)

    @asynccontextmanager
    async def _asked(self, url: httpx.URL, addresses: Sequence[str]) -> AsyncIterator[httpcore.Response]:
        """The response to a GET of this URL, asked of these addresses."""
        if self._tls is None and url.scheme == "https":
            self._tls = await asyncio.to_thread(self._make_tls)  # reads a file of certificates
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=_port(url), target=url.raw_path)
        headers: Mapping[bytes | str, bytes | str] = {
            "Host": url.netloc,
            "Accept": "image/*",
            "Accept-Encoding": "identity",
            "User-Agent": "segserve",
        }
        backend = Pinned(addresses, self._settings.image_url_timeout_s / MAX_ADDRESSES)
        async with (
            httpcore.AsyncConnectionPool(self._tls, network_backend=backend, max_keepalive_connections=0) as pool,
            pool.stream("GET", target, headers=headers) as response,
        ):
            yield response


class Pinned(httpcore.AsyncNetworkBackend):
    """Connects to these addresses, whatever host it is asked for; `patience_s`: how long each is given."""

    def __init__(self, addresses: Sequence[str], patience_s: float) -> None:
        self._addresses = addresses[:MAX_ADDRESSES]
        self._patience_s = patience_s
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the first address that takes one. Raises `ConnectError` or `ConnectTimeout`."""
        failure: Exception = httpcore.ConnectError()
        for address in self._addresses:
            try:
                return await self._inner.connect_tcp(address, port, self._patience_s)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        """Wait, before another attempt."""
        await asyncio.sleep(seconds)


async def _addresses(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _parsed(text: str) -> httpx.URL:
    try:
        return httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        raise ImageUrlRefused("not a URL") from None


def _joined(here: httpx.URL, there: str) -> httpx.URL:
    try:
        return here.join(there)
    except (httpx.InvalidURL, ValueError):
        raise ImageUrlFailed("a redirect leads to no URL") from None


def _port(url: httpx.URL) -> int:
    return url.port or _PORTS.get(url.scheme, 0)


def _about(url: str, error: SegServeError) -> tuple[Detail, ...]:
    """The error as one about the URL that was sent, never about one that it led to."""
    limit = error.details[0].limit if error.details else None
    return (detail(IMAGE_URL, url, limit, error.message),)
