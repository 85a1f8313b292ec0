"""What `segserve evaluate` takes; loads nothing heavy, so that other commands start as fast as without it."""

from __future__ import annotations

import argparse
from pathlib import Path

from shared.evaluation import FORMATS, TASKS
from shared.types import Task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes besides the address of the server."""
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="folder of a data set, laid out as it is published")
    add("--format", choices=FORMATS, help="which data set it is; else seen from what lies in the folder")
    add("--split", help="split of the data set; else the one that figures are usually given for")
    tasks = ",".join(TASKS)
    add("--tasks", type=_tasks, metavar=tasks, help="some of them; else all that data set and server both have")
    add("--model", default="", help="name or name@version; else each task's default")
    add("--tta", dest="switches", action="append_const", const="tta", help="semantic with test-time augmentation")
    add("--crf", dest="switches", action="append_const", const="crf", help="semantic refined by the model's dense CRF")
    parser.set_defaults(switches=[])
    add("--limit", type=int, metavar="N", help="only N images, evenly spread")
    add("--concurrency", type=int, default=4, metavar="N", help="images under way at once (%(default)s)")
    add("--out", type=Path, default=Path("runs/evaluate"), help="folder of the report (%(default)s)")


def _tasks(text: str) -> tuple[Task, ...]:
    """Tasks separated by commas, in the order of `TASKS`."""
    named = text.split(",")
    strange = [name for name in named if name not in TASKS]
    if strange:
        raise argparse.ArgumentTypeError(f"{strange[0]!r} is none of {', '.join(TASKS)}")
    return tuple(task for task in TASKS if task in named)
