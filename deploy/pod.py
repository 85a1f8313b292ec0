"""`python -m deploy.pod FOLDER`: what HAProxy needs in a Ray pod, made before Ray starts: its wrapper, and folders.

The chart's init container runs it with the pod's settings; `variables` are the pod's environment, in which Serve finds
what was made. Everything in a pod ends with its first process, so that is HAProxy's owner.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy import transport
from shared.settings import Settings, settings

HOST, PORT = "0.0.0.0", 8000
"""A pod's own: who comes so far is the network policy's business."""
SPARE_PORT = 8500
FIRST_PROCESS = 1


def prepare(folder: Path, here: Settings) -> Path:
    """The wrapper, in a folder that only we may enter. Raises `transport.Unavailable`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    door = transport.door_of(here, HOST, PORT)
    return transport.write_wrapper(folder, transport.haproxy_binary(), door, FIRST_PROCESS)


def variables(folder: Path, here: Settings) -> Mapping[str, str]:
    """The environment of every Ray process of a pod whose folder was prepared."""
    return transport.variables(folder / "haproxy", folder, transport.silence_s(here), SPARE_PORT)


def main() -> int:
    """Prepare the folder; 1 where HAProxy does not run here."""
    parser = argparse.ArgumentParser(prog="python -m deploy.pod", description=__doc__)
    parser.add_argument("folder", type=Path)
    try:
        print(f"HAProxy's wrapper: {prepare(parser.parse_args().folder, settings())}")
    except transport.Unavailable as reason:
        print(reason, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
