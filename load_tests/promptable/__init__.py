"""Served clicks against the bare decoder, which runs here as in a replica: Ray gives numpy one thread there, and two
that spin beside busy neighbours would make it several times slower here."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
