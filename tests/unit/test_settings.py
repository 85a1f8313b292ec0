"""SEGSERVE_* variables -> settings: what is left out, what contradicts itself."""

from __future__ import annotations

import pytest

from shared.settings import SettingsError, parse


@pytest.mark.parametrize(
    ("given", "life_s"),
    [({}, 21_600), ({"IMAGE_TTL_S": "2"}, 1), ({"IMAGE_TTL_S": "60"}, 15), ({"EMBEDDING_TTL_S": "90000"}, 90_000)],
)
def test_embeddings_live_shorter_than_images_unless_told_otherwise(given: dict[str, str], life_s: int) -> None:
    assert parse({f"SEGSERVE_{name}": value for name, value in given.items()}).embedding_life_s == life_s


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("PORT", "0", "greater"),
        ("NO_SUCH", "1", "Extra"),
        ("API_KEYS", "{", "not JSON"),
        ("API_KEYS", '{"my-secret-key": "a"}', "64 digits"),
        ("LOG_LEVEL", "LOUD", "no level"),
    ],
)
def test_a_bad_variable_is_named(name: str, value: str, why: str) -> None:
    with pytest.raises(SettingsError, match=f"SEGSERVE_{name}: .*{why}"):
        parse({f"SEGSERVE_{name}": value})


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("fd00::1", "http://[fd00::1]:80"),
    ],
)
def test_the_address_that_is_shown_can_be_reached_from_here(host: str, url: str) -> None:
    assert parse({"SEGSERVE_HOST": host, "SEGSERVE_PORT": "80"}).url == url


def test_a_key_that_is_no_digest_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as refused:
        parse({"SEGSERVE_API_KEYS": '{"my-secret-key": "a"}'})
    assert "my-secret-key" not in str(refused.value)


@pytest.mark.parametrize("level", ["INFO", "warning"])
def test_levels_are_named_in_any_case(level: str) -> None:
    assert parse({"SEGSERVE_LOG_LEVEL": level}).log_level == level


def test_other_variables_are_not_ours() -> None:
    assert parse({"PATH": "/bin"}) == parse({})
