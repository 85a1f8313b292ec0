"""What a soak concludes: growth is seen through noise, an outlier is not growth, and every promise can be broken."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from load_tests.trends import Asked, Sample, Tolerance, drift, growth, judge, slope, unjudged


def samples(megabytes: Callable[[float], float], descriptors: int = 0, threads: int = 0) -> list[Sample]:
    """Ten minutes of a platform of two processes; descriptors and threads grow by so many a minute."""
    found = []
    for number in range(120):
        minutes = number * 5 / 60
        memory = {"replica": round(1e6 * megabytes(minutes)), "gateway": 100_000_000}
        found.append(Sample(minutes * 60, memory, 500 + int(descriptors * minutes), 300 + int(threads * minutes)))
    return found


def requests(late_ms: float = 0.0, wrong: str = "") -> list[Asked]:
    """Ten minutes of two kinds, one of them rare; `late_ms` more in the second half, one of them `wrong`."""
    found = [Asked(number, "often", 10 + number % 7 + late_ms * (number > 300), "") for number in range(600)]
    found += [Asked(number, "rare", 1000 * (number > 300), "") for number in range(0, 600, 60)]
    found[200] = Asked(200, "often", 10, wrong)
    return sorted(found, key=lambda each: each.at_s)


def broken(seen: list[Sample], asked: list[Asked]) -> list[str]:
    return [each.name for each in judge(seen, asked, Tolerance()) if not each.kept]


def test_a_slope_is_a_minutes_growth_and_outliers_do_not_bend_it() -> None:
    noise = random.Random(0)
    levels = [100 + 3 * number / 12 + noise.gauss(0, 2) for number in range(120)]
    levels[50], levels[119] = 900, 0
    assert slope([5.0 * number for number in range(120)], levels) == pytest.approx(3, abs=0.3)
    assert slope([1.0], [5.0]) == 0


def test_a_steady_platform_keeps_everything() -> None:
    noise = random.Random(0)
    assert broken(samples(lambda _: 1000 + noise.gauss(0, 10)), requests()) == []


def test_whatever_grows_is_broken_alone() -> None:
    steady = samples(lambda _: 1000)
    assert broken(samples(lambda minutes: 1000 + 3 * minutes), requests()) == ["memory, MB a minute"]
    assert broken(samples(lambda _: 1000, descriptors=2), requests()) == ["descriptors a minute"]
    assert broken(samples(lambda _: 1000, threads=2), requests()) == ["threads a minute"]
    assert broken(steady, requests(late_ms=40)) == ["p99 last over first third, often"]
    assert broken(steady, requests(wrong="503")) == ["wrong answers"]


def test_growth_is_told_by_process_and_rare_kinds_have_no_p99() -> None:
    found = growth(samples(lambda minutes: 1000 + 3 * minutes))
    assert found == {"replica": pytest.approx(3, abs=0.01), "gateway": 0}
    assert set(drift(requests())) == {"often"}


def test_kinds_without_a_p99_are_named_with_what_they_had_and_what_they_need() -> None:
    once = Asked(300, "once", 5, "")
    asked = sorted([*requests(), once], key=lambda each: each.at_s)
    assert unjudged(asked) == [
        "p99 of once is not judged: 0 requests in the first third, 0 in the last, 100 needed in each",
        "p99 of rare is not judged: 4 requests in the first third, 3 in the last, 100 needed in each",
    ]
    assert unjudged([]) == []


def test_nothing_seen_is_nothing_kept() -> None:
    assert broken([], requests()) == ["samples and requests"]
    assert broken(samples(lambda _: 1000), []) == ["samples and requests"]
