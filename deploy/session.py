"""The platform's own process: Valkey beside it, and below it all that `deploy.start` starts, until it is told to stop.

Started by `deploy.local`, which ends everything that is left when this process ends.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack

from deploy import transport
from deploy.cluster import STATE, run_folder
from deploy.supervisor import (
    Stopped,
    adopt_orphans,
    end_descendants,
    end_with_parent,
    stop_on_signals,
    sweep_lines,
    tell,
)
from deploy.valkey import EmbeddedValkey, ValkeyError
from deploy.watch import Lost, watch
from shared.settings import settings


def run(arguments: argparse.Namespace, further: Sequence[str], stack: ExitStack) -> int:
    """Everything, until a signal ends it; the exit status where it does not start. `stack` holds what must be closed,
    `further` is for `deploy.start`. Raises `Lost` where it cannot go on."""
    begun = time.monotonic()
    state, valkey = run_folder(settings().home, arguments.port) / STATE, None
    state.unlink(missing_ok=True)
    if settings().redis_url is None:
        valkey = stack.enter_context(EmbeddedValkey())
        os.environ["SEGSERVE_REDIS_URL"] = valkey.url
    os.environ["SEGSERVE_HOST"], os.environ["SEGSERVE_PORT"] = arguments.host, str(arguments.port)
    stack.callback(transport.clear, arguments.port)
    stack.callback(state.unlink, missing_ok=True)
    ours = ("--parent", str(os.getpid()), "--begun", str(begun))
    where = ("--host", arguments.host, "--port", str(arguments.port))
    start = subprocess.Popen([sys.executable, "-m", "deploy.start", *ours, *where, *further])
    return watch(start, state, valkey)


def main() -> int:
    """Process entry: `python -m deploy.session --host ... --port ... --parent PID` and what `deploy.start` is told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments, further = parser.parse_known_args()
    adopt_orphans()
    try:
        with ExitStack() as stack:
            stack.callback(sweep_lines)
            stack.callback(end_descendants)
            stop_on_signals()
            end_with_parent(arguments.parent)
            return run(arguments, further, stack)
    except ValkeyError as error:
        print(f"It did not work: {error}", file=sys.stderr)
        return 1
    except Lost as lost:
        tell(str(lost))
        return 1
    except Stopped as stopped:
        return int(stopped.code or 0)


if __name__ == "__main__":
    sys.exit(main())
