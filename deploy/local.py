"""`python -m deploy.local`: the whole platform on this machine, until Ctrl-C; `make serve` runs it.

This process only watches: the platform lives in a child (`deploy.session`), and nothing of it survives us.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from deploy import transport
from deploy.claim import claim, end_leftovers, try_claim
from deploy.cluster import ROOT, PortTaken, check_port, run_folder, run_path
from deploy.progress import Failed
from deploy.supervisor import in_words, supervise, tell
from shared.settings import SettingsError, settings


def up(arguments: argparse.Namespace) -> int:
    """Start the platform and keep it until we are told to stop; 1 where it cannot listen, or has nothing to start."""
    try:
        arguments.config.open("rb").close()
        lock = claimed(arguments.host, arguments.port)
    except OSError as error:
        place = error.filename or f"port {arguments.port} on {arguments.host}"
        why = error if isinstance(error, PortTaken) else f"{place}: {error.strerror or error}"
        print(f"SegServe did not start: {why}", file=sys.stderr)
        return 1
    command = [
        *(sys.executable, "-m", "deploy.session", "--parent", str(os.getpid())),
        *("--host", arguments.host, "--port", str(arguments.port), "--config", str(arguments.config)),
        *(["--dashboard"] if arguments.dashboard else []),
    ]
    status = supervise(command, keep=[lock])
    transport.clear(arguments.port)
    if status < 0:
        tell(f"its session {in_words(status)}, so all of it is ended.")
    return abs(status)


def claimed(host: str, port: int) -> int:
    """The lock on this port's run folder, for a platform that can listen there. Raises `OSError` where it cannot; then
    nothing was written."""
    folder, lock = run_path(settings().home, port), None
    if folder.is_dir():
        lock = try_claim(folder)
        if lock is not None:
            end_leftovers(folder, transport.place(port))
    check_port(host, port)
    return lock if lock is not None else claim(run_folder(settings().home, port))


def deploy(arguments: argparse.Namespace) -> int:
    """Hand a YAML to the platform that runs."""
    from deploy.redeploy import redeploy

    try:
        redeploy(settings().home, arguments.port, arguments.file)
    except Failed as error:
        print(f"{arguments.file} is not deployed: {error}", file=sys.stderr)
        return 1
    return 0


def port_number(text: str) -> int:
    """A port to listen on, from 1 to 65535."""
    if text.isdecimal() and 0 < int(text) < 2**16:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text} is no port from 1 to 65535")


def parser() -> argparse.ArgumentParser:
    """The command line; `up` is what runs when no command is named."""
    found = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    found.set_defaults(run=up)
    here = settings()
    found.add_argument("--host", default=here.host, help="address of the HTTP port (%(default)s)")
    found.add_argument("--port", type=port_number, default=here.port, help="HTTP port (%(default)s)")
    found.add_argument("--config", type=Path, default=ROOT / "deploy" / "serve.yaml", help="Serve YAML to start with")
    found.add_argument("--dashboard", action="store_true", help="also Ray's dashboard, and with it `serve deploy`")
    commands = found.add_subparsers(title="commands")
    again = commands.add_parser("deploy", help="hand an edited Serve YAML to the platform that runs on --port")
    again.add_argument("file", type=Path)
    again.set_defaults(run=deploy)
    return found


def main() -> int:
    """Parse the command line and run it; the exit status."""
    try:
        arguments = parser().parse_args()
    except SettingsError as error:
        print(f"SegServe did not start: {error}", file=sys.stderr)
        return 1
    status: int = arguments.run(arguments)
    return status


if __name__ == "__main__":
    sys.exit(main())
