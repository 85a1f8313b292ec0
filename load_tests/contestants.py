"""Who takes part: SegServe in each of its layouts, its peers, and no server at all; each started with one plan.

A contestant that cannot run here raises `Absent` with the reason, which the report shows in its place.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import orjson
import yaml

from deploy.cluster import ROOT, free_port
from deploy.layouts import Layout, Serving
from load_tests.client import LEAST, Target, Window, load, posts
from load_tests.peers.plan import Plan
from load_tests.processes import Command, NotReady, Server

READY_WITHIN_S = 240.0
PEERS = ROOT / ".venv-bench"
CARDS = Path(__file__).parent / "cards"
JPEG = {"Content-Type": "image/jpeg"}
PNG_BEGINS = b"\x89PNG"


class Absent(RuntimeError):
    """This contestant cannot take part here; the message says why."""


class Running(Protocol):
    """A contestant that is up."""

    first: bytes
    """Its first answer."""
    cold_start_s: float
    """From its start to that answer."""

    def window(self, images: Sequence[bytes], callers: int, seconds: float, least: int = LEAST) -> Window:
        """One window of load; each caller asks at least `least` times."""
        ...

    @property
    def servers(self) -> Sequence[Server]:
        """Everything that runs for it."""
        ...


Form = Callable[[str, Sequence[bytes]], Target]
"""How a server wants its images: base URL and images to requests."""


def raw(path: str, headers: dict[str, str] | None = None) -> Form:
    """The image is the body."""
    return lambda url, images: posts(url + path, images, {**JPEG, **(headers or {})})


def form_field(path: str, fields: Mapping[str, str] | None = None) -> Form:
    """The image is the part `image` of a form, beside `fields`."""
    border = "segserve-bench"
    disposition = "Content-Disposition: form-data; name="
    parts = [f'--{border}\r\n{disposition}"{name}"\r\n\r\n{value}\r\n' for name, value in (fields or {}).items()]
    parts.append(f'--{border}\r\n{disposition}"image"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n')
    head = "".join(parts).encode()

    def form(url: str, images: Sequence[bytes]) -> Target:
        bodies = [head + image + f"\r\n--{border}--\r\n".encode() for image in images]
        return posts(url + path, bodies, {"Content-Type": f"multipart/form-data; boundary={border}"})

    return form


def triton_infer(path: str) -> Form:
    """The binary extension of the Open Inference Protocol."""

    def form(url: str, images: Sequence[bytes]) -> Target:
        bodies, lengths = [], set()
        for image in images:
            data = len(image).to_bytes(4, "little") + image
            size = {"binary_data_size": len(data)}
            tensor = {"name": "image", "shape": [1, 1], "datatype": "BYTES", "parameters": size}
            outputs = [{"name": "labels", "parameters": {"binary_data": True}}]
            # Padded, so that one header length fits the requests for all images.
            header = orjson.dumps({"inputs": [tensor], "outputs": outputs}).ljust(256)
            lengths.add(len(header))
            bodies.append(header + data)
        fields = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(lengths.pop())}
        return posts(url + path, bodies, fields)

    return form


class Served:
    """A contestant behind a port."""

    def __init__(self, command: Command, port: int, form: Form, image: bytes) -> None:
        self._url, self._form = f"http://127.0.0.1:{port}", form
        self.server = Server(command)
        try:
            self.cold_start_s, answer = self.server.wait_for_answer(form(self._url, [image]), READY_WITHIN_S)
        except BaseException as error:
            self.server.stop()
            if isinstance(error, NotReady):
                raise Absent(f"did not start: {str(error).strip()[-300:]}") from error
            raise
        # Triton puts a header of its own before the picture.
        self.first = answer.body[max(0, answer.body.find(PNG_BEGINS)) :]

    def window(self, images: Sequence[bytes], callers: int, seconds: float, least: int = LEAST) -> Window:
        """See `Running`."""
        return load(self._form(self._url, images), callers, seconds, least)

    @property
    def servers(self) -> Sequence[Server]:
        """See `Running`."""
        return [self.server]


class InProcess:
    """The prediction function in as many processes as the plan has workers, each in a loop of its own."""

    def __init__(self, plan: Plan, folder: Path, image: bytes) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        arguments = (sys.executable, "-m", "load_tests.peers.in_process")
        begun = time.perf_counter()
        self._servers = [
            Server(Command(arguments, plan.environment(), folder / f"log-{index}", talks=True))
            for index in range(plan.workers)
        ]
        try:
            self.first = bytes.fromhex(self._ask(0.0, [image])[0]["first"])
        except NotReady as error:
            self.stop()
            raise Absent(f"did not start: {str(error).strip()[-300:]}") from error
        self.cold_start_s = time.perf_counter() - begun

    def _ask(self, seconds: float, images: Sequence[bytes]) -> list[dict[str, Any]]:
        paths = [self._folder / f"{index}.jpg" for index in range(len(images))]
        for path, image in zip(paths, images, strict=True):
            path.write_bytes(image)
        for server in self._servers:
            server.say(json.dumps({"seconds": seconds, "images": list(map(str, paths))}))
        return [json.loads(server.heard()) for server in self._servers]

    def window(self, images: Sequence[bytes], callers: int, seconds: float, least: int = LEAST) -> Window:
        """See `Running`. There is no queue: callers beyond the processes change nothing."""
        said = self._ask(seconds, images)
        passes = tuple(passed for each in said for passed in each["passes_ms"])
        return Window(callers, max(each["seconds"] for each in said), passes)

    @property
    def servers(self) -> Sequence[Server]:
        """See `Running`."""
        return self._servers

    def stop(self) -> None:
        """End what was started."""
        for server in self._servers:
            server.stop()


Start = Callable[[Plan, Path, bytes], Running]
"""Plan, folder to write to and a first image to a contestant that has answered it. Raises `Absent`."""


def peer(name: str, form: Form, *arguments: str, environment: Mapping[str, str] | None = None, tries: int = 1) -> Start:
    """A server of `peers/` in its own environment; `{port}` and `{workers}` in its arguments are filled in.

    `tries` is how often it is started before it is absent: instances of Triton have one second to find each other.
    """

    def start(plan: Plan, folder: Path, image: bytes) -> Running:
        home = PEERS / name
        python = home / "bin" / "python" if name != "fastapi" else Path(sys.executable)
        if not python.exists():
            raise Absent(
                f"not installed ({home.relative_to(ROOT)}): `make bench` installs it where its wheel is to be had"
            )
        folder.mkdir(parents=True, exist_ok=True)
        for left in range(tries)[::-1]:
            port = free_port()
            placed = dataclasses.replace(plan, port=port)
            filled = [argument.format(port=port, workers=plan.workers) for argument in arguments]
            # What a peer writes beside its log lies in our folder too, and goes with it.
            homes = {"TMPDIR": str(folder), "PYTRITON_HOME": str(folder)}
            more = {**placed.environment(), "PYTHONPATH": str(ROOT), **homes, **(environment or {})}
            try:
                return Served(Command((str(python), *filled), more, folder / "log"), port, form, image)
            except Absent:
                if not left:
                    raise
        raise Absent("was not to be started at all")

    return start


def segserve(fused: bool) -> Start:
    """SegServe as `make serve` starts it, with one model."""

    def start(plan: Plan, folder: Path, image: bytes) -> Running:
        if fused and find_spec("services.gateway.fused") is None:
            raise Absent("this version has no fused layout (services.gateway.fused)")
        layout = Layout(plan.workers, plan.threads, fused, plan.in_flight)
        serving = Serving(plan.model, "semantic", layout, plan.engine, plan.precision, unchecked=plan.unchecked)
        return platform(serving.configuration(), plan, folder, raw("/v1/semantic", {"Accept": "image/png"}), image)

    return start


def platform(configuration: Mapping[str, Any], plan: Plan, folder: Path, form: Form, image: bytes) -> Served:
    """A private SegServe with this Serve YAML; graphs are compiled into, and taken from, the plan's cache."""
    folder.mkdir(parents=True, exist_ok=True)
    cache = folder / "compiled"
    if plan.cache_dir and not cache.exists():
        cache.symlink_to(plan.cache_dir, target_is_directory=True)
    config, port = folder / "serve.yaml", free_port()
    config.write_text(yaml.safe_dump(configuration, sort_keys=False), encoding="utf-8")
    environment = {"SEGSERVE_HOME": str(folder), "SEGSERVE_CARD_DIRS": json.dumps(plan.card_dirs)}
    arguments = (sys.executable, "-m", "deploy.local", "--port", str(port), "--config", str(config))
    return Served(Command(arguments, environment, folder / "log"), port, form, image)


