"""What the platform stands on, looked at while it is up: Ray's own processes, with which it ends, and the embedded
store, which is started again.

All else is started again by Ray Serve, or by those two.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from deploy.pulse import Pulse
from deploy.supervisor import how_it_ended, in_words, tell
from deploy.valkey import EmbeddedValkey, ValkeyError
from shared.settings import settings

LOOK_EVERY_S = 1.0
STEADY_S = 60.0
"""A store that lived so long is started again at once."""
LONGEST_PAUSE_S = 60.0
"""One that did not, after a pause that doubles up to this."""


class Lost(RuntimeError):
    """The platform cannot go on; the message says why, in the operator's terms."""


def watch(start: subprocess.Popen[bytes], state: Path, valkey: EmbeddedValkey | None) -> int:
    """Look for as long as there is something to look at: the exit status of a `start` (`deploy.start`) that failed.
    Raises `Lost` when Ray, of which `state` (`cluster.STATE`) tells from some time on, is gone."""
    store = None if valkey is None else Store(valkey)
    ray = None
    while not start.returncode:
        if ray is None and state.exists():
            ray = RayProcesses(state)
        if ray is not None:
            ray.look()
        if store is not None:
            store.look()
        if start.returncode is None:
            with suppress(subprocess.TimeoutExpired):
                start.wait(LOOK_EVERY_S)
        else:
            time.sleep(LOOK_EVERY_S)
    if start.returncode < 0:
        raise Lost(f"its start {in_words(start.returncode)}, so all of it is ended.")
    return start.returncode


class RayProcesses:
    """GCS and raylet: without either, services answer for a while or not at all, and nothing is started again."""

    def __init__(self, state: Path) -> None:
        told = json.loads(state.read_text(encoding="utf-8"))
        self._logs = told["logs"]
        self._processes = {name: _process(pid) for name, pid in told["processes"].items()}
        self._silent_s = settings().ray_silent_s
        self._pulses = {name: Pulse(address, self._silent_s) for name, address in told["served_at"].items()}

    def look(self) -> None:
        """Raises `Lost` when one has ended, or hangs."""
        for name, process in self._processes.items():
            how = "has ended" if process is None else how_it_ended(process)
            if how is not None:
                raise self._lost(name, how)
        for name, pulse in self._pulses.items():
            if pulse.hangs():
                raise self._lost(name, f"hangs (no answer for {self._silent_s:g} s)")

    def _lost(self, name: str, how: str) -> Lost:
        return Lost(f"Ray's {name} {how}, so all of it is ended. Logs: {self._logs}/{name}.*")


class Store:
    """The embedded store: in memory only, so that one which ended comes again empty."""

    def __init__(self, valkey: EmbeddedValkey, clock: Callable[[], float] = time.monotonic) -> None:
        self._valkey, self._clock = valkey, clock
        self._begun, self._pause_s = clock() - STEADY_S, 0.0
        self._due: float | None = None

    def look(self) -> None:
        """Start it again when it has ended and the pause is over; tell of both."""
        if self._due is None:
            code = self._valkey.ended()
            if code is None:
                return
            self._plan(in_words(code))
        if self._due is not None and self._clock() >= self._due:
            self._due, self._begun = None, self._clock()
            try:
                self._valkey.again()
            except ValkeyError as error:
                self._plan(f"does not start ({error})")
            else:
                tell("the embedded store is back.")

    def _plan(self, why: str) -> None:
        now = self._clock()
        steady = now - self._begun >= STEADY_S
        self._pause_s = 0.0 if steady else min(max(1.0, 2 * self._pause_s), LONGEST_PAUSE_S)
        self._due = now + self._pause_s
        when = f"in {self._pause_s:.0f} s" if self._pause_s else "at once"
        tell(f"the embedded store {why}. It starts again {when}, empty: images must be uploaded anew.")


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None
