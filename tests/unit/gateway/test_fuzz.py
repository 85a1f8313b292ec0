"""Whatever is sent, reading it ends in a request or in one of our own errors, each of which can be told."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.gateway.body import Sent, parse
from services.gateway.errors import body
from services.gateway.fields import check, gather
from services.gateway.json_text import parse_json
from services.gateway.negotiation import answer_format
from services.gateway.prompts import typed
from shared.errors import SegServeError
from shared.schemas.options import InstanceOptions, PanopticOptions, PromptableOptions, SemanticOptions, UploadOptions
from shared.schemas.wire import Request
from shared.serving.prompts import Bounds
from shared.settings import Settings
from shared.types import Prompt

SETTINGS = Settings()
OPTIONS: list[type[Request]] = [SemanticOptions, InstanceOptions, PanopticOptions, PromptableOptions, UploadOptions]
NAMES = sorted({name for options in OPTIONS for name in options.model_fields} | {"image_id", "image_url", "x"})
KINDS = ["multipart/form-data; boundary=ab", "application/json", "application/x-www-form-urlencoded", "image/png", ""]

leaves = some.none() | some.booleans() | some.integers() | some.floats() | some.text()
values = some.recursive(leaves, lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner), max_leaves=20)
numbers = some.floats() | some.integers(-5, 600) | some.booleans() | some.text(max_size=3)
prompts = some.lists(
    some.fixed_dictionaries(
        {},
        optional={
            "points": some.lists(some.lists(numbers, min_size=1, max_size=3), max_size=3) | values,
            "labels": some.lists(some.integers(-1, 2), max_size=3) | values,
            "box": some.lists(numbers, min_size=3, max_size=5) | values,
            "mask": some.fixed_dictionaries(
                {
                    "shape": some.just([1, 2]) | values,
                    "dtype": some.just("float16"),
                    "data": some.text("AQg=", max_size=8),
                }
            ),
            "text": some.text() | values,
        },
    ),
    max_size=3,
)
pieces = some.sampled_from([
    b"--ab\r\n", b"--ab--\r\n", b"\r\n", b"\r\n\r\n", b'Content-Disposition: form-data; name="image"', b'name="x"',
    b'Content-Disposition: form-data; name="prompts"', b"{", b'"image"', b":", b'"', b"[[[", b"]", b"&", b"=", b"\xff",
])  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@given(body=some.binary() | some.lists(pieces | some.binary(max_size=4), max_size=12).map(b"".join))
def test_any_body_is_read_or_refused(kind: str, body: bytes) -> None:
    with suppress(SegServeError):
        parse(body, kind, SETTINGS)


@pytest.mark.parametrize("options", OPTIONS)
@given(
    sent=some.dictionaries(some.sampled_from(NAMES) | some.text(), values, max_size=4),
    query=some.lists(some.tuples(some.sampled_from(NAMES) | some.text(), some.text()), max_size=3),
)
def test_any_fields_are_checked_or_refused(
    options: type[Request], sent: dict[str, Any], query: list[tuple[str, str]]
) -> None:
    try:
        check(options, gather(query, Sent(values=sent), options))
    except SegServeError as error:
        told = parse_json(body(error, "id"), "")
        assert all(len(detail["value"] or "") <= 100 and len(detail["field"]) <= 500 for detail in told["details"])


@given(sent=prompts)
def test_prompts_that_pass_are_inside_and_finite(sent: list[dict[str, Any]]) -> None:
    found: tuple[Prompt, ...] = ()
    with suppress(SegServeError):
        fields = check(PromptableOptions, {"prompts": sent})
        found = typed(fields.prompts, Bounds((64, 48), text=True))
        assert len(found) == len(sent)
    for prompt in found:
        assert len(prompt.points) == len(prompt.labels)
        assert ((prompt.points >= 0) & (prompt.points <= (64, 48))).all()


@given(
    accept=some.text()
    | some.lists(some.sampled_from(["image/png", "*/*", ";q=", ",", "0.5", "image/", "nan"])).map("".join)
)
def test_any_accept_header_is_understood_or_refused(accept: str) -> None:
    with suppress(SegServeError):
        assert answer_format(None, accept, has_label_map=True) in ("rle", "label_map")
