"""HAProxy as the platform runs it: what it opens, what it passes on, what it answers itself, and how it is replaced."""

from __future__ import annotations

import json
import re
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import TypeVar

import httpx
import psutil
import pytest
from websockets.sync.client import connect

from deploy.haproxy import REQUEST_WITHIN_S, RETRY_AFTER_S, living
from deploy.transport import BUFFER_BYTES, haproxy_binary, write_wrapper
from tests.integration.proxy.behind import EVENTS, application, misbehaving
from tests.integration.proxy.haproxy import MAX_BODY, MAX_UPLOAD, Proxy, proxy
from tests.integration.trivial.listening import listeners
from tests.integration.trivial.platform import Load

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(sys.platform != "linux", reason="HAProxy exists for Linux only"),
]
MIB = 2**20
PATIENCE_S = 30
"""A machine may be slow where silence is not what is tested."""
SILENCE_S, PAUSE_S = 3, 1.0
"""The longest silence where it is tested, and a caller's pause between two events: far shorter, and longer together."""
IDENTIFIER = {"X-Request-ID": "caller.1"}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="sg-") as found:
        yield Path(found)


@pytest.fixture
def before_app(folder: Path) -> Iterator[Proxy]:
    with application() as number, proxy(folder, [number], PATIENCE_S) as found:
        yield found


@pytest.fixture
def impatient(folder: Path) -> Iterator[Proxy]:
    """One that waits for no silence longer than `SILENCE_S`."""
    with application() as number, proxy(folder, [number], SILENCE_S) as found:
        yield found


