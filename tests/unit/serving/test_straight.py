"""Calls that leave Serve's way: by the handle first, then by the line, and by the handle again where that is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.errors import DeadlineExceeded, InternalError, InvalidOption, SegServeError
from shared.serving import straight
from shared.serving.line import Address, Line, LineServer
from shared.serving.remote import Superseded
from shared.serving.straight import Introduced, Lines, Spread, Straight
from tests.unit.serving.test_remote import Handle

NODE = "here"


class Replica:
    """Answers calls by the line from a list, in order; the last one is given again."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.begun = asyncio.Event()

    async def segment(self, _: object) -> object:
        self.asked += 1
        self.begun.set()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, float):
            await asyncio.sleep(answer)
        if isinstance(answer, BaseException) and not isinstance(answer, SegServeError):
            raise answer
        return answer


@pytest.fixture
async def opened() -> AsyncIterator[list[LineServer]]:
    servers: list[LineServer] = []
    yield servers
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
async def made(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Line]]:
    """Every line that was opened."""
    lines: list[Line] = []
    open_line = Line.opened

    async def noted(address: Address) -> Line:
        lines.append(await open_line(address))
        return lines[-1]

    monkeypatch.setattr(Line, "opened", noted)
    yield lines
    for line in lines:
        line.close()
    await asyncio.sleep(0.01)


async def listening(replica: Replica, opened: list[LineServer]) -> Address:
    opened.append(LineServer({"segment": replica.segment}, NODE))
    address = await opened[-1].address()
    assert address is not None
    return address


def calls(*by_handle: object, node: str = NODE) -> tuple[Straight, Handle]:
    handle = Handle(*by_handle)
    stand_in: Any = handle
    return Straight(stand_in, "segment", "introduced", Lines(node)), handle


async def ask(clicks: Straight, key: str = "image", within_s: float = 30) -> Any:
    return await clicks.call("click", deadline=time.time() + within_s, key=key)


async def test_the_router_is_asked_once_a_key(opened: list[LineServer]) -> None:
    replica = Replica("by line")
    clicks, handle = calls(Introduced("by handle", await listening(replica, opened)))
    assert [await ask(clicks) for _ in range(3)] == ["by handle", "by line", "by line"]
    assert await ask(clicks, "another") == "by handle"
    assert [each["session_id"] for each in handle.options_seen] == ["image", "another"]
    assert {each["method_name"] for each in handle.options_seen} == {"introduced"}


