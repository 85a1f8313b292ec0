"""`python -m deploy.smoke URL`: is a platform ready, and do its models find something in a drawn street?

`helm test` asks so. One line a task; 1 where one fails.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import httpx
from PIL import Image

from shared.client import Client
from shared.errors import SegServeError
from shared.imaging.sample import street_scene
from shared.settings import settings


def wait_until_ready(url: str, within_s: float) -> None:
    """Return when `/readyz` says yes. Raises `TimeoutError` with what it said last."""
    until, said = time.monotonic() + within_s, "no answer"
    with httpx.Client(base_url=url, timeout=10, trust_env=False) as http:
        while time.monotonic() < until:
            with suppress(httpx.TransportError):
                answer = http.get("/readyz")
                if answer.status_code == httpx.codes.OK:
                    return
                said = f"{answer.status_code}: {answer.text[:500]}"
            time.sleep(1)
    raise TimeoutError(f"{url}/readyz: {said}")


def tasks_of(url: str, api_key: str | None) -> set[str]:
    """Every task that a model of this platform has."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    with httpx.Client(base_url=url, timeout=30, trust_env=False, headers=headers) as http:
        answer = http.get("/v1/models").raise_for_status()
    return {task for model in answer.json()["models"] for task in model["tasks"]}


def found(client: Client, task: str, street: bytes) -> int:
    """How many segments, objects or masks the task finds."""
    click = {"points": [[240, 300]], "labels": [1]}
    ask: dict[str, Callable[[], int]] = {
        "semantic": lambda: len(client.semantic(street).segments),
        "instance": lambda: len(client.instance(street).instances),
        "panoptic": lambda: len(client.panoptic(street).segments),
        "promptable": lambda: len(client.promptable(street, click).results[0]),
    }
    return ask[task]()


def run(url: str, within_s: float) -> int:
    """The exit status."""
    key = settings().api_key
    api_key = None if key is None else key.get_secret_value()
    buffer = io.BytesIO()
    Image.fromarray(street_scene()[0]).save(buffer, "PNG")
    try:
        wait_until_ready(url, within_s)
        with Client(url, api_key) as client:
            for task in sorted(tasks_of(url, api_key)):
                print(f"{task}: {found(client, task, buffer.getvalue())} found")
    except (TimeoutError, SegServeError, httpx.HTTPError) as error:
        print(f"{url} fails: {error}", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    """Parse the command line and run it."""
    parser = argparse.ArgumentParser(prog="python -m deploy.smoke", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--within", type=float, default=300, metavar="SECONDS", help="how long to wait until ready")
    arguments = parser.parse_args()
    return run(arguments.url.rstrip("/"), arguments.within)


if __name__ == "__main__":
    sys.exit(main())
