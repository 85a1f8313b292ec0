"""`format` against `Accept`, and the label map over HTTP."""

from __future__ import annotations

import pytest

from services.gateway.negotiation import answer_format
from shared.calls import Format
from tests.bad_input import PNG
from tests.unit.gateway.running import Running

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"


@pytest.mark.parametrize(
    ("option", "accept", "expected"),
    [
        (None, "", "rle"),
        (None, "*/*", "rle"),
        ("coco", "application/json", "coco"),
        (None, "image/png", "label_map"),
        (None, "IMAGE/PNG", "label_map"),
        (None, "image/*", "label_map"),
        (None, "image/png, */*", "label_map"),
        (None, "image/png;q=0.9, application/json", "rle"),
        (None, "image/png;q=0.9, application/json;q=0.8", "label_map"),
        (None, "application/json, image/png", "rle"),
        (None, "image/png;q=0, */*", "rle"),
        (None, BROWSER, "rle"),
        ("png", "image/png", "label_map"),
        ("overlay", "image/png", "overlay"),
        ("polygon", "text/html", "polygon"),
        ("rle", "image/*;q=0.5, application/json;q=0.1", "rle"),
        ("polygon", "image/avif, image/*, */*;q=0.8", "polygon"),
    ],
)
def test_the_format_that_both_allow(option: Format | None, accept: str, expected: Format) -> None:
    assert answer_format(option, accept, has_label_map=True) == expected


@pytest.mark.parametrize("path", ["/v1/semantic", "/v1/panoptic"])
async def test_the_services_picture_and_headers_come_through(path: str, gateway: Running) -> None:
    response = await gateway.client.post(
        path, content=PNG, headers={"Content-Type": "image/png", "Accept": "image/png"}
    )
    assert gateway.dense.calls[0].options.format == "label_map"
    assert response.headers["content-type"] == "image/png"
    assert response.content.startswith(b"\x89PNG")
    assert response.headers["x-segments"] == "W10="
