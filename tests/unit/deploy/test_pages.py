"""A private copy of HAProxy: our words for its own, and nothing else changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.pages import STATUSES, copied, in_our_words
from deploy.transport import haproxy_binary

HTML = b"HTTP/1.1 %d Whatever\r\nContent-Type: text/html\r\n\r\n<html><body>" + b"x" * 200 + b"</body></html>\n"
ORIGINAL = b"\x7fELF\0" + b"\0".join(HTML % status for status in (200, *STATUSES, 503)) + b"\0the end"


def test_only_the_pages_change_and_nothing_moves() -> None:
    written = in_our_words(ORIGINAL)
    assert len(written) == len(ORIGINAL)
    restored = bytearray(written)
    for status in STATUSES:
        begin = ORIGINAL.index(HTML % status)
        head, _, body = written[begin:].partition(b"\0")[0].partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 ")
        assert f"Content-Length: {len(body)}".encode() in head
        assert json.loads(body).keys() == {"code", "message", "details", "request_id"}
        restored[begin : begin + len(HTML % status)] = HTML % status
    assert restored == ORIGINAL


@pytest.mark.parametrize(
    "changed",
    [
        ORIGINAL.replace(HTML % 400, b""),
        ORIGINAL + b"\0" + HTML % 400 + b"\0",
        ORIGINAL.replace(HTML % 408, b"HTTP/1.1 408 X\r\nContent-Type: text/html\r\n\r\n<html></html>\n"),
    ],
    ids=["missing", "twice", "no room"],
)
def test_a_program_that_looks_otherwise_is_left_as_it_is(changed: bytes) -> None:
    assert in_our_words(changed) == changed


@pytest.mark.skipif(sys.platform != "linux", reason="HAProxy exists for Linux only")
def test_the_haproxy_that_serve_brings_is_one_of_those_that_we_know(tmp_path: Path) -> None:
    original = Path(haproxy_binary())
    assert in_our_words(original.read_bytes()) != original.read_bytes()
    first = copied(original, tmp_path)
    with subprocess.Popen([str(first), "-v"], stdout=subprocess.PIPE) as running:
        again = copied(original, tmp_path)  # while it runs
        assert running.stdout is not None
        assert b"HAProxy version" in running.stdout.read()
    assert again == first
    assert os.listdir(again.parent / "lib")
    assert sorted(os.listdir(again.parent)) == ["haproxy", "lib"]
