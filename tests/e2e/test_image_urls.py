"""Images by URL where a platform has that switched on: fetched by its gateway from a server beside it, and from no
other."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from shared.client import Client, Uploaded
from shared.errors import ImageUrlFailed, ImageUrlRefused
from shared.store.keys import image_id
from tests.integration.trivial.platform import HERE, environment, grey
from tests.platform import Platform, running

pytestmark = pytest.mark.e2e
PICTURE = grey(200)
SEMANTIC = "/v1/semantic"


@dataclass
class Far:
    """A server that is not ours, and the paths that it was asked for."""

    url: str
    elsewhere: str
    """Where its path `/away` leads."""
    asked: list[str] = field(default_factory=list)


@contextmanager
def serving(elsewhere: str = "") -> Iterator[Far]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            if self.path == "/away":
                self.send_response(302)
                self.send_header("Location", found.elsewhere)
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif self.path == "/grey.png":
                self.send_response(200)
                self.send_header("Content-Length", str(len(PICTURE)))
                self.end_headers()
                self.wfile.write(PICTURE)
            else:
                self.send_error(404)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Far(f"http://127.0.0.1:{server.server_port}", elsewhere)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def private() -> Iterator[Far]:
    """A server beside the platform that it may not ask."""
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def far(private: Far) -> Iterator[Far]:
    """The server that the platform may ask."""
    with serving(f"{private.url}/grey.png") as found:
        yield found


@pytest.fixture(scope="module")
def switched_on(far: Far) -> Iterator[Platform]:
    """A platform with one small model that fetches from `far`, by http too."""
    hosts = json.dumps([far.url.removeprefix("http://")])
    urls = {"SEGSERVE_IMAGE_URLS": "http", "SEGSERVE_IMAGE_URL_HOSTS": hosts}
    with running("--config", str(HERE / "one.yaml"), **environment(), **urls) as found:
        yield found


@pytest.fixture
def http(switched_on: Platform) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=switched_on.url, timeout=120) as found:
        yield found


@pytest.fixture
def client(switched_on: Platform) -> Iterator[Client]:
    with Client(switched_on.url, timeout_s=120) as found:
        yield found


@pytest.mark.parametrize("place", ["json", "data", "params"])
def test_what_is_at_a_url_is_answered_as_if_it_had_been_sent(http: httpx.Client, far: Far, place: str) -> None:
    far.asked.clear()
    sent = http.post(SEMANTIC, content=PICTURE, headers={"Content-Type": "image/png"})
    fetched = http.post(SEMANTIC, **{place: {"image_url": f"{far.url}/grey.png"}})  # type: ignore[arg-type]
    assert (sent.status_code, fetched.status_code) == (200, 200), fetched.text
    assert fetched.json()["segments"] == sent.json()["segments"] != []
    assert "fetch;dur=" in fetched.headers["server-timing"]
    assert far.asked == ["/grey.png"]


def test_the_client_stores_prompts_and_replaces_by_url(client: Client, far: Far) -> None:
    where = f"{far.url}/grey.png"
    stored, missing, own = client.upload_many([where, f"{far.url}/nowhere", PICTURE])
    assert isinstance(stored, Uploaded)
    assert isinstance(own, Uploaded)
    assert stored.image_id == own.image_id == image_id(PICTURE)
    assert isinstance(missing, ImageUrlFailed)
    replaced = client.picture("semantic", grey(250), "replace", background=where, matting=False)
    assert replaced == client.picture("semantic", grey(250), "replace", background=PICTURE, matting=False)
    job = client.jobs.submit("semantic", where)
    assert client.jobs.wait(job).state == "done"


def test_nothing_else_beside_the_platform_is_asked(client: Client, far: Far, private: Far) -> None:
    for url in (private.url, f"{far.url}/away", "http://169.254.169.254/latest/meta-data", "http://localhost/a.png"):
        with pytest.raises(ImageUrlRefused):
            client.semantic(url)
    assert private.asked == []
