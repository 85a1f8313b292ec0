"""Contestants with the null model, really started: measured in turns, paused between, priced, and gone afterwards."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import psutil
import pytest

from load_tests.client import Target, load, post
from load_tests.contestants import CARDS, SERVERS, Absent, Running
from load_tests.peers.plan import Plan
from load_tests.pictures import padded_jpeg
from load_tests.processes import Command, Server
from load_tests.rounds import Entry, Load, Scenario, play

pytestmark = pytest.mark.integration
PLAN = Plan("null", "torch", card_dirs=(str(CARDS),))


def test_contestants_take_turns_and_nothing_is_left(tmp_path: Path) -> None:
    seen: list[Running] = []

    def started(plan: Plan, folder: Path, image: bytes) -> Running:
        seen.append(SERVERS["FastAPI"](plan, folder, image))
        return seen[-1]

    def absent(plan: Plan, folder: Path, image: bytes) -> Running:
        raise Absent("not on this machine")

    scenario = Scenario(
        "null",
        "null",
        (
            Entry("in-process", replace(PLAN, workers=2), (8,)),
            Entry("FastAPI", PLAN, (1, 8), start=started),
            Entry("Triton", PLAN, (1,), start=absent),
        ),
        (Load("null", (padded_jpeg(20_000, 32),), 1.0),),
        rounds=2,
    )
    results = play(scenario, tmp_path, lambda _: None)
    assert [(each.server, each.callers, each.round) for each in results.records] == [
        *(("in-process", 8, 0), ("FastAPI", 1, 0), ("FastAPI", 8, 0)),
        *(("FastAPI", 1, 1), ("FastAPI", 8, 1), ("in-process", 8, 1)),
    ]
    assert all(each.per_second > 0 and not each.errors for each in results.records)
    assert all(0 < each.cpu_ms < 100 for each in results.records if each.server == "FastAPI")
    assert [(each.name, each.reason) for each in results.missing] == [("Triton, 1 x 1", "not on this machine")]
    ours, theirs = results.standings
    assert ours.first == theirs.first
    assert ours.first.startswith(b"\x89PNG")
    assert theirs.pss_bytes > 10_000_000
    assert seen[0].servers[0].tree() == []


def test_a_paused_server_stands_still_and_goes_on_where_it_was(tmp_path: Path) -> None:
    image = padded_jpeg(20_000, 32)
    running = SERVERS["FastAPI"](PLAN, tmp_path, image)
    (server,) = running.servers
    try:
        server.pause()
        until = time.monotonic() + 60  # a signal reaches every thread in its own time
        while {process.status() for process in server.tree()} != {psutil.STATUS_STOPPED}:
            assert time.monotonic() < until
            time.sleep(0.01)
        server.resume()
        assert running.window([image], 2, 0.2).errors == {}
    finally:
        server.stop()


def test_a_server_that_does_not_start_is_absent_with_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(Absent, match=r"did not start: .*\bstreet\b"):
        SERVERS["FastAPI"](replace(PLAN, model="nothing"), tmp_path, b"")


class Moody(BaseHTTPRequestHandler):
    """Says 200, then 503, then closes the connection without a word, over and over."""

    protocol_version = "HTTP/1.1"
    turns = count()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        kind = next(self.turns) % 3
        if kind == 2:
            self.close_connection = True
            return
        self.send_response(200 if kind == 0 else 503)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"3\r\nabc\r\n0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def answering() -> Iterator[int]:
    """The port of a moody server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Moody) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_refusals_and_broken_connections_are_counted_apart(answering: int) -> None:
    window = load(post(f"http://127.0.0.1:{answering}/", b"x" * 10, {}), callers=1, seconds=0.5)
    good, errors = len(window.latencies_ms), window.errors
    assert set(errors) == {"503", "ConnectionResetError"}
    assert good == pytest.approx(errors["503"], abs=1)
    assert good == pytest.approx(errors["ConnectionResetError"], abs=1)
    assert window.per_second == pytest.approx(good / window.seconds)
    assert 0 < window.client_ms < 50


def test_nobody_listening_is_an_error_of_each_request() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        target = Target("127.0.0.1", taken.getsockname()[1], (b"GET / HTTP/1.1\r\n\r\n",))
        window = load(target, callers=2, seconds=0.1)
    assert window.latencies_ms == ()
    assert set(window.errors) == {"ConnectionRefusedError"}


def test_a_command_that_speaks_by_lines(tmp_path: Path) -> None:
    server = Server(Command(("cat",), {}, tmp_path / "log", talks=True))
    try:
        server.say("one line")
        assert server.heard() == "one line\n"
    finally:
        server.stop()
    assert server.tree() == []
