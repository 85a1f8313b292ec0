"""`make load` against a small server: it ends with 0 when the budgets are kept and with 1 when one is broken."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import pytest

from tests.data import ROOT

pytestmark = pytest.mark.integration
ROUTES = ("/v1/semantic", "/v1/instance", "/v1/panoptic", "/v1/promptable", "/v1/images", "/v1/jobs")


@contextmanager
def platform(refuses_every: int, slower_together: bool) -> Iterator[str]:
    """The routes that users need, each answered after 10 ms, one at a time; `slower_together`: after 200 ms from the
    first time on that two ask at once, for good, so that no machine is quick enough to hide it."""
    requests, at_work, together = count(1), threading.Lock(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65_536  # head and body in one packet

        def do_GET(self) -> None:
            self._say(200, {"paths": {route: {} for route in ROUTES}, "state": "done"})

        def do_DELETE(self) -> None:
            self._say(200, {})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if at_work.locked():
                together.set()
            with at_work:
                time.sleep(0.2 if slower_together and together.is_set() else 0.01)
            refused = refuses_every and next(requests) % refuses_every == 0
            masks = {"image_id": "sha256:0", "results": [{"masks": [{"logits": {}}]}]}
            good = 202 if self.path.startswith("/v1/jobs") else 200
            self._say(503 if refused else good, masks)

        def _say(self, status: int, body: object) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Location", "/v1/jobs/job_1")
            with suppress(BrokenPipeError):  # a user whose time is up does not wait
                self.end_headers()
                self.wfile.write(data)
                self.wfile.flush()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def locust(url: str, throughput: float) -> subprocess.CompletedProcess[str]:
    """Six users for some seconds, with a budget for p95 that no busy machine breaks, and this one for throughput."""
    command = [sys.executable, "-m", "locust", "-f", "load_tests/locustfile.py", "--headless", "--only-summary"]
    budgets = ["--budget-queue", "50", "--budget-throughput", str(throughput)]
    return subprocess.run(
        [*command, *budgets, "-u", "6", "-r", "6", "-t", "8s", "--host", url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize(
    ("refuses_every", "slower_together", "broken"),
    [(0, False, ""), (40, False, "error rate"), (0, True, "throughput ratio")],
    ids=["good", "refuses", "slower together"],
)
def test_budgets_decide_how_it_ends(refuses_every: int, slower_together: bool, broken: str) -> None:
    with platform(refuses_every, slower_together) as url:
        done = locust(url, 0.7 if slower_together else 0.1)
    told = "\n".join(line for line in done.stdout.splitlines() if line.startswith("BROKEN"))
    assert done.returncode == (1 if broken else 0), done.stdout + done.stderr
    assert broken in told
    assert "/v1/jobs (result)" in done.stdout
    assert "no Collectors: this server has no /v1/promptable/everything" in done.stdout
    assert "kept    error rate" in done.stdout or "BROKEN  error rate" in done.stdout
