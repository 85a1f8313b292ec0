"""Log records out as one line each, JSON or readable, with the request's id in every one and no secrets."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal, TextIO

import orjson

LogFormat = Literal["auto", "text", "json"]
"""`auto` is text on a terminal and JSON elsewhere."""

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""The request that this task works for; "-" outside of any."""

_SECRETS = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), r"\1 ***"),
    (re.compile(r"(\w+://)[^\s/@'\"]*@"), r"\1***@"),
)
_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_QUIET = ("httpx", "httpcore")


@contextmanager
def bound(identifier: str) -> Iterator[None]:
    """Log everything inside under this request id."""
    token = request_id.set(identifier)
    try:
        yield
    finally:
        request_id.reset(token)


def without_secrets(text: str) -> str:
    """The text with authorization values, and user and password of URLs, replaced by stars."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class TextFormatter(logging.Formatter):
    """`2026-01-31 12:00:00.123 WARNING shared.store.redis [request-id] message`, and a traceback below."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03d %(levelname)s %(name)s [%(request_id)s] %(message)s", "%F %T")

    def format(self, record: logging.LogRecord) -> str:
        """The record's line."""
        record.request_id = request_id.get()
        return without_secrets(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, request_id, message, then `extra`'s fields, then the error."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "request_id": request_id.get(),
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if _is_extra(name) and name not in line}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return without_secrets(orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode())


def _is_extra(name: str) -> bool:
    """Whether the caller added this attribute; Ray adds some that begin with an underscore."""
    return name not in _OWN_FIELDS and not name.startswith("_")


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, so that a second `configure` replaces it."""


def configure(level: str = "INFO", form: LogFormat = "auto", stream: TextIO | None = None) -> None:
    """Send this process's log to `stream` (standard error) from `level` on. A second call replaces the first.

    Raises `ValueError` when there is no such level.
    """
    target = stream or sys.stderr
    text = form == "text" or (form == "auto" and target.isatty())
    handler = _Handler(target)
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    root = logging.getLogger()
    root.setLevel(level.upper())
    for old in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
