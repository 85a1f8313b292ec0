"""A command in, a server out, with every process below it: what they cost in CPU and memory, paused, ended by pid.

A paused server (SIGSTOP) costs nothing, so contestants stay up side by side and take turns.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httptools
import psutil

from deploy.cluster import ROOT
from load_tests.client import Answer, Target, ask_once

Spent = Mapping[tuple[int, float], float]
"""CPU seconds so far of each process, by pid and start."""
ENDS_WITHIN_S = 20.0
SETTLES_WITHIN_S = 60.0
LOOKS_EVERY_S = 0.5
AT_REST = 0.3
"""Cores that a server takes at most when it has nothing to do; one that still starts its workers takes more."""
RESTS = 6
"""So many looks in a row must find it at rest: HAProxy is given a new replica a second or two after that is there, and
paused in the middle of it, it is taken for dead."""


class NotReady(RuntimeError):
    """A server ended before it answered, or took too long; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Command:
    """How a server is started: `environment` is added to ours."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    folder: Path = ROOT
    talks: bool = False
    """Whether it is spoken to by lines of standard input and answers by lines of standard output."""


class Server:
    """A running server and everything that it started."""

    def __init__(self, command: Command) -> None:
        self._log = command.log
        command.log.parent.mkdir(parents=True, exist_ok=True)
        self.begun = time.perf_counter()
        with command.log.open("wb") as output:
            self._process = subprocess.Popen(
                command.arguments,
                cwd=command.folder,
                env={**os.environ, **command.environment},
                stdin=subprocess.PIPE if command.talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if command.talks else output,
                stderr=output,
                start_new_session=True,
            )
        self._root = psutil.Process(self._process.pid)

    def tree(self) -> list[psutil.Process]:
        """The server's first process and all below it that still run, the first one first."""
        with suppress(psutil.Error):
            return [self._root, *self._root.children(recursive=True)]
        return []

    def wait_for_answer(self, target: Target, within_s: float) -> tuple[float, Answer]:
        """Seconds from its start to its first good answer, and that answer. Raises `NotReady`."""
        until = self.begun + within_s
        said = "no answer"
        while time.perf_counter() < until and self._process.poll() is None:
            try:
                answer = ask_once(target)
            except (OSError, TimeoutError, httptools.HttpParserError) as error:
                said = repr(error)
            else:
                if answer.status == 200:
                    return time.perf_counter() - self.begun, answer
                said = f"status {answer.status}: {answer.body[:200]!r}"
            time.sleep(0.02)
        raise NotReady(f"{said}\n{self.end_of_log()}")

    def say(self, line: str) -> None:
        """A line to its standard input. Raises `NotReady` when it has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise NotReady(self.end_of_log()) from None

    def heard(self) -> str:
        """The next line of its standard output. Raises `NotReady` when it has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise NotReady(self.end_of_log())
        return line.decode()

    def end_of_log(self, characters: int = 1500) -> str:
        """What it wrote last."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-characters:]

    def spent(self) -> Spent:
        """CPU seconds of every process, user and system."""
        found = {}
        for process in self.tree():
            with suppress(psutil.Error):
                times = process.cpu_times()
                found[process.pid, process.create_time()] = times.user + times.system
        return found

    def pss_bytes(self) -> int:
        """Proportional memory of the whole tree: pages that several processes share are counted once."""
        total = 0
        for process in self.tree():
            with suppress(psutil.Error):
                total += process.memory_full_info().pss
        return total

    def settle(self) -> None:
        """Return when it is at rest, or after a while all the same: its first answer may come from one worker while the
        others are still loading, and paused then, one would keep a lock that a neighbour waits for."""
        until, rests = time.perf_counter() + SETTLES_WITHIN_S, 0
        while rests < RESTS and time.perf_counter() < until:
            before, begun = self.spent(), time.perf_counter()
            time.sleep(LOOKS_EVERY_S)
            taken = cpu_between(before, self.spent()) / (time.perf_counter() - begun)
            rests = rests + 1 if taken <= AT_REST else 0

    def pause(self) -> None:
        """Stop every process, parents first, so that none sees another stand still."""
        self._signal(signal.SIGSTOP, self.tree())

    def resume(self) -> None:
        """Let every process go on, children first."""
        self._signal(signal.SIGCONT, self.tree()[::-1])

    @staticmethod
    def _signal(number: int, processes: Sequence[psutil.Process]) -> None:
        for process in processes:
            with suppress(psutil.Error):
                process.send_signal(number)

    def interrupt(self) -> None:
        """Ctrl-C, as a user would, without waiting for what comes of it."""
        self.resume()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def stop(self) -> None:
        """Ctrl-C; what is left after a while is killed by pid."""
        processes = self.tree()
        self.interrupt()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=ENDS_WITHIN_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        _, alive = psutil.wait_procs(processes, timeout=1)
        self._signal(signal.SIGKILL, alive)
        psutil.wait_procs(alive, timeout=5)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)  # a killed one too: else Python warns of it when it is forgotten


def cpu_between(before: Spent, after: Spent) -> float:
    """CPU seconds that passed between two looks at a tree; a process that came in between counts from its start."""
    return sum(seconds - before.get(key, 0.0) for key, seconds in after.items())
