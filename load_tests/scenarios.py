"""Which models, contestants, pictures and numbers of callers the benchmark puts together; `quick` is a short form."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.layouts import configuration, promptable
from load_tests.client import Target, ask_once, post, posts
from load_tests.contestants import CARDS, LIMIT, OURS, SERVERS, Running, form_field, platform
from load_tests.peers.plan import Plan
from load_tests.pictures import HEIGHT, WIDTH, drawn, of_megapixels, padded_jpeg
from load_tests.rounds import Entry, Load, Scenario
from shared.catalog.catalog import find_card

MEGAPIXELS = (0.1, 0.3, 1.0, 3.0, 6.0, 12.0)
NULL_CALLERS = (1, 4, 8, 16, 64)
PEERS = tuple(name for name in SERVERS if name not in (*OURS, LIMIT))
SENT_BYTES = 100_000
UNCHECKED = "OpenVINO bf16, not checked"
F32 = "OpenVINO f32"
DOCUMENTED = "documented, torch eager"


@dataclass(frozen=True, slots=True)
class Size:
    """How long everything takes."""

    rounds: int
    seconds: float
    quick: bool


FULL, QUICK = Size(3, 3.0, False), Size(1, 1.5, True)


def scenarios(size: Size, cores: int, cache: Path) -> dict[str, Callable[[], Scenario]]:
    """By name, in the order in which they are played; a function each, since drawing its pictures takes time."""
    plan = Plan("street", "openvino", threads=cores, cache_dir=str(cache), card_dirs=(str(CARDS),))
    return {
        "street": lambda: street(size, cores, plan),
        "segformer": lambda: segformer(size, cores, replace(plan, model="segformer-b0-random")),
        "null": lambda: null(size, replace(plan, model="null", engine="torch", threads=1)),
        "click": lambda: click(size, plan),
    }


def street(size: Size, cores: int, plan: Plan) -> Scenario:
    """The bundled model in OpenVINO f32 behind everyone, in both layouts; and SegServe over the sizes of pictures."""
    entries = both_layouts(SERVERS, plan, cores, (1, 8), (8,) if size.quick else (8, 32), F32)
    for precision in checked_precisions(plan):
        lower = replace(plan, precision=precision)
        entries += both_layouts((LIMIT, *OURS), lower, cores, (), (8,), f"OpenVINO {precision}")
    documented = replace(plan, engine="torch", way="documented")
    entries += both_layouts((LIMIT, *PEERS), documented, cores, (), (8,), DOCUMENTED)
    photos = tuple(drawn(seed, form="JPEG") for seed in range(8))

    def alone(entry: Entry) -> bool:
        """Without a server, in SegServe and behind the leanest peer: one worker with all threads, in f32."""
        return entry.server in (LIMIT, *OURS, "FastAPI") and entry.plan.workers == 1 and entry.label == F32

    sizes = [
        Load(f"{each:g} MP", (of_megapixels(each),), size.seconds * 0.7, (1,), alone)
        for each in (MEGAPIXELS[::3] if size.quick else MEGAPIXELS)
    ]
    title = f"street, OpenVINO f32, JPEG {WIDTH}x{HEIGHT} to PNG of labels"
    return Scenario("street", title, tuple(entries), (Load("photo", photos, size.seconds), *sizes), size.rounds)


def segformer(size: Size, cores: int, plan: Plan) -> Scenario:
    """SegFormer-B0: OpenVINO in SegServe and in process against every peer as documentation runs it."""
    documented = replace(plan, engine="torch", way="documented")
    entries = [
        *both_layouts((LIMIT, *OURS), plan, cores, (1, 8), (8,), F32),
        *both_layouts((OURS[0],), replace(plan, precision="bf16", unchecked=True), cores, (), (8,), UNCHECKED),
        *both_layouts((LIMIT, *PEERS), documented, cores, (), (8,), DOCUMENTED),
    ]
    photos = tuple(drawn(seed, form="JPEG") for seed in range(8))
    title = f"SegFormer-B0 512x512, random weights, JPEG {WIDTH}x{HEIGHT} to PNG of labels"
    rounds = max(1, size.rounds - 1)
    return Scenario("segformer", title, tuple(entries), (Load("photo", photos, size.seconds),), rounds)


def null(size: Size, plan: Plan) -> Scenario:
    """A model that costs nothing: what remains is the server."""
    callers = NULL_CALLERS[::2] if size.quick else NULL_CALLERS
    entries = tuple(Entry(name, plan, callers) for name in SERVERS if name != LIMIT)
    load = Load("null", (padded_jpeg(SENT_BYTES, 96),), size.seconds / 2)
    return Scenario("null", "null model, 100 KB in, 5 KB out", entries, (load,), max(1, size.rounds - 1))


def click(size: Size, plan: Plan) -> Scenario:
    """A click on an image whose embedding is cached; peers have no such thing."""
    callers = (1, 8) if size.quick else (1, 4, 16, 64)
    entry = Entry("SegServe, gateway", replace(plan, in_flight=plan.threads), callers, start=start_click)
    load = Load("click", (drawn(0, form="JPEG"),), size.seconds / 1.5)
    return Scenario("click", "click on a cached embedding, street", (entry,), (load,), max(1, size.rounds - 1))


def checked_precisions(plan: Plan) -> list[str]:
    """Below f32: those that the card has an accuracy check of in this engine."""
    card = find_card(plan.model, plan.folders)
    passed = (check.precision for check in card.checks if check.engine == plan.engine and check.precision != "f32")
    return list(dict.fromkeys(passed))


def both_layouts(
    servers: Iterable[str], plan: Plan, cores: int, one: tuple[int, ...], many: tuple[int, ...], label: str = ""
) -> list[Entry]:
    """Each server as one worker with all threads and as one worker a core; without callers a layout is left out. One
    worker of ours has a pass a core in flight, which peers do not offer."""
    latency = replace(plan, workers=1, threads=cores)
    throughput = replace(plan, workers=cores, threads=1)
    found = []
    for name in servers:
        first = replace(latency, in_flight=cores) if name in OURS else latency
        layouts = [(each, callers) for each, callers in ((first, one), (throughput, many)) if callers]
        found += [Entry(name, each, callers, label) for each, callers in layouts]
    return found


def start_click(plan: Plan, folder: Path, image: bytes) -> Running:
    """A platform with the promptable model, whose first answer is a prompt with the image; then clicks on the image as
    it is stored, embedded by the first of them."""
    points = [[20 + 37 * turn % (WIDTH - 40), 40 + 53 * turn % (HEIGHT - 60)] for turn in range(64)]
    prompts = [[{"points": [point], "labels": [1]}] for point in points]
    first = form_field("/v1/promptable", {"prompts": json.dumps(prompts[0])})
    stored: list[str] = []

    def form(url: str, images: Sequence[bytes]) -> Target:
        if running is None:
            return first(url, images)
        if not stored:
            answer = ask_once(post(f"{url}/v1/images", image, {"Content-Type": "image/jpeg"}))
            stored.append(json.loads(answer.body)["image_id"])
        bodies = [json.dumps({"image_id": stored[0], "prompts": each}).encode() for each in prompts]
        return posts(f"{url}/v1/promptable", bodies, {"Content-Type": "application/json"})

    running: Running | None = None
    running = platform(configuration(promptable(plan.model, plan.threads, plan.in_flight)), plan, folder, form, image)
    return running
