"""Ids of images, and keys that no tenant's name can bend towards another's."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidOption
from shared.store.keys import deleted_key, embeddings_key, image_id, image_id_of, image_key, parse_image_id

HEX = "ab" * 32


def test_an_image_id_is_the_sha256_of_the_bytes_and_reads_back() -> None:
    digest = hashlib.sha256(b"picture").hexdigest()
    assert image_id(b"picture") == image_id(memoryview(b"picture")) == f"sha256:{digest}"
    assert parse_image_id(image_id(b"picture")) == digest
    assert image_id_of(digest) == image_id(b"picture")


@pytest.mark.parametrize(
    "text", ["", HEX, f"sha256:{HEX[:-1]}", f"sha256:{HEX}0", f"sha256:{HEX.upper()}", f"sha256:{HEX}\n", f"md5:{HEX}"]
)
def test_what_is_no_image_id_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse_image_id(text)
    (detail,) = caught.value.details
    assert detail.field == "image_id"
    assert detail.value == text
    assert detail.limit is not None


@given(st.lists(st.text(), min_size=2, max_size=5, unique=True))
def test_no_two_tenants_share_a_key(tenants: list[str]) -> None:
    keys = {build(tenant, HEX) for tenant in tenants for build in (image_key, embeddings_key, deleted_key)}
    assert len(keys) == 3 * len(tenants)


@pytest.mark.parametrize("tenant", ["", "a:b", "a*", "{x}", f"x:{HEX}:image", "\n", "ü" * 10_000])
def test_a_tenants_name_adds_no_syntax_to_a_key(tenant: str) -> None:
    key = image_key(tenant, HEX)
    assert key.startswith("segserve:1:{")
    assert key.count(":") == 4
    assert key.count("{") == key.count("}") == 1
    assert len(key) == len(image_key("t", HEX))


def test_all_keys_of_an_image_lie_in_one_cluster_slot() -> None:
    tags = {build("t", HEX).split("{")[1].split("}")[0] for build in (image_key, embeddings_key, deleted_key)}
    assert len(tags) == 1
