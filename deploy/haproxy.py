"""HAProxy's configuration as Serve writes it in, HAProxy with its doors closed out.

Serve runs this in the place of the binary (`RAY_SERVE_HAPROXY_BINARY_PATH`, see `deploy.transport`) at each start and
reload. It rewrites the file that Serve has just written and becomes HAProxy. Standard library only: it starts in
milliseconds. What it does not recognise it refuses, so that a new version of Serve cannot open a door unseen.

HAProxy outlives the actor that manages it, whose successor takes its sockets over without losing a request. So it is
not tied to that but to its owner, the process that keeps the platform: a small process beside it waits for the end of
either.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    InternalError,
    Malformed,
    MethodNotAllowed,
    ModelUnavailable,
    NotFound,
    RequestTimeout,
    SegServeError,
)
from shared.headers import NODE_PROBE, UNIQUE_ID

MARK = "# Closed by SegServe."
RETRY_AFTER_S = 1
"""What a caller is told to wait while no gateway is reachable: a killed one is back in seconds."""
TUNNEL_S = 3600
"""Longest silence on a WebSocket."""
REQUEST_WITHIN_S = 60
"""Longest that a caller may take to send the headers of a request, and again as much of its body as HAProxy keeps."""
OPENS = frozenset({"frontend prometheus", "listen stats"})
"""Sections of Serve's that are dropped whole: pages on every interface that tell anyone who asks what runs."""
METHODS = "GET HEAD POST PUT PATCH DELETE OPTIONS TRACE"
"""What the gateway's server takes for methods."""
FRONTEND = "frontend http_frontend"
NOBODY = "backend default_backend"

UNREACHABLE = ModelUnavailable("The server cannot be reached just now: try again.")
OWN_ANSWERS: dict[int, SegServeError] = {
    400: Malformed(),
    404: NotFound(),
    405: MethodNotAllowed(),
    408: RequestTimeout(),
    413: BodyTooLarge(),
    500: InternalError(),
    501: Malformed(),
    502: UNREACHABLE,
    503: UNREACHABLE,
    504: DeadlineExceeded(),
}
"""What HAProxy answers by itself, by the status that it would give it. What it says to bytes that never become a
request, in HTML, is compiled into it: no setting reaches that."""


class NotUnderstood(ValueError):
    """Serve's configuration does not look as expected; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Door:
    """Where callers come in: the public address, on which Serve's frontend listens once rewritten, how many bytes the
    gateway takes of any request and of `POST /v1/images`, and whether a probe from this node may ask whether HAProxy
    is well."""

    host: str
    port: int
    max_body_bytes: int
    max_upload_bytes: int
    node_probes: bool = False

    @property
    def bind(self) -> str:
        """As HAProxy writes it."""
        return f"ipv6@[{self.host}]:{self.port}" if ":" in self.host else f"ipv4@{self.host}:{self.port}"

    @property
    def too_long(self) -> str:
        """HAProxy's condition for a request that says itself that the gateway will refuse it."""
        size = "req.body_size gt"
        usual = f"{{ {size} {self.max_body_bytes} }} !{{ path /v1/images }}"
        return f"{usual} or {{ {size} {max(self.max_body_bytes, self.max_upload_bytes)} }}"


