"""Environment in, checked settings out: the only place that reads `SEGSERVE_*`, once, at each process's door.

Every field says what changing it does. Secrets are read here inside each process and never passed on as arguments.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

PREFIX = "SEGSERVE_"
_IMAGES_OUTLIVE = 4


def _default_home() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "segserve"


def _digests(keys: Mapping[str, str]) -> Mapping[str, str]:
    """A key itself in place of its digest would let nobody in, and stand in the environment for all to read."""
    if not all(re.fullmatch(r"[0-9a-fA-F]{64}", digest) for digest in keys):
        raise ValueError("each must be the SHA-256 of an API key, 64 digits 0-9a-f")
    return keys


def _level(name: str) -> str:
    known = logging.getLevelNamesMapping()
    if name.upper() not in known:
        raise ValueError(f"no level; there are {', '.join(known)}")
    return name


class Settings(BaseModel):
    """One field per `SEGSERVE_<NAME>` variable. Lists and mappings are JSON; an unknown one is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    """Address the HTTP port binds to; anything but loopback makes the API reachable from outside."""
    port: int = Field(default=8000, ge=1, le=65535)
    """HTTP port."""
    transport: Literal["auto", "haproxy", "serve"] = "auto"
    """What stands at the HTTP port of the local platform: HAProxy with Serve's throughput mode (Linux only: a fraction
    of the CPU a request), or Serve's own proxy. `auto`: HAProxy where it runs, else Serve's proxy."""
    home: Path = Field(default_factory=_default_home)
    """Folder for compiled graphs, logs of the local platform and its Ray session; none named: `segserve` in
    `XDG_CACHE_HOME`, else in `~/.cache`. Nothing else is written."""
    weights_dir: Path | None = None
    """Where `file` weights with relative paths are looked for before the project's bundled ones."""
    card_dirs: tuple[Path, ...] = ()
    """Folders of further model cards; they win over built-in ones of the same name."""

    node_probes: bool = False
    """Whether Serve's `/-/healthz` answers callers on the machine itself, as KubeRay's probe of a worker is. Not for a
    machine with a reverse proxy of its own: its callers would be taken for probes."""

    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Port of the local platform's metrics for a Prometheus beside it, on loopback; 0: any that is free."""
    ray_silent_s: float = Field(default=30.0, ge=1)
    """The local platform ends when Ray's GCS or raylet does not answer for so long. A busy machine's processes answer
    later than a quiet one's milliseconds, but not so late."""

    metrics_every_s: int = Field(default=10, ge=1, le=60)
    """How often each process of the local platform hands what it counted to the node's agent: `GET /metrics` shows a
    request after this and the time that the page is kept. Processes take their turns: a page in between has some of a
    request's numbers. Ray forgets a gauge after twice this time, and Serve sets some of its own every ten seconds only:
    below 5 they come and go."""

    redis_url: SecretStr | None = None
    """`redis://`, `rediss://` or `unix://` URL of the store of images, embeddings and jobs; none: memory only, per
    process."""
    store_memory_bytes: int = Field(default=768 * 2**20, ge=2**20)
    """Most bytes of the embedded Valkey that the local platform starts where no `redis_url` is given: 300 small photos
    of one upload have room, and their embeddings."""
    redis_timeout_s: float = Field(default=0.35, gt=0, le=10)
    """Longest that one store call may take; a slower one counts as a miss."""
    redis_connect_timeout_s: float = Field(default=0.2, gt=0, le=10)
    """Longest that connecting may take."""
    breaker_failures: int = Field(default=3, ge=1)
    """So many failures in a row stop calls to the store for `breaker_open_s`."""
    breaker_open_s: float = Field(default=30.0, gt=0)
    """How long an open breaker skips a store that is silent before one trial call; one that is gone, for a second."""
    image_ttl_s: int = Field(default=86_400, ge=1)
    """How long an uploaded image is kept."""
    image_memory_bytes: int = Field(default=256 * 2**20, ge=0)
    """Bytes of uploaded images that one process keeps in memory where no `redis_url` is given; unused with one."""
    embedding_ttl_s: int | None = Field(default=None, ge=1)
    """How long an embedding is kept, in every tier; none: a quarter of `image_ttl_s`. A store that evicts what expires
    first, as the embedded one, then gives up embeddings, which can be computed again, before images, which cannot."""
    memory_tier_bytes: int = Field(default=256 * 2**20, ge=0)
    """Bytes of embeddings that one decoder replica keeps in memory; 0 turns the tier off."""
    max_stored_bytes: int = Field(default=64 * 2**20, ge=1)
    """Largest single value written to the store; larger ones are refused before they empty it."""

    max_body_bytes: int = Field(default=32 * 2**20, ge=1024)
    """Largest request body; larger ones get 413."""
    max_pixels: int = Field(default=50_000_000, ge=1)
    """Most pixels of an image, by its header; more gets 413."""
    max_side: int = Field(default=16_384, ge=1)
    """Longest side of an image in pixels."""
    max_fields_bytes: int = Field(default=8 * 2**20, ge=1024)
    """Most bytes of a request besides its images: prompts (their mask logits included) and options; more gets 413."""
    max_prompts: int = Field(default=256, ge=1)
    """Most prompts in one request."""
    max_points: int = Field(default=1024, ge=1)
    """Most points in one prompt."""
    max_images_per_upload: int = Field(default=1000, ge=1)
    """Most images in one `POST /v1/images`."""
    max_upload_bytes: int = Field(default=2 * 2**30, ge=1024)
    """Largest `POST /v1/images` of several images, which are worked on while they come: each at most `max_body_bytes`,
    a handful in memory at a time."""
    request_timeout_s: float = Field(default=60.0, gt=0)
    """Deadline of a request from its arrival; later it gets 504, or 408 where its body is still being waited for."""
    stream_timeout_s: float = Field(default=600.0, gt=0)
    """Deadline of a request that is answered by events while it is worked on; later its last event is an error."""
    stream_idle_s: float = Field(default=120.0, gt=0)
    """A WebSocket on which its caller sends nothing for so long is closed."""
    max_streams: int = Field(default=256, ge=1)
    """WebSockets that one gateway replica keeps open, and as many callers who wait for a job; more are told
    `overloaded`, or `too_many_requests` where one tenant has them all."""
    image_urls: Literal["off", "https", "http"] = "off"
    """Whether images are fetched by `image_url`, from public addresses only: `https`, or `http` as well."""
    image_url_hosts: tuple[str, ...] = ()
    """Hosts, as `name` or `name:port`, whose addresses may be private or loopback too, and whose port any: a bucket of
    one's own. Everyone who may use the API reaches them through it."""
    image_url_timeout_s: float = Field(default=10.0, gt=0)
    """Longest that fetching one image may take, redirects included."""
    max_image_fetches: int = Field(default=16, ge=1)
    """Images that one gateway replica fetches at once; more get 503."""
    max_concurrent_requests: int = Field(default=256, ge=1)
    """Requests that one gateway replica works on at once; more get 503."""
    max_concurrent_per_tenant: int = Field(default=128, ge=1)
    """Requests of one tenant that one gateway replica works on at once; more get 429."""

    jobs_at_once: int = Field(default=1, ge=0)
    """Jobs that one gateway replica works on at once, beside requests; 0: it takes none, for others to do."""
    job_timeout_s: float = Field(default=600.0, gt=0)
    """Longest that a job may run; later it has failed."""
    job_ttl_s: int = Field(default=86_400, ge=1)
    """How long a finished job and its result are kept. One that has waited for so long has failed."""
    job_lease_s: float = Field(default=30.0, gt=0)
    """So long after a gateway's last sign of life another takes its jobs over."""
    max_jobs_per_tenant: int = Field(default=1000, ge=1)
    """Jobs of one tenant that may wait or run; more get 429."""
    max_job_bytes_per_tenant: int = Field(default=128 * 2**20, ge=1024)
    """Bytes of the requests of these jobs; more get 429."""
    job_memory_bytes: int = Field(default=64 * 2**20, ge=0)
    """Bytes of results that one process keeps in memory where no `redis_url` is given, the oldest forgotten first;
    unused with one."""

    api_keys: Annotated[Mapping[str, str], AfterValidator(_digests)] = Field(default_factory=dict)
    """SHA-256 (hex) of each API key -> tenant. Empty: no key is asked for and everyone is the tenant `public`."""
    api_key: SecretStr | None = None
    """The API key that the commands of `segserve` send to a server that asks for one."""
    required_models: tuple[str, ...] = ()
    """Models without which `/readyz` says no; empty: every application that runs."""
    metrics_endpoints: tuple[str, ...] = ()
    """Pages that `GET /metrics` adds up; empty: that of every Ray node's agent."""
    log_level: Annotated[str, AfterValidator(_level)] = "INFO"
    """Lowest level that is logged, by its name in Python's `logging`."""

    @property
    def url(self) -> str:
        """Where a program on this machine reaches the platform."""
        return url_of(self.host, self.port)

    @property
    def embedding_life_s(self) -> int:
        """`embedding_ttl_s`, or what stands for it: at least 1."""
        return self.embedding_ttl_s or max(self.image_ttl_s // _IMAGES_OUTLIVE, 1)


class SettingsError(ValueError):
    """A SEGSERVE_ variable is unknown or not valid; the message names it."""


def parse(environ: Mapping[str, str]) -> Settings:
    """Settings from SEGSERVE_* variables. Raises `SettingsError` that names the variable."""
    raw: dict[str, Any] = {
        key.removeprefix(PREFIX).lower(): value for key, value in environ.items() if key.startswith(PREFIX)
    }
    structured = {"card_dirs", "image_url_hosts", "api_keys", "required_models", "metrics_endpoints"}
    try:
        for key in structured & raw.keys():
            raw[key] = _json(key, raw[key])
        return Settings.model_validate(raw)
    except ValidationError as error:
        problems = "; ".join(f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise SettingsError(problems) from None


def _json(key: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"{PREFIX}{key.upper()}: not JSON ({error})") from None


@cache
def settings() -> Settings:
    """This process's settings, read once."""
    return parse(os.environ)


def url_of(host: str, port: int) -> str:
    """Where a program on this machine reaches what listens on `host`."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def inherited(name: str) -> str:
    """A variable that is not ours, for the launcher to pass on; empty when it is not set."""
    return os.environ.get(name, "")