def told(answer: httpx.Response, status: int, code: str) -> None:
    """The answer is HAProxy's own, as ours are."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers.get("retry-after") == (str(RETRY_AFTER_S) if status == 503 else None)
    assert "x-answered-as" not in answer.headers
    body = answer.json()
    assert body.keys() == {"code", "message", "details", "request_id"}
    assert (body["code"], body["details"]) == (code, [])
    assert body["request_id"] == answer.headers["x-request-id"]


def test_it_opens_the_public_port_and_a_socket_for_its_owner(before_app: Proxy) -> None:
    (process,) = before_app.processes
    assert set(listeners(psutil.Process(process.pid))) == {("127.0.0.1", before_app.port)}
    assert stat.S_IMODE(before_app.admin.stat().st_mode) == 0o600


@pytest.mark.parametrize("size", [0, 100_000, 32 * MIB])
def test_a_body_passes_whole_under_the_callers_id(before_app: Proxy, size: int) -> None:
    with before_app.client() as client:
        answer = client.post("/length", content=b"x" * size, headers=IDENTIFIER)
        assert (answer.json()["bytes"], answer.json()["id"]) == (size, "caller.1")
        made = client.post("/length", content=b"x" * size, headers={"X-Request-ID": 'no "id"'})
        assert re.fullmatch("[0-9a-f]{32}", made.json()["id"])
        assert made.headers["x-request-id"] == made.json()["id"]


@pytest.mark.parametrize("status", [413, 429, 503, 502, 504])
def test_a_refusal_from_behind_arrives_as_sent(before_app: Proxy, status: int) -> None:
    with before_app.client() as client:
        answer = client.post(f"/refused/{status}", content=b"x" * 40 * MIB if status == 413 else b"x")
        assert answer.status_code == status
        assert answer.headers["retry-after"] == "7"
        assert answer.json() == {"code": "ours"}


def test_events_arrive_one_by_one_and_a_stream_may_outlast_the_limit_of_silence(impatient: Proxy) -> None:
    assert SILENCE_S < (EVENTS - 1) * PAUSE_S
    lines = []
    with impatient.client() as client, client.stream("GET", "/events") as answer, impatient.client() as other:
        for line in filter(None, answer.iter_lines()):
            lines.append(line)
            time.sleep(PAUSE_S)
            other.post("/next")  # the next one is not made before this one is here
    assert lines == [f"data: {index}" for index in range(EVENTS)]


def test_a_websocket_passes_and_may_be_silent_longer_than_a_request(impatient: Proxy) -> None:
    with connect(impatient.url.replace("http", "ws") + "/echo", proxy=None) as websocket:
        websocket.send("first")
        assert websocket.recv(timeout=60) == "first"
        time.sleep(SILENCE_S + 1)
        websocket.send("second")
        assert websocket.recv(timeout=60) == "second"


def test_a_gateway_that_is_away_is_503_and_one_that_says_nothing_504(folder: Path) -> None:
    with misbehaving(cuts=False) as silent, proxy(folder, [silent], SILENCE_S) as found, found.client() as client:
        told(client.post("/v1/semantic", content=b"x", headers=IDENTIFIER), 504, "deadline_exceeded")
    with proxy(folder, [found.port], PATIENCE_S) as away, away.client() as client:  # nobody is there any more
        answer = client.post("/v1/semantic", content=b"x", headers=IDENTIFIER)
        told(answer, 503, "model_unavailable")
        assert answer.json()["request_id"] == "caller.1"


def test_before_any_gateway_runs_it_says_so(folder: Path) -> None:
    with proxy(folder, [], PATIENCE_S) as found, found.client() as client:
        told(client.get("/v1/models"), 503, "model_unavailable")


def test_what_a_dying_gateway_had_is_sent_to_another_under_the_same_unique_id(folder: Path) -> None:
    heard: list[bytes] = []
    with ExitStack() as stack:
        cutting = stack.enter_context(misbehaving(cuts=True, heard=heard))
        good = stack.enter_context(application())
        found = stack.enter_context(proxy(folder, [cutting, good], PATIENCE_S))
        client = stack.enter_context(found.client())
        bodies = [b"x" * (BUFFER_BYTES // 2)] * 12
        answers = [client.post("/length", content=body) for body in bodies]
        assert [answer.status_code for answer in answers] == [200] * 12
        heard.clear()
        forged = [("X-Unique-ID", "mine"), ("X-UNIQUE-ID", "mine")]
        jobs = [client.post("/v1/jobs", content=b"x", headers=forged) for _ in range(8)]
        assert [answer.status_code for answer in jobs] == [200] * 8
        given = [answer.json()["unique_ids"] for answer in jobs]
        assert [len(each) for each in given] == [1] * 8
        ids = {each[0] for each in given}
        assert len(ids) == 8
        assert all(re.fullmatch("[0-9a-f-]{36}", each) for each in ids)
        tried = {
            line.partition(b": ")[2].decode() for line in b"".join(heard).splitlines() if b"unique-id" in line.lower()
        }
        assert tried, "at least one was tried there first"
        assert tried <= ids


def test_a_deletion_is_not_sent_again(folder: Path) -> None:
    with ExitStack() as stack:
        cutting = stack.enter_context(misbehaving(cuts=True))
        good = stack.enter_context(application())
        found = stack.enter_context(proxy(folder, [cutting, good], PATIENCE_S))
        client = stack.enter_context(found.client())
        answers = [client.delete("/v1/images") for _ in range(8)]
        assert {answer.status_code for answer in answers} == {405, 503}
        told(next(answer for answer in answers if answer.status_code == 503), 503, "model_unavailable")


def test_a_body_that_does_not_come_is_not_waited_for(folder: Path) -> None:
    with application() as number, proxy(folder, [number], PATIENCE_S) as found:
        text = found.path.read_text()
        for limit in (f"timeout http-request {REQUEST_WITHIN_S}s", f"wait-for-body time {REQUEST_WITHIN_S}s"):
            assert text.count(limit) == 1
            text = text.replace(limit, limit.replace(f"{REQUEST_WITHIN_S}s", "1s"))
        found.path.write_text(text)
        found.start("-sf", str(found.processes[-1].pid), "-x", str(found.admin))
        status, body = said(found, b"POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nx")
        assert (status, body["code"]) == (408, "request_timeout")
        assert status_of(found, b"POST /length HTTP/1.1\r\nHos") == 408


BROKEN = {
    "a length that is no number": b"POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: abc\r\n\r\n",
    "two lengths": b"POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "no HTTP": b"hello there\r\n\r\n",
    "the beginning of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50),
    "a path that is not escaped": "GET /straße HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "headers beyond the buffer": b"GET /length HTTP/1.1\r\nHost: a\r\nA: " + b"x" * BUFFER_BYTES + b"\r\n\r\n",
    "no size of a chunk": b"POST /length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
}
"""Bytes that HAProxy takes for no request: its page is compiled into it."""
NOT_UNDERSTOOD = {
    "a control character": b"GET /length HTTP/1.1\r\nHost: a\r\nA: b\x01\r\n\r\n",
}


@contextmanager
def answered(found: Proxy, sent: bytes) -> Iterator[HTTPResponse]:
    """The answer to these bytes."""
    with socket.create_connection(("127.0.0.1", found.port), timeout=60) as caller:
        caller.sendall(sent)
        answer = HTTPResponse(caller)
        answer.begin()
        yield answer


def status_of(found: Proxy, sent: bytes) -> int:
    """The status that these bytes are answered with."""
    with answered(found, sent) as answer:
        return answer.status


def said(found: Proxy, sent: bytes) -> tuple[int, dict[str, object]]:
    """What these bytes are answered: the status, and the body as JSON."""
    with answered(found, sent) as answer:
        assert answer.getheader("content-type") == "application/json"
        body: dict[str, object] = json.loads(answer.read())
        assert body.keys() == {"code", "message", "details", "request_id"}
        return answer.status, body


@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN)
def test_bytes_that_are_no_request_are_refused_at_once(before_app: Proxy, sent: bytes) -> None:
    assert status_of(before_app, sent) == 400


@pytest.mark.parametrize("sent", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD)
def test_what_the_gateways_server_does_not_understand_is_told_as_any_error(before_app: Proxy, sent: bytes) -> None:
    status, body = said(before_app, sent)
    assert (status, body["code"]) == (400, "malformed")


@pytest.mark.parametrize("method", ["BREW", "get", "PROPFIND", "TRACE", "DELETE"])
def test_a_method_that_a_path_does_not_take_is_told_with_those_it_takes(before_app: Proxy, method: str) -> None:
    for path, status, takes in (("/length", 405, {"GET", "HEAD", "POST"}), ("/nowhere", 404, set[str]())):
        request = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxx"
        with answered(before_app, request.encode()) as answer:
            assert answer.status == status
            assert set(answer.getheader("allow", "").split(", ")) - {""} == takes


@pytest.mark.parametrize("request_line", ["CONNECT a:80", "CONNECT a:443", "OPTIONS *"])
def test_where_no_path_is_no_method_is_allowed(before_app: Proxy, request_line: str) -> None:
    host = request_line.split()[1] if request_line.startswith("CONNECT") else "a"
    status, body = said(before_app, f"{request_line} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert (status, body["code"]) == (405, "method_not_allowed")


def test_a_length_beyond_the_limit_is_answered_before_its_body_comes(before_app: Proxy) -> None:
    head = "POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n"
    for path, length in (("/refused/413", MAX_BODY + 1), ("/v1/images", MAX_UPLOAD + 1), ("/refused/413", 10**15)):
        assert status_of(before_app, head.format(path, length).encode()) == 413
    with socket.create_connection(("127.0.0.1", before_app.port), timeout=1) as caller:
        caller.sendall(head.format("/v1/images", MAX_BODY + 1).encode())
        with pytest.raises(TimeoutError):
            caller.recv(1)  # not too long there: it is waited for


def test_serves_own_pages_are_not_seen_from_outside(before_app: Proxy) -> None:
    with before_app.client() as client:
        for path in ("/-/routes", "/-/ROUTES", "/-/healthz", "/%2D/healthz", "/%2d%2Fhealthz"):
            told(client.get(path), 404, "not_found")
        assert client.get("/length").status_code == 200  # HAProxy's own checks reach the gateway


def test_a_nodes_own_probe_learns_whether_a_gateway_answers_where_that_is_allowed(folder: Path) -> None:
    with application() as number:
        found = Proxy(folder, node_probes=True)
        found.configure([number])
        try:
            process = found.start()
            with found.client() as client:
                within(PATIENCE_S, lambda: client.get("/-/healthz").status_code == 200)
                for path in ("/-/routes", "/%2D/healthz", "/-/healthz/"):
                    told(client.get(path), 404, "not_found")
        finally:
            process.kill()
            process.wait()


def test_a_reload_and_a_start_beside_a_living_one_cost_no_request(folder: Path) -> None:
    with application() as number, proxy(folder, [number], PATIENCE_S) as found:
        with Load(found, lambda client: client.post("/length", content=b"x" * 1000)) as load:
            for reloads in (False, True, False):
                assert load.goes_on()
                found.configure([number])
                found.start(*(("-sf", str(found.processes[-1].pid), "-x", str(found.admin)) if reloads else ()))
                assert load.goes_on()
        assert load.failures() == {}
        *old, _ = found.processes
        assert [process.wait(timeout=120) for process in old] == [0, 0, 0]


def test_what_is_not_understood_is_not_opened(folder: Path) -> None:
    found = Proxy(folder)
    found.configure([])
    found.path.write_text(found.path.read_text() + "frontend new\n    bind *:9999\n")
    wrapper = write_wrapper(folder, haproxy_binary(), found.door, found.owner)
    done = subprocess.run([str(wrapper), "-db", "-f", str(found.path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "frontend new" in done.stderr


def test_it_ends_with_the_platform_however_that_ends_and_not_with_who_started_it(folder: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    found = Proxy(folder, owner=owner.pid)
    found.configure([])
    wrapper = write_wrapper(folder, haproxy_binary(), found.door, owner.pid)
    starts = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(600)"
    starter = subprocess.Popen([sys.executable, "-c", starts, str(wrapper), "-db", "-f", str(found.path)])
    try:
        pid = within(PATIENCE_S, lambda: living(str(found.admin)))
        starter.kill()
        starter.wait()
        time.sleep(1)
        assert living(str(found.admin)) == pid, "its next manager takes its sockets over"
        owner.kill()
        began = time.monotonic()
        owner.wait()
        within(5, lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
        assert time.monotonic() - began < 5
        again = subprocess.run([str(wrapper), "-db", "-f", str(found.path)], capture_output=True, timeout=120)
        assert again.returncode == 1, "nothing is started for a platform that has ended"
    finally:
        for process in (starter, owner):
            process.kill()
            process.wait()


def test_nothing_is_left_beside_one_that_ended_by_itself(folder: Path) -> None:
    def beside(parent: int) -> list[psutil.Process]:
        running = psutil.process_iter(["cmdline"])
        return [p for p in running if p.pid != parent and any(str(folder) in word for word in p.info["cmdline"] or ())]

    found = Proxy(folder)
    found.configure([])
    process = found.start()
    within(PATIENCE_S, lambda: beside(process.pid))
    process.kill()
    process.wait()
    within(PATIENCE_S, lambda: not beside(process.pid))


Found = TypeVar("Found")


def within(seconds: float, look: Callable[[], Found | None]) -> Found:
    """What `look` finds, looked for until then."""
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return found
