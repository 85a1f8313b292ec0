"""Only an ordinary JPEG is called plain, and its size is what every reader of it sees."""

from __future__ import annotations

import time
from typing import Any

import pytest
from PIL import Image

from shared.imaging.jpeg import has_more_scans, read_plain
from tests.unit.imaging.encoded import encode, picture

PLAIN = encode(picture(48, 64), "jpeg")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 20}, {"subsampling": 0}, {"comment": b"x"}])
def test_ordinary_files_are_plain(options: dict[str, Any]) -> None:
    found = read_plain(encode(picture(48, 64), "jpeg", 6, **options))
    assert found is not None
    assert (found.width, found.height, found.channels) == (48, 64, 3)
    grey = read_plain(encode(Image.fromarray(picture(48, 64)).convert("L"), "jpeg", **options))
    assert grey is not None
    assert grey.channels == 1


def test_the_first_scan_is_found() -> None:
    found = read_plain(PLAIN)
    assert found is not None
    assert PLAIN[found.scans_at : found.scans_at + 2] == b"\xff\xda"


@pytest.mark.parametrize("appended", [b"SEFT", bytes(2000), PLAIN, PLAIN[:-2]], ids=["notes", "zeros", "depth", "cut"])
def test_what_phones_append_changes_nothing(appended: bytes) -> None:
    assert read_plain(PLAIN + appended) == read_plain(PLAIN)


def test_the_end_of_a_thumbnail_is_not_that_of_the_image() -> None:
    exif = b"Exif\0\0" + PLAIN
    before = PLAIN[:2] + b"\xff\xe1" + (2 + len(exif)).to_bytes(2, "big") + exif + PLAIN[2:]
    assert read_plain(before) is not None
    assert read_plain(before[:-2]) is None
    assert read_plain(before[:-2] + b"SEFT") is None


def test_an_end_is_not_looked_for_in_all_of_a_large_file() -> None:
    padded = PLAIN + bytes(32 << 20)
    begun = time.process_time()
    assert read_plain(padded) is None
    assert time.process_time() - begun < 0.02


@pytest.mark.parametrize(
    "data",
    [
        PLAIN[:-2],
        PLAIN[:100] + b"\xff\xd9",
        PLAIN[:2] + b"\0\0" + PLAIN[2:],  # junk that one reader skips and another may not
        PLAIN[:2] + b"\xff\xf3" + PLAIN[2:],  # a reserved marker
        PLAIN[:2] + b"\xff\xfe\0\x01" + PLAIN[2:],  # a length that is none
        PLAIN[: PLAIN.index(b"\xff\xc0")]
        + PLAIN[PLAIN.index(b"\xff\xc0") :][:19] * 2
        + PLAIN[PLAIN.index(b"\xff\xc4") :],
        b"\xff\xd8\xff\xda\0\x02\xff\xd9",
        b"",
    ],
)
def test_anything_odd_is_not(data: bytes) -> None:
    assert read_plain(data) is None


def test_scans_are_counted_up_to_the_end_of_the_image() -> None:
    data = encode(picture(), "jpeg", progressive=True)
    assert has_more_scans(data, 0, 5)
    assert not has_more_scans(data, 0, 50)
    assert not has_more_scans(data + b"\xff\xda" * 100, 0, 50)
