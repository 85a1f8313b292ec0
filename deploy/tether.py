"""`tether.py PARENT PROGRAM ARGUMENT...`: become PROGRAM, tied to the life of the thread that started us.

Run as a script, standard library only. The kernel kills PROGRAM when that thread ends, be it by SIGKILL (Linux).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Never returns: PROGRAM takes this process over, or the parent is gone already and so are we."""
    parent, program = int(arguments[0]), arguments[1]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)
    os.execv(program, arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