async def test_the_router_is_asked_again_after_a_while(
    opened: list[LineServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(straight, "PLACE_S", -1.0)
    replica = Replica("by line")
    clicks, _ = calls(Introduced("by handle", await listening(replica, opened)))
    assert [await ask(clicks) for _ in range(3)] == ["by handle"] * 3
    assert replica.asked == 0


async def test_no_more_keys_are_known_than_there_is_room_for(
    opened: list[LineServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(straight, "PLACES", 2)
    replica = Replica("by line")
    clicks, handle = calls(Introduced("by handle", await listening(replica, opened)))
    for key in ("a", "b", "c", "a", "c"):
        await ask(clicks, key)
    assert [each["session_id"] for each in handle.options_seen] == ["a", "b", "c", "a"]


@pytest.mark.parametrize("address", [None, Address("another node", "/nowhere"), Address(NODE, "/nowhere")])
async def test_where_no_line_leads_every_call_goes_by_the_handle(address: Address | None) -> None:
    clicks, handle = calls(Introduced("by handle", address))
    assert [await ask(clicks) for _ in range(3)] == ["by handle"] * 3
    assert len(handle.responses) == 3


async def test_a_refusal_is_raised_whichever_way_it_came(opened: list[LineServer]) -> None:
    replica = Replica(InvalidOption("by line"))
    clicks, _ = calls(InvalidOption("by handle"), Introduced("fine", await listening(replica, opened)))
    with pytest.raises(InvalidOption, match="by handle"):
        await ask(clicks)
    assert await ask(clicks) == "fine"
    with pytest.raises(InvalidOption, match="by line"):
        await ask(clicks)


async def test_what_breaks_in_the_replica_is_an_internal_error(opened: list[LineServer]) -> None:
    clicks, _ = calls(Introduced("fine", await listening(Replica(ValueError("secret")), opened)))
    await ask(clicks)
    with pytest.raises(InternalError):
        await ask(clicks)


async def test_a_call_whose_line_is_lost_goes_by_the_handle(opened: list[LineServer], made: list[Line]) -> None:
    replica = Replica(60.0)
    clicks, _ = calls(Introduced("by handle", await listening(replica, opened)), Introduced("another replica", None))
    await ask(clicks)
    under_way = asyncio.create_task(ask(clicks))
    await replica.begun.wait()
    made[0].close()
    assert await under_way == "another replica"


async def test_a_superseded_replica_is_left_to_the_router(opened: list[LineServer]) -> None:
    replica = Replica(Superseded())
    address = await listening(replica, opened)
    clicks, _ = calls(Introduced("old", address), Introduced("new", None))
    assert [await ask(clicks) for _ in range(3)] == ["old", "new", "new"]
    assert replica.asked == 1


async def test_a_deadline_ends_a_call_by_the_line(opened: list[LineServer]) -> None:
    replica = Replica(60.0)
    clicks, _ = calls(Introduced("fine", await listening(replica, opened)))
    await ask(clicks)
    with pytest.raises(DeadlineExceeded):
        await ask(clicks, within_s=0.2)


async def test_callers_that_come_at_once_share_one_line(opened: list[LineServer], made: list[Line]) -> None:
    address, lines = await listening(Replica("by line"), opened), Lines(NODE)
    first, second = await asyncio.gather(lines.to(address), lines.to(address))
    assert first is second
    await asyncio.sleep(0.01)
    assert [each.lost for each in made].count(False) == 1


async def test_a_line_that_is_lost_is_opened_anew(opened: list[LineServer], made: list[Line]) -> None:
    address, lines = await listening(Replica("by line"), opened), Lines(NODE)
    first = await lines.to(address)
    assert first is not None
    first.close()
    await asyncio.sleep(0.01)
    second = await lines.to(address)
    assert second is not None
    assert await second.call("segment", 1) == "by line"
    assert len(made) == 2


def spread(*by_handle: object, replicas: int = 1, node: str = NODE) -> tuple[Spread, Handle]:
    handle = Handle(*by_handle)
    stand_in: Any = handle
    return Spread(stand_in, "segment", "introduced", Lines(node), lambda: replicas), handle


async def passed(calls: Spread) -> Any:
    return await calls.call("image", deadline=time.time() + 30)


async def test_a_lone_replica_is_called_straight_once_it_is_known(opened: list[LineServer]) -> None:
    calls, handle = spread(Introduced("by handle", await listening(Replica("by line"), opened)))
    assert [await passed(calls) for _ in range(3)] == ["by handle", "by line", "by line"]
    assert len(handle.options_seen) == 1


async def test_while_a_replica_has_no_line_serve_spreads_the_calls(opened: list[LineServer]) -> None:
    first = Introduced("by handle", await listening(Replica("first"), opened))
    second = Introduced("by handle", await listening(Replica("second"), opened))
    calls, handle = spread(first, first, second, replicas=2)
    assert [await passed(calls) for _ in range(3)] == ["by handle"] * 3
    assert await passed(calls) in ("first", "second")
    assert len(handle.options_seen) == 3


async def test_the_replica_with_the_fewest_calls_is_next(opened: list[LineServer]) -> None:
    slow, quick = Replica(30.0, "late"), Replica("quick")
    introduced = [Introduced("by handle", await listening(each, opened)) for each in (slow, quick)]
    calls, _ = spread(*introduced, replicas=2)
    for _ in introduced:
        await passed(calls)
    held = asyncio.create_task(passed(calls))
    await slow.begun.wait()
    assert [await passed(calls) for _ in range(3)] == ["quick"] * 3
    held.cancel()
    with pytest.raises(asyncio.CancelledError):
        await held


async def test_a_replica_that_is_gone_is_no_longer_called(opened: list[LineServer], made: list[Line]) -> None:
    replica = Replica("by line")
    calls, handle = spread(
        Introduced("by handle", await listening(replica, opened)), Introduced("by the next", None), replicas=1
    )
    assert [await passed(calls) for _ in range(2)] == ["by handle", "by line"]
    made[0].close()
    await asyncio.sleep(0.01)
    assert await passed(calls) == "by the next"
    assert len(handle.options_seen) == 2


async def test_refusals_of_any_replica_are_raised(opened: list[LineServer]) -> None:
    refusal = InvalidOption.of("format", "x", "y", "z")
    calls, _ = spread(Introduced("by handle", await listening(Replica(refusal), opened)))
    await passed(calls)
    with pytest.raises(InvalidOption):
        await passed(calls)
