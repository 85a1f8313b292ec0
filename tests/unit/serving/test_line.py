"""A straight line over a real socket: answers, refusals and failures come back, and either end may go at any time."""

from __future__ import annotations

import asyncio
import os
import pickle
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from shutil import rmtree

import pytest

from shared.errors import InternalError, Overloaded
from shared.serving.line import HEAD, PREFIX, Address, Line, LineLost, LineServer, Method, _Served
from shared.serving.replica import ModelReplica
from shared.serving.straight import Introduction
from tests.unit.serving.held import settle

LARGE = 5_000_000
"""Bytes that come in many pieces."""


class Replica:
    """What is called; `wait` says when it has `begun` and `ended`, and ends when it may `go`."""

    def __init__(self) -> None:
        self.go, self.begun, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def echo(self, value: object) -> object:
        return value

    async def wait(self, value: object) -> object:
        self.begun.set()
        try:
            await self.go.wait()
        finally:
            self.ended.set()
        return value

    async def refuse(self) -> Overloaded:
        return Overloaded("too many")

    async def fail(self) -> None:
        raise ValueError("a secret")

    async def untellable(self) -> object:
        return lambda: "no pickle takes this"


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where sockets lie: not below pytest's own folder, whose path is too long for one."""
    tmp_path_factory.getbasetemp()  # made once, before another folder is the temporary one
    short = Path(tempfile.mkdtemp())
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    yield short
    rmtree(short)


@pytest.fixture
def replica() -> Replica:
    return Replica()


@pytest.fixture
async def address(replica: Replica) -> AsyncIterator[Address]:
    methods: dict[str, Method] = {
        name: getattr(replica, name) for name in ("echo", "wait", "refuse", "fail", "untellable")
    }
    server = LineServer(methods, "here")
    first, second = await asyncio.gather(server.address(), server.address())
    assert first is not None
    assert first == second
    yield first
    server.close()


@pytest.fixture
async def line(address: Address) -> AsyncIterator[Line]:
    opened = await Line.opened(address)
    yield opened
    opened.close()


async def test_answers_come_to_those_who_asked_in_any_order(line: Line, replica: Replica) -> None:
    slow = asyncio.create_task(line.call("wait", "slow"))
    await replica.begun.wait()
    assert await asyncio.gather(*(line.call("echo", number) for number in range(50))) == list(range(50))
    assert not slow.done()
    replica.go.set()
    assert await slow == "slow"


async def test_large_calls_and_answers_arrive_whole(line: Line) -> None:
    large = os.urandom(LARGE)
    assert list(await asyncio.gather(line.call("echo", large), line.call("echo", 1))) == [large, 1]


async def test_a_refusal_is_a_value_and_a_failure_says_nothing_of_its_cause(line: Line) -> None:
    refusal, failure = await line.call("refuse"), await line.call("fail")
    assert isinstance(refusal, Overloaded)
    assert isinstance(failure, InternalError)
    assert "secret" not in str(failure)
    assert await line.call("echo", 1) == 1


async def test_an_answer_that_cannot_be_sent_is_a_failure_at_once(line: Line) -> None:
    async with asyncio.timeout(30):
        assert isinstance(await line.call("untellable"), InternalError)
    assert await line.call("echo", 1) == 1


async def test_a_call_that_cannot_be_sent_is_not_under_way(line: Line) -> None:
    with pytest.raises((pickle.PicklingError, AttributeError)):
        await line.call("echo", lambda: 1)
    assert line.under_way == 0
    assert await line.call("echo", 1) == 1


async def test_work_that_nobody_waits_for_ends(line: Line, replica: Replica) -> None:
    task = asyncio.create_task(line.call("wait", 1))
    await replica.begun.wait()
    task.cancel()
    await replica.ended.wait()
    assert await line.call("echo", 2) == 2


async def test_a_call_that_is_cancelled_before_it_begins_leaves_nothing(replica: Replica) -> None:
    served = _Served({"wait": replica.wait})
    call = pickle.dumps(("wait", (1,)))
    served.data_received(HEAD.pack(len(call), 1) + call + HEAD.pack(0, 1))
    await settle()
    assert served._tasks == {}
    assert not replica.begun.is_set()


async def test_an_answer_that_cannot_be_read_loses_the_line_at_once(folder: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(HEAD.size)
        writer.write(HEAD.pack(1, 1) + b"?")
        await reader.read()
        writer.close()
        ended.set()

    ended = asyncio.Event()

    path = str(folder / "other.sock")
    async with await asyncio.start_unix_server(answer, path):
        line = await Line.opened(Address("here", path))
        with pytest.raises(LineLost):
            async with asyncio.timeout(30):
                await line.call("echo", 1)
        await ended.wait()
    assert line.lost


async def test_a_caller_that_goes_takes_its_work_along(line: Line, replica: Replica) -> None:
    task = asyncio.create_task(line.call("wait", 1))
    await replica.begun.wait()
    line.close()
    with pytest.raises(LineLost):
        await task
    await replica.ended.wait()
    with pytest.raises(LineLost):
        await line.call("echo", 1)


async def test_a_replica_that_dies_fails_its_calls_at_once(folder: Path) -> None:
    program = (
        "import asyncio, sys; from shared.serving.line import LineServer\n"
        "async def main():\n"
        "    server = LineServer({'wait': asyncio.sleep}, 'here')\n"
        "    print((await server.address()).path, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    child = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(folder)}
    )
    assert child.stdout is not None
    path = (await asyncio.to_thread(child.stdout.readline)).strip()
    line = await Line.opened(Address("here", path))
    task = asyncio.create_task(line.call("wait", 60))
    await asyncio.sleep(0)
    child.kill()
    await asyncio.to_thread(child.communicate)
    with pytest.raises(LineLost):
        await task
    assert line.lost
    server = LineServer({}, "here")  # the next replica clears up after the dead one
    assert await server.address() is not None
    assert not Path(path).parent.exists()
    server.close()


async def test_a_replica_that_ends_takes_its_socket_along(folder: Path, replica: Replica) -> None:
    class Ending(ModelReplica):
        def __init__(self) -> None:
            self._introduction = object.__new__(Introduction)
            self._introduction._line = LineServer({"echo": replica.echo}, "here")

    ending = Ending()
    assert ending._introduction is not None
    assert await ending._introduction._line.address() is not None
    assert os.listdir(folder)
    ending.__del__()  # as Serve does
    assert os.listdir(folder) == []


async def test_nobody_else_may_come_near_the_socket(address: Address) -> None:
    assert stat.S_IMODE(Path(address.path).parent.stat().st_mode) == 0o700


async def test_without_a_place_for_the_socket_there_is_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert await LineServer({}, "here").address() is None


async def test_folders_of_the_living_and_of_others_stay(folder: Path, replica: Replica) -> None:
    kept = [folder / f"{PREFIX}{os.getpid()}-abc", folder / f"{PREFIX}x"]
    for each in kept:
        each.mkdir()
    server = LineServer({"echo": replica.echo}, "here")
    assert await server.address() is not None
    assert all(each.exists() for each in kept)
    server.close()


async def test_a_neighbour_that_sweeps_at_the_same_time_takes_no_line(
    folder: Path, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = folder / f"{PREFIX}1-swept-by-another"
    monkeypatch.setattr(Path, "glob", lambda *_: iter([gone]))
    server = LineServer({"echo": replica.echo}, "here")
    assert await server.address() is not None
    server.close()