def sections(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each section's header and its lines, without comments and empty lines."""
    header, lines = "", list[str]()
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if raw[0].isspace():
            lines.append(line)
        else:
            if header:
                yield header, lines
            header, lines = line, []
    if header:
        yield header, lines


def closed(text: str, door: Door) -> str:
    """Serve's configuration with one way in and our answers. Raises `NotUnderstood`."""
    written, seen = [MARK], set[str]()
    for header, lines in sections(text):
        seen.add(header)
        if header not in OPENS:
            written += [header, *(f"    {line}" for line in _rewritten(header, lines, door))]
    if missing := {"global", "defaults", FRONTEND, NOBODY} - seen:
        raise NotUnderstood(f"no section {', '.join(sorted(missing))}")
    binds = [line.strip() for line in written if line.strip().startswith("bind")]
    if binds != [f"bind {door.bind}"]:
        raise NotUnderstood(f"it would listen on {binds}")
    return "\n".join(written) + "\n"


def _rewritten(header: str, lines: list[str], door: Door) -> list[str]:
    match header:
        case "global":
            return _global(lines)
        case "defaults":
            return _defaults(lines)
        case _ if header == FRONTEND:
            return _frontend(lines, door)
        case _ if header == NOBODY:
            return ["http-request return status 503 default-errorfiles"]
        case _ if header.startswith("backend "):
            return lines
    raise NotUnderstood(f"an unknown section {header}")


def _global(lines: list[str]) -> list[str]:
    """The admin socket for its owner only, and no log to a port where nobody listens."""
    kept = [line for line in lines if not line.startswith("log 127.0.0.1:514 ")]
    sockets = [line for line in kept if line.startswith("stats socket ")]
    if len(sockets) != 1 or not re.match(r"stats socket /\S+ mode 666 ", sockets[0]):
        raise NotUnderstood(f"admin sockets {sockets}")
    return [line.replace(" mode 666 ", " mode 600 ") if line in sockets else line for line in kept]


def _defaults(lines: list[str]) -> list[str]:
    """Our answers in the place of error files that turn every failure into 500, and limits for silent callers."""
    kept = [line for line in lines if not line.startswith(("errorfile ", "option httplog", "option log-health-checks"))]
    timeouts = [f"timeout tunnel {TUNNEL_S}s", f"timeout http-request {REQUEST_WITHIN_S}s"]
    return [*kept, *timeouts, *map(_answer, OWN_ANSWERS)]


def body(error: SegServeError, request_id: str) -> str:
    """The body that `services.gateway.errors` would give."""
    return json.dumps({"code": error.code, "message": error.message, "details": [], "request_id": request_id})


def _answer(status: int) -> str:
    """What HAProxy answers in the place of its own page."""
    error = OWN_ANSWERS[status]
    quoted = body(error, "%[var(txn.id)]").replace('"', '\\"')
    told = f' hdr X-Answered-As {error.status} hdr Cache-Control "no-store"'
    retry = f" hdr Retry-After {RETRY_AFTER_S}" if error.status == 503 else ""
    return f'http-error status {status} content-type application/json lf-string "{quoted}"{told}{retry}'


def _frontend(lines: list[str], door: Door) -> list[str]:
    """The public address, and one well-formed id for each request, in HAProxy's own answers too."""
    kept = [line for line in lines if not line.startswith("bind ")]
    if len(kept) != len(lines) - 1:
        raise NotUnderstood("not exactly one bind in the frontend")
    well_formed = "{ req.hdr_cnt(x-request-id) eq 1 } { req.hdr(x-request-id) -m reg ^[A-Za-z0-9_.-]{1,64}$ }"
    return [
        f"bind {door.bind}",
        f"http-request set-var(txn.id) req.hdr(x-request-id) if {well_formed}",
        "http-request set-var(txn.id) uuid,regsub(-,,g) unless { var(txn.id) -m found }",
        "http-request set-header x-request-id %[var(txn.id)]",
        # `CONNECT` to somewhere, `OPTIONS *`: what is no path goes to no gateway.
        "http-request return status 405 default-errorfiles unless { path_beg / }",
        # Of a method that nobody knows the gateway's server would understand nothing; of this one the gateway says that
        # the path does not take it, and which it takes.
        f"http-request set-method TRACE unless {{ method {METHODS} }}",
        # Serve's own pages are no business of a caller's; its checks of the gateways do not come this way.
        "acl own path,url_dec -m beg /-/",
        f"acl probe path {NODE_PROBE}",
        f"acl probe_allowed {'src 127.0.0.0/8 ::1' if door.node_probes else 'always_false'}",
        "http-request return status 404 default-errorfiles if own !probe or own !probe_allowed",
        # Read in few pieces, and sent again when a gateway dies; what the gateway will refuse it refuses at once.
        f"http-request wait-for-body time {REQUEST_WITHIN_S}s unless {door.too_long}",
        # Sent again when a gateway died under it: what makes a job makes one, by this id, which each try carries. Not a
        # deletion: a second one would not find what the first may have deleted.
        f"http-request set-header {UNIQUE_ID} %[uuid]",
        "http-request disable-l7-retry if METH_DELETE",
        "http-after-response set-header x-request-id %[var(txn.id)] if { var(txn.id) -m found }",
        *(
            f"http-after-response set-status {status} if {{ res.hdr(x-answered-as) {status} }}"
            for status in sorted({error.status for error in OWN_ANSWERS.values()})
        ),
        "http-after-response del-header x-answered-as",
        # The server below the gateway says in plain text that it does not understand a request.
        "acl plain res.hdr(content-type) -m beg text/plain",
        "http-response return status 400 default-errorfiles if { status 400 } plain",
        *kept,
    ]


def living(admin: str) -> int | None:
    """The process that answers this admin socket, None when nobody does."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        try:
            client.connect(admin)
            client.sendall(b"show info\n")
            with client.makefile("rb") as answer:
                found = re.search(rb"^Pid: *(\d+)", answer.read(), re.MULTILINE)
        except OSError:
            return None
    return int(found[1]) if found else None


def taking_over(arguments: Sequence[str], text: str) -> list[str]:
    """The arguments, and those by which a HAProxy whose manager died hands its sockets over, where there is one."""
    admin = re.search(r"^\s*stats socket (\S+)", text, re.MULTILINE)
    if "-x" in arguments or not admin or not (pid := living(admin[1])):
        return list(arguments)
    return [*arguments, "-x", admin[1], "-sf", str(pid)]


def end_with(owner: int) -> None:
    """See to it that this process, whatever program it becomes, is killed when `owner` ends, by SIGKILL too. Raises
    `ProcessLookupError` where that has ended already."""
    ends, here = os.pidfd_open(owner), os.pidfd_open(os.getpid())
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        os.close(ends)
        os.close(here)
        return
    try:
        os.setsid()
        if os.fork() == 0:  # no child of HAProxy's, which knows of none
            _wait(ends, here)
    finally:
        os._exit(0)


def _wait(ends: int, here: int) -> None:
    """Nothing is held on to but the two processes."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    waits = select.poll()
    for each in (ends, here):
        waits.register(each, select.POLLIN)
    if ends in (ended for ended, _ in waits.poll()):
        signal.pidfd_send_signal(here, signal.SIGKILL)


def main() -> None:
    """`python -m deploy.haproxy OWNER BINARY HOST PORT MAX_BODY MAX_UPLOAD NODE_PROBES -- HAPROXY'S ARGUMENTS`; becomes
    HAProxy, or exits with 1."""
    parser = argparse.ArgumentParser()
    parser.add_argument("owner", type=int)
    parser.add_argument("binary")
    parser.add_argument("host")
    for number in ("port", "max_body_bytes", "max_upload_bytes", "node_probes"):
        parser.add_argument(number, type=int)
    parser.add_argument("arguments", nargs="+")
    given = parser.parse_args()
    arguments: list[str] = given.arguments
    path = Path(arguments[arguments.index("-f") + 1])
    text = path.read_text(encoding="utf-8")
    if not text.startswith(MARK):
        try:
            limits = given.max_body_bytes, given.max_upload_bytes
            door = Door(given.host, given.port, *limits, node_probes=bool(given.node_probes))
            path.write_text(closed(text, door), encoding="utf-8")
        except NotUnderstood as error:
            sys.exit(f"SegServe does not open HAProxy's doors: {error} in {path}")
    try:
        end_with(given.owner)
    except ProcessLookupError:
        sys.exit("SegServe does not start HAProxy: the platform that it belongs to has ended")
    os.execv(given.binary, [given.binary, *taking_over(arguments, text)])


if __name__ == "__main__":
    main()
