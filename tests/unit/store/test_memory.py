"""The map bounded in bytes: who stays, who goes, and that the count of bytes is right."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.store.memory import ByteLru
from tests.unit.store.clock import Clock

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 5), st.integers(0, 12)),
        st.tuples(st.just("get"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("discard"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("wait"), st.just(0), st.integers(0, 8)),
    ),
    max_size=60,
)


def test_the_least_recently_used_goes_first() -> None:
    lru: ByteLru[str, int] = ByteLru(30, 60)
    for key in "abc":
        lru.put(key, 1, 10)
    assert lru.get("a") == 1
    lru.put("d", 1, 10)
    assert [lru.get(key) for key in "abcd"] == [1, None, 1, 1]
    assert lru.nbytes == 30


def test_a_value_larger_than_the_map_is_not_kept_and_costs_the_others_nothing() -> None:
    lru: ByteLru[str, int] = ByteLru(30, 60)
    lru.put("a", 1, 10)
    assert not lru.put("b", 2, 31)
    assert lru.get("a") == 1
    assert lru.get("b") is None


def test_a_larger_value_never_leaves_the_earlier_one_under_its_key() -> None:
    lru: ByteLru[str, int] = ByteLru(30, 60)
    lru.put("a", 1, 10)
    assert not lru.put("a", 2, 31)
    assert lru.get("a") is None
    assert lru.nbytes == 0


def test_no_bytes_keep_nothing() -> None:
    lru: ByteLru[str, int] = ByteLru(0, 60)
    assert not lru.put("a", 1, 1)
    assert len(lru) == 0


def test_an_entry_ends_with_its_time_however_often_it_is_read() -> None:
    clock = Clock()
    lru: ByteLru[str, int] = ByteLru(30, 60, clock)
    lru.put("a", 1, 10)
    clock.pass_(59)
    assert lru.get("a") == 1
    clock.pass_(1)
    assert lru.get("a") is None
    assert lru.nbytes == 0


def test_what_goes_unasked_is_told() -> None:
    clock, told = Clock(), list[str]()
    lru: ByteLru[str, int] = ByteLru(20, 60, clock, on_eviction=told.append)
    for key in "abc":
        lru.put(key, 1, 10)
    assert told == ["room"]
    lru.put("c", 2, 10)
    lru.discard("c")
    assert told == ["room"]
    clock.pass_(60)
    assert lru.get("b") is None
    assert told == ["room", "expired"]
    lru.put("d", 1, 10)
    clock.pass_(60)
    assert lru.alive() == []
    assert told == ["room", "expired", "expired"]


@given(OPERATIONS)
def test_bytes_are_counted_right_and_never_exceed_the_capacity(operations: list[tuple[str, int, int]]) -> None:
    clock, told = Clock(), [0]
    lru: ByteLru[int, int] = ByteLru(20, 10, clock, told.append)
    truth: dict[int, tuple[int, float]] = {}
    for operation, key, number in operations:
        if operation == "put":
            truth.pop(key, None)
            if lru.put(key, number, number):
                truth[key] = (number, clock() + 10)
        elif operation == "get":
            value = lru.get(key)
            if value is not None:
                assert truth[key][0] == value
                assert truth[key][1] > clock()
        elif operation == "discard":
            alive = lru.discard(key)
            assert not alive or truth[key][1] > clock()
            truth.pop(key, None)
        else:
            clock.pass_(number)
        assert lru.nbytes == told[-1] <= 20
    held = {key: lru.get(key) for key in range(6)}
    assert lru.nbytes == sum(value for value in held.values() if value is not None)
