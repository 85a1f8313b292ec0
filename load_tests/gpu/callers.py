"""Callers in a process of their own, several of which fill what one cannot: lines of JSON in and out.

{"url", "headers", "bodies", "first", "callers", "seconds"} in, `bodies` a folder of files, `first` the number of the
one to begin with; a window out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from load_tests.client import Window, load, posts


def main() -> None:
    """Ask as often as told."""
    bodies: dict[str, list[bytes]] = {}
    for line in sys.stdin:
        told = json.loads(line)
        folder = told["bodies"]
        if folder not in bodies:
            bodies[folder] = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
        target = posts(told["url"], turned(bodies[folder], told["first"]), told["headers"])
        sys.stdout.write(written(load(target, told["callers"], told["seconds"])) + "\n")
        sys.stdout.flush()


def turned(bodies: list[bytes], first: int) -> list[bytes]:
    """All of them, beginning with another one: processes do not send the same image at the same time."""
    first %= len(bodies)
    return bodies[first:] + bodies[:first]


def written(window: Window) -> str:
    """A window as JSON."""
    return json.dumps(
        {
            "seconds": window.seconds,
            "latencies_ms": [round(each, 2) for each in window.latencies_ms],
            "errors": dict(window.errors),
            "client_cpu_s": window.client_cpu_s,
        }
    )


if __name__ == "__main__":
    main()
