"""Two tenants click on ten images in a mixed order: does anyone see another's mask, and how often is one embedded?"""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

from load_tests.promptable.bare import Bare, drawn, item, wire
from shared.imaging.rle import encode
from tests.e2e.scrape import at_rest, total

IMAGES = 10
CLICK = (240.0, 250.0)


@dataclass(frozen=True, slots=True)
class Isolation:
    """`wrong`: masks that are not those of the image asked about. `leaked`: images of one tenant that the other saw.
    `encoder_runs`: in all, for `IMAGES` images of each tenant."""

    requests: int
    wrong: int
    leaked: int
    encoder_runs: int


def isolation(url: str, keys: list[str], bare: Bare, requests: int) -> Isolation:
    """Every request carries its image; both tenants have the same ten images, and each one that only it has."""
    photos = [drawn(1000 + seed) for seed in range(IMAGES)]
    expected = [
        encode(bare.decoder.predict([item(bare.embed(pixels), *CLICK)])[0].masks[0].region) for pixels, _ in photos
    ]
    prompts = json.dumps([wire(*CLICK)])
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
        before = encoder_runs(client, keys[0])
        turns = [(index % len(keys), index // len(keys) % IMAGES) for index in range(requests)]
        random.Random(0).shuffle(turns)

        def ask(turn: tuple[int, int]) -> bool:
            tenant, image = turn
            answer = client.post(
                "/v1/promptable",
                files={"image": photos[image][1]},
                data={"prompts": prompts},
                headers={"X-API-Key": keys[tenant]},
            )
            masks = answer.raise_for_status().json()["results"][0]["masks"]
            return bool(masks[0]["rle"] == expected[image])

        with ThreadPoolExecutor(8) as pool:
            right = sum(pool.map(ask, turns))
        runs = encoder_runs(client, keys[0]) - before
        return Isolation(requests, requests - right, _leaked(client, keys), runs)


def encoder_runs(client: httpx.Client, key: str) -> int:
    """How many images the encoders of the platform have embedded so far, once all is told."""
    client.headers["X-API-Key"] = key
    return int(total(at_rest(client), "segserve_encoder_runs_total"))


def _leaked(client: httpx.Client, keys: list[str]) -> int:
    """Each tenant uploads an image of its own; the others ask for it by its id."""
    seen = 0
    for number, key in enumerate(keys):
        own = client.post("/v1/images", files={"image": drawn(2000 + number)[1]}, headers={"X-API-Key": key})
        image_id = own.raise_for_status().json()["image_id"]
        for other in keys:
            asked = {"image_id": image_id, "prompts": [wire(*CLICK)]}
            status = client.post("/v1/promptable", json=asked, headers={"X-API-Key": other}).status_code
            seen += status != (200 if other == key else 404)
    return seen
