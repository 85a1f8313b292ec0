"""Log lines: one JSON object each, under the request's id, without secrets."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest

from shared.telemetry import logs

logger = logging.getLogger("shared.under_test")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What `configure` logs to; the root logger is as before afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_json_line(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream)
    with logs.bound("req-1"):
        logger.warning("slow: %s ms", 12, extra={"model": "street", "size": (3, 4)})
    logger.debug("not shown")
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "WARNING",
        "logger": "shared.under_test",
        "request_id": "req-1",
        "message": "slow: 12 ms",
        "model": "street",
        "size": [3, 4],
    }


def test_an_error_stays_on_its_line(stream: io.StringIO) -> None:
    logs.configure("INFO", "json", stream)
    try:
        raise ValueError("torn")
    except ValueError:
        logger.exception("failed")
    line = json.loads(stream.getvalue())
    assert line["request_id"] == "-"
    assert "ValueError: torn" in line["error"]
    assert stream.getvalue().count("\n") == 1


def test_a_readable_line(stream: io.StringIO) -> None:
    logs.configure("INFO", "text", stream)
    with logs.bound("req-2"):
        logger.info("ready")
    assert stream.getvalue().endswith(" INFO shared.under_test [req-2] ready\n")


def test_auto_is_json_where_nobody_reads(stream: io.StringIO) -> None:
    logs.configure("INFO", "auto", stream)
    logger.info("ready")
    assert json.loads(stream.getvalue())["message"] == "ready"


@pytest.mark.parametrize("form", ["json", "text"])
def test_secrets_are_starred(stream: io.StringIO, form: logs.LogFormat) -> None:
    logs.configure("INFO", form, stream)
    logger.info("redis://user:hunter2@cache:6379/0 said no to Authorization: Bearer abc.def-123", extra={"at": "a@b"})
    assert "hunter2" not in stream.getvalue()
    assert "abc.def" not in stream.getvalue()
    assert "redis://***@cache:6379/0" in stream.getvalue()


async def test_tasks_keep_their_own_id(stream: io.StringIO) -> None:
    logs.configure("INFO", "json", stream)

    async def work(identifier: str) -> None:
        with logs.bound(identifier):
            await asyncio.sleep(0)
            logger.info("by %s", identifier)

    await asyncio.gather(work("a"), work("b"))
    for line in map(json.loads, stream.getvalue().splitlines()):
        assert line["message"] == f"by {line['request_id']}"


def test_a_second_configuration_replaces_the_first(stream: io.StringIO) -> None:
    logs.configure("INFO", "json", stream)
    logs.configure("ERROR", "json", stream)
    logger.info("not shown")
    logger.error("once")
    assert stream.getvalue().count("\n") == 1


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        logs.configure("loud")
