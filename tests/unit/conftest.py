"""One thread for PyTorch: its networks are tiny here, and two threads that wait for each other on busy cores take
seven times the CPU of one."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, which the tests do after this
