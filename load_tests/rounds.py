"""Contestants and loads in, records out: everyone takes turns, in alternating order, so that noise hits all alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from load_tests.client import Window
from load_tests.contestants import SERVERS, Absent, Running, Start
from load_tests.peers.plan import Plan
from load_tests.processes import Spent, cpu_between

WARM_UP_S = 0.4


@dataclass(frozen=True, slots=True)
class Entry:
    """A contestant of a scenario: who, with what, and at how many callers it is measured."""

    server: str
    plan: Plan
    callers: tuple[int, ...]
    label: str = ""
    """What distinguishes it beyond server and layout: the engine, for one."""
    start: Start | None = None
    """How it is started; none: as `SERVERS` says."""

    @property
    def layout(self) -> str:
        """Workers and threads, and how many passes overlap in a worker."""
        shape = f"{self.plan.workers} x {self.plan.threads}"
        return f"{shape}, {self.plan.in_flight} in flight" if self.plan.in_flight > 1 else shape

    @property
    def name(self) -> str:
        """As tables show it."""
        return ", ".join(filter(None, (self.server, self.label, self.layout)))


def everyone(_: Entry) -> bool:
    """Takes part."""
    return True


@dataclass(frozen=True, slots=True)
class Load:
    """Pictures to send for some seconds; `callers` none: what each entry says. `takes` says who takes part."""

    name: str
    images: tuple[bytes, ...]
    seconds: float
    callers: tuple[int, ...] = ()
    takes: Callable[[Entry], bool] = everyone


@dataclass(frozen=True, slots=True)
class Scenario:
    """One model before all contestants."""

    name: str
    title: str
    entries: tuple[Entry, ...]
    loads: tuple[Load, ...]
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One contestant under one load at so many callers, and what was measured of it."""

    scenario: str
    load: str
    server: str
    label: str
    layout: str
    callers: int
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: float
    """Of the server's whole process tree, a request."""
    client_ms: float
    """CPU of the load generator, a request."""

    @property
    def contestant(self) -> tuple[str, str, str]:
        """Server, label and layout."""
        return self.server, self.label, self.layout

    @property
    def name(self) -> str:
        """The same as tables show it."""
        return ", ".join(filter(None, self.contestant))


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Figures):
    """Of one window."""

    round: int
    answers: int
    errors: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Standing:
    """What is measured once of a contestant: seconds to its first answer, memory after load, and that answer."""

    scenario: str
    server: str
    label: str
    layout: str
    cold_start_s: float
    pss_bytes: int
    first: bytes


@dataclass(frozen=True, slots=True)
class Missing:
    """A contestant that did not take part, and why."""

    scenario: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Results:
    """Of one scenario."""

    records: tuple[Record, ...]
    standings: tuple[Standing, ...]
    missing: tuple[Missing, ...]


Told = Callable[[str], None]


def play(scenario: Scenario, folder: Path, told: Told) -> Results:
    """Start everyone, one after another, let them take turns, stop everyone. Who cannot start, or falls over in its
    turn, is missing from there on, and the rest goes on."""
    records: list[Record] = []
    missing: list[Missing] = []
    up: list[tuple[Entry, Running]] = []
    with ExitStack() as stack:
        for index, entry in enumerate(scenario.entries):
            told(f"{scenario.name}: starting {entry.name} ({index + 1} of {len(scenario.entries)})")
            first, place = scenario.loads[0].images[0], folder / f"{scenario.name[:3]}{index}"
            try:
                running = (entry.start or SERVERS[entry.server])(entry.plan, place, first)
            except Exception as error:
                missing.append(without(scenario, entry, error, told))
                continue
            stack.callback(stop, running)
            for server in running.servers:
                server.settle()
            pause(running)
            up.append((entry, running))
        for number in range(scenario.rounds):
            for entry, running in up[:: 1 if number % 2 == 0 else -1]:
                told(f"{scenario.name}: round {number + 1} of {scenario.rounds}, {entry.name}")
                try:
                    records += turn(scenario, entry, running, number)
                except Exception as error:
                    missing.append(without(scenario, entry, error, told))
                    up.remove((entry, running))
                    stop(running)
        standings = tuple(standing(scenario.name, entry, running) for entry, running in up)
        for _, running in up:  # all at once: each takes seconds to end
            for server in running.servers:
                server.interrupt()
    return Results(tuple(records), standings, tuple(missing))


def without(scenario: Scenario, entry: Entry, error: Exception, told: Told) -> Missing:
    """Say that this one takes no part, or no further part."""
    reason = str(error) if isinstance(error, Absent) else f"{type(error).__name__}: {error}"
    told(f"{scenario.name}: {entry.name} takes no part: {reason}")
    return Missing(scenario.name, entry.name, reason)


def turn(scenario: Scenario, entry: Entry, running: Running, number: int) -> list[Record]:
    """All windows of one contestant in one round."""
    found = []
    for server in running.servers:
        server.resume()
    for load in scenario.loads:
        if not load.takes(entry):
            continue
        for callers in load.callers or entry.callers:
            running.window(load.images, callers, WARM_UP_S, 1)
            before = spent(running)
            window = running.window(load.images, callers, load.seconds)
            found.append(record(scenario.name, load.name, entry, number, window, cpu_between(before, spent(running))))
    pause(running)
    return found


def record(scenario: str, load: str, entry: Entry, number: int, window: Window, cpu_s: float) -> Record:
    """A window in figures."""
    asked = len(window.latencies_ms) + sum(window.errors.values())
    return Record(
        scenario=scenario,
        load=load,
        server=entry.server,
        label=entry.label,
        layout=entry.layout,
        callers=window.callers,
        round=number,
        per_second=window.per_second,
        p50_ms=window.percentile_ms(50),
        p95_ms=window.percentile_ms(95),
        p99_ms=window.percentile_ms(99),
        cpu_ms=1000 * cpu_s / max(1, asked),
        client_ms=window.client_ms,
        answers=len(window.latencies_ms),
        errors=dict(window.errors),
    )


def standing(scenario: str, entry: Entry, running: Running) -> Standing:
    """What it took to start, and what it takes to stay."""
    memory = sum(server.pss_bytes() for server in running.servers)
    return Standing(scenario, entry.server, entry.label, entry.layout, running.cold_start_s, memory, running.first)


def spent(running: Running) -> Spent:
    """CPU seconds of all its processes so far."""
    return {key: value for server in running.servers for key, value in server.spent().items()}


def pause(running: Running) -> None:
    """Let it stand still and cost nothing."""
    for server in running.servers:
        server.pause()


def stop(running: Running) -> None:
    """End it."""
    for server in running.servers:
        server.stop()


def failed(records: Sequence[Record]) -> Mapping[str, int]:
    """Errors by contestant."""
    counts: dict[str, int] = {}
    for each in records:
        if each.errors:
            name = f"{each.scenario}, {each.load}: {each.name}"
            counts[name] = counts.get(name, 0) + sum(each.errors.values())
    return counts