SERVERS: Mapping[str, Start] = {
    "in-process": InProcess,
    "SegServe, gateway": segserve(fused=False),
    "SegServe, fused": segserve(fused=True),
    "FastAPI": peer(
        *("fastapi", raw("/predict"), "-m", "uvicorn", "load_tests.peers.fastapi_server:app", "--host", "127.0.0.1"),
        *("--port", "{port}", "--workers", "{workers}", "--no-access-log"),
    ),
    "LitServe": peer("litserve", form_field("/predict"), "-m", "load_tests.peers.litserve_server"),
    "BentoML": peer(
        *("bentoml", raw("/predict"), "-m", "bentoml", "serve", "load_tests.peers.bentoml_service:Segment"),
        *("--host", "127.0.0.1", "--port", "{port}"),
        environment={"BENTOML_DO_NOT_TRACK": "True"},
    ),
    "mosec": peer(
        *("mosec", raw("/inference"), "-m", "load_tests.peers.mosec_server", "--address", "127.0.0.1"),
        *("--port", "{port}", "--timeout", "120000"),
    ),
    "Triton": peer(
        "pytriton", triton_infer("/v2/models/segment/infer"), "-m", "load_tests.peers.pytriton_server", tries=4
    ),
}
"""In the order of the report."""
OURS = ("SegServe, gateway", "SegServe, fused")
LIMIT = "in-process"
