"""A command line in, its work done in a child out: whatever the child starts ends with it, and it ends with us.

The same pair of processes as the platform's launcher and session (`deploy.supervisor`).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from deploy.supervisor import Stopped, adopt_orphans, end_descendants, end_with_parent, stop_on_signals, supervise


def watched(module: str, parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> int:
    """Run `python -m MODULE` again as a child that calls `run`, and return its exit status. `run` finds in `scratch` a
    folder that is removed when everything has ended."""
    parser.add_argument("--parent", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.parent:
        # Short: sockets lie below it.
        with tempfile.TemporaryDirectory(prefix="sgt-", ignore_cleanup_errors=True) as scratch:
            ours = ("--parent", str(os.getpid()), "--scratch", scratch)
            return supervise([sys.executable, "-m", module, *ours, *sys.argv[1:]])
    adopt_orphans()
    try:
        with ExitStack() as stack:
            stack.callback(end_descendants)
            stop_on_signals()
            end_with_parent(given.parent)
            return run(given)
    except Stopped as stopped:
        return int(stopped.code or 0)
