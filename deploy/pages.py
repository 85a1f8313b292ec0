"""HAProxy in, a private copy out whose built-in pages are our errors.

To bytes that never become a request (a broken header, a length that is no number, headers that stop coming) HAProxy
answers before any of its rules: with HTML that is compiled into it, whatever `http-error` and `errorfile` say. The copy
differs in these pages only, byte for byte as long; where one does not look as expected, the copy is the original.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from deploy.haproxy import OWN_ANSWERS, body

STATUSES = (400, 408, 413, 500, 501)
"""Of the pages that HAProxy has built in, those that it sends before any of its rules."""
PAGE = re.compile(rb"HTTP/1\.1 (\d{3}) [^\0]*text/html\r\n\r\n<html>[^\0]*</html>\n(?=\0)")


def page(status: int) -> bytes:
    """The whole answer in the place of HAProxy's page of this status: no longer than that, so without the reason that
    may stand behind the status. Such a request has no id."""
    error = OWN_ANSWERS[status]
    content = body(error, "")
    headers = f"Content-Length: {len(content)}\r\nConnection: close\r\nContent-Type: application/json"
    return f"HTTP/1.1 {error.status} \r\n{headers}\r\n\r\n{content}".encode()


def in_our_words(binary: bytes) -> bytes:
    """HAProxy's program with our pages; as it is where a page is missing, is there twice or has no room for ours."""
    found = {status: list[re.Match[bytes]]() for status in STATUSES}
    for match in PAGE.finditer(binary):
        if (status := int(match[1])) in found:
            found[status].append(match)
    written = bytearray(binary)
    for status, matches in found.items():
        ours = page(status)
        if len(matches) != 1 or len(ours) > len(matches[0][0]):
            return binary
        begin, end = matches[0].span()
        written[begin:end] = ours.ljust(end - begin, b"\0")
    return bytes(written)


def copied(binary: Path, folder: Path) -> Path:
    """The copy, in a folder of its own below `folder`, beside a link to the libraries that it brings along. One that
    runs goes on: the file is replaced, not written over."""
    place = folder / "bin"
    place.mkdir(exist_ok=True)
    libraries, link = binary.resolve().parent / "lib", place / "lib"
    if libraries.is_dir() and not link.exists():
        link.unlink(missing_ok=True)
        link.symlink_to(libraries)
    with tempfile.NamedTemporaryFile(dir=place, delete=False) as file:
        file.write(in_our_words(binary.read_bytes()))
    os.chmod(file.name, 0o700)
    return Path(file.name).replace(place / binary.name)
