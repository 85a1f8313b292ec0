"""`segserve jobs submit | list | wait | result | cancel`: pictures in, jobs out; later their states and results."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from shared.errors import SegServeError
from shared.types import JobState, JobTask

if TYPE_CHECKING:
    from shared.client import Client
    from shared.client.jobs import Job

Action = Callable[["Client", argparse.Namespace, Console], int]
LISTED = 50


def add_commands(parser: argparse.ArgumentParser, client: argparse.ArgumentParser) -> None:
    """The words after `segserve jobs`; `client` has what every command that asks a server takes."""
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(
        name: str, act: Callable[[Client, argparse.Namespace, Console], int], told: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, parents=[client], help=told)
        added.set_defaults(act=act)
        return added

    submit = command("submit", _submit, "have images segmented later; prints a job each")
    submit.add_argument("images", nargs="+", type=Path)
    submit.add_argument("--task", choices=get_args(JobTask), default="panoptic")
    submit.add_argument(
        "--set", action="append", default=[], type=_pair, metavar="NAME=VALUE", help="an option of the task"
    )
    listing = command("list", _list, "your jobs, newest first")
    listing.add_argument("--state", choices=get_args(JobState))
    listing.add_argument("--most", type=_count, default=LISTED, help="so many at most (%(default)s)")
    for name, act, told in (
        ("wait", _wait, "until these jobs are finished; 1 where one is not done"),
        ("cancel", _cancel, "cancel jobs, or forget finished ones"),
    ):
        command(name, act, told).add_argument("jobs", nargs="+", metavar="job")
    result = command("result", _result, "what the task itself would have answered")
    result.add_argument("job")
    result.add_argument("--out", type=Path, help="write it there instead of printing it")


def run(chosen: argparse.Namespace, console: Console) -> int:
    """Do what was asked; the exit status. Raises the server's errors."""
    from shared.client import Client  # loads OpenCV

    with Client(chosen.url, chosen.api_key) as client:
        status: int = chosen.act(client, chosen, console)
        return status


def _submit(client: Client, chosen: argparse.Namespace, console: Console) -> int:
    """A file that is refused is named, and the next ones go on; 1 where any was."""
    failed = 0
    for path in chosen.images:
        try:
            job = client.jobs.submit(chosen.task, path.read_bytes(), **dict(chosen.set))
            console.print(f"{job.id}  {escape(str(path))}", soft_wrap=True)
        except (SegServeError, OSError) as error:
            failed += 1
            said = f"{error.code}: {error.message}" if isinstance(error, SegServeError) else str(error)
            console.print(f"[red]segserve:[/red] {escape(str(path))}: {escape(said)}", soft_wrap=True)
    return int(failed > 0)


def _list(client: Client, chosen: argparse.Namespace, console: Console) -> int:
    """A line each, which a script can take apart."""
    for job in islice(client.jobs.list(chosen.state), chosen.most):
        created = f"{job.created_at.astimezone():%Y-%m-%d %H:%M:%S}"
        console.print(f"{job.id}  {job.task:<10}  {job.state:<9}  {created}  {_took(job)}", soft_wrap=True)
    return 0


def _wait(client: Client, chosen: argparse.Namespace, console: Console) -> int:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} jobs"))
    ended: list[Job] = []
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("waiting", total=len(chosen.jobs))
        for name in chosen.jobs:
            ended.append(client.jobs.wait(name, within_s=float("inf")))
            bars.update(bar, advance=1, description=f"{name}: {ended[-1].state}")
    for job in ended:
        reason = "" if job.error is None else f"  {escape(f'{job.error.code}: {job.error.message}')}"
        console.print(f"{job.id}  {job.state}{reason}", soft_wrap=True)
    return int(any(job.state != "done" for job in ended))


def _cancel(client: Client, chosen: argparse.Namespace, console: Console) -> int:
    for name in chosen.jobs:
        client.jobs.cancel(name)
    return 0


def _result(client: Client, chosen: argparse.Namespace, console: Console) -> int:
    body = client.jobs.content(chosen.job)
    if chosen.out is None:
        sys.stdout.buffer.write(body)
        return 0
    chosen.out.write_bytes(body)
    console.print(f"wrote {escape(str(chosen.out))}")
    return 0


def _took(job: Job) -> str:
    if job.started_at is None or job.finished_at is None:
        return "-"
    return f"{(job.finished_at - job.started_at).total_seconds():.1f} s"


def _pair(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found or not name:
        raise argparse.ArgumentTypeError(f"{text}: should be NAME=VALUE")
    return name, value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: a whole number from 1 on")
    return int(text)
