"""Server-sent events, read from lines."""

from __future__ import annotations

import pytest

from shared.client.events import events_of


def test_events_comments_and_data_of_several_lines() -> None:
    lines = [": working", "", "event: mask", 'data: {"id":1}', "", "event: progress", "data: [1,", "data: 2]", "", ""]
    assert list(events_of(lines)) == [("mask", {"id": 1}), ("progress", [1, 2])]


def test_an_event_that_was_cut_off_is_none_and_one_that_is_no_json_is_an_error() -> None:
    assert list(events_of(["event: mask", 'data: {"id":1}'])) == []
    with pytest.raises(ValueError, match="Expecting"):
        list(events_of(["data: no json", ""]))
