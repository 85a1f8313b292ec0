"""Lines of a stream of server-sent events in, (name, data) pairs out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any


def events_of(lines: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """The events in the lines of a stream, data read as JSON; comments, which keep it alive, are passed over. Raises
    `ValueError` for data that is no JSON."""
    name, data = "message", list[str]()
    for line in lines:
        field, _, value = line.partition(":")
        if field == "event":
            name = value.strip()
        elif field == "data":
            data.append(value.removeprefix(" "))
        elif not line:
            if data:
                yield name, json.loads("\n".join(data))
            name, data = "message", []
