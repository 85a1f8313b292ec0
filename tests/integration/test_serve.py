"""The platform on a real Ray with trivial models: found, updated, added, removed, killed and loaded over HTTP."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from shared.serving.line import SOCKET
from tests.e2e.scrape import OFTEN_S, at_rest, total
from tests.integration.trivial.observed import (
    BRIGHT,
    ONE_DECODER_EACH,
    metric,
    new_side,
    passes,
    pids,
    tiers_of_clicks,
)
from tests.integration.trivial.platform import (
    PNG,
    Load,
    application,
    ask_mean,
    at_once,
    deploy,
    eventually,
    grey,
    held,
    model_names,
    renamed,
    replicas,
    under_way,
)
from tests.platform import Platform

EVENTS = {"Accept": "text/event-stream"}

pytestmark = pytest.mark.integration


@pytest.fixture
def restored(platform: Platform) -> Iterator[Platform]:
    """The platform, back to its own YAML afterwards."""
    yield platform
    assert deploy(platform).returncode == 0


@pytest.fixture
def steady(platform: Platform) -> Platform:
    """The platform once its gateway knows both decoders: it hears of a new one after that one runs."""
    assert eventually(lambda: tiers_of_clicks(platform) == ONE_DECODER_EACH)
    return platform


def test_an_image_is_answered_by_the_model(platform: Platform) -> None:
    for level, label_id in ((200, 1), (20, 0)):
        answer = httpx.post(platform.url + "/v1/semantic", content=grey(level), headers=PNG, timeout=120)
        assert answer.status_code == 200, answer.text
        assert [segment["label_id"] for segment in answer.json()["segments"]] == [label_id]
        assert answer.headers.get_list("x-request-id") == [answer.json()["request_id"]]


def test_a_callers_request_id_is_kept_if_well_formed_and_steers_nothing_else(platform: Platform) -> None:
    def ask(headers: dict[str, str]) -> httpx.Response:
        return httpx.get(platform.url + "/v1/models", headers=headers, timeout=120)

    assert ask({"X-Request-ID": "my.id-1"}).headers.get_list("x-request-id") == ["my.id-1"]
    assert re.fullmatch("[0-9a-f]{32}", ask({"X-Request-ID": "not well formed"}).headers["x-request-id"])
    assert ask({"X-Request-Timeout-Seconds": "0.000001"}).status_code == 200


def test_an_update_under_load_fails_no_request(restored: Platform) -> None:
    before = pids(restored)

    def change(config: dict[str, Any]) -> None:
        application(config, "bright")["args"]["codec_threads"] = 3
        application(config, "gateway")["deployments"][0]["ray_actor_options"]["num_cpus"] = 0.11

    gateway = pids(restored, "gateway", "Gateway")
    with Load(restored) as load:
        assert load.goes_on()
        done = deploy(restored, change)
        assert load.goes_on()
    assert done.returncode == 0, done.stdout + done.stderr
    assert load.failures() == {}
    assert eventually(lambda: not pids(restored) & before and len(pids(restored)) == 1)
    assert eventually(lambda: not pids(restored, "gateway", "Gateway") & gateway)


def test_an_update_to_another_encoder_fails_no_click(restored: Platform) -> None:
    def both() -> set[int]:
        return pids(restored, "mean", "Encoder") | pids(restored, "mean", "Decoder")

    before = both()

    def change(config: dict[str, Any]) -> None:
        application(config, "mean")["args"]["precision"] = "bf16"

    with Load(restored, ask_mean) as load:
        assert load.goes_on()
        done = deploy(restored, change)
        assert load.goes_on()
    assert done.returncode == 0, done.stdout + done.stderr
    assert load.failures() == {}
    assert eventually(lambda: not before & both())
    served = httpx.get(restored.url + "/v1/models/mean", timeout=120).json()
    assert served["encoder_fingerprint"] == "mean-bf16"


def test_a_model_added_and_one_removed_under_load(restored: Platform) -> None:
    others = pids(restored), pids(restored, "gateway", "Gateway")

    def change(config: dict[str, Any]) -> None:
        config["applications"].append(renamed(config, "bright", "other"))
        config["applications"].remove(application(config, "mean"))

    with Load(restored) as load:
        assert load.goes_on()
        done = deploy(restored, change)
        assert eventually(lambda: model_names(restored) == {"bright", "other"})
        assert load.goes_on()
    assert done.returncode == 0, done.stdout + done.stderr
    assert load.failures() == {}
    assert (pids(restored), pids(restored, "gateway", "Gateway")) == others, "unchanged applications were restarted"
    added = httpx.post(restored.url + "/v1/semantic?model=other", content=grey(200), headers=PNG, timeout=120)
    assert added.json()["model"] == "other"
    removed = httpx.post(
        restored.url + "/v1/promptable",
        files={"image": grey(200)},
        data={"model": "mean", "prompts": '[{"points": [[1, 1]], "labels": [1]}]'},
        timeout=60,
    )
    assert (removed.status_code, removed.json()["code"]) == (404, "model_not_found")


def test_a_killed_replica_costs_no_request(platform: Platform) -> None:
    (victim,) = replicas(platform, "bright", "Semantic")
    with Load(platform) as load:
        assert load.goes_on()
        victim.kill()
        assert eventually(lambda: bool(pids(platform) - {victim.pid}))
        assert load.goes_on()
    assert load.failures() == {}


def test_a_killed_gateway_costs_no_request(platform: Platform) -> None:
    (victim,) = replicas(platform, "gateway", "Gateway")
    with Load(platform) as load:
        assert load.goes_on()
        victim.kill()
        assert eventually(lambda: bool(pids(platform, "gateway", "Gateway") - {victim.pid}))
        assert load.goes_on()
    assert load.failures() == {}


def test_a_broken_version_does_not_take_the_place_of_the_working_one(restored: Platform) -> None:
    def change(config: dict[str, Any]) -> None:
        application(config, "bright")["args"]["model"] = "broken"

    with Load(restored) as load:
        assert load.goes_on()
        done = deploy(restored, change)
        assert load.goes_on()
    assert done.returncode == 1
    assert "broken on purpose" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert load.failures() == {}
    assert httpx.get(restored.url + "/readyz", timeout=120).status_code == 200


def test_what_is_wrong_in_a_yaml_is_named_and_nothing_is_touched(platform: Platform) -> None:
    before = pids(platform)

    def misspell(config: dict[str, Any]) -> None:
        application(config, "bright")["args"]["modle"] = "bright"

    done = deploy(platform, misspell)
    assert done.returncode == 1
    assert "modle" in done.stderr
    assert pids(platform) == before

    def overdo(config: dict[str, Any]) -> None:
        application(config, "bright")["deployments"][0]["user_config"]["max_batch"] = 99

    assert "user_config.max_batch: 99" in deploy(platform, overdo).stderr
    assert httpx.post(platform.url + "/v1/semantic", content=grey(9), headers=PNG, timeout=120).status_code == 200


def test_a_yaml_without_a_change_touches_nothing_and_builds_nothing(platform: Platform) -> None:
    before = pids(platform)
    done = deploy(platform)
    assert done.returncode == 0, done.stderr
    assert pids(platform) == before
    # What Serve builds from a YAML by itself has a log of its own: seconds to minutes for each application.
    assert list(platform.home.rglob("controller_build_*")) == []


def test_requests_at_once_share_batches(platform: Platform) -> None:
    count, items = passes(platform)
    with held(platform) as let_go, under_way(platform, 64) as asked:
        assert eventually(lambda: metric(platform, "segserve_queue_depth", **BRIGHT) >= 64 - 8)
        let_go()
    answers = [each.result() for each in asked]
    assert [answer.status_code for answer in answers] == [200] * 64
    assert len({answer.text.replace(answer.json()["request_id"], "") for answer in answers}) == 1
    more_count, more_items = passes(platform)
    assert more_items - items == 64
    assert more_count - count <= 1 + 64 / 8, "one began with whatever came first, all others were full"


def test_user_config_changes_a_running_replica(restored: Platform) -> None:
    before = pids(restored)

    def change(config: dict[str, Any]) -> None:
        application(config, "bright")["deployments"][0]["user_config"] = {"max_queue": 1, "max_batch": 1}

    assert deploy(restored, change).returncode == 0
    assert pids(restored) == before
    with held(restored) as let_go, under_way(restored, 24) as asked:
        assert eventually(lambda: sum(each.done() for each in asked) >= 22), "one in its pass and one waiting"
        let_go()
    refused = [each.result() for each in asked if each.result().status_code != 200]
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(503, "overloaded")}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert len(refused) < 24


def test_a_failing_forward_pass_is_our_error_without_its_cause(platform: Platform) -> None:
    answer = httpx.post(platform.url + "/v1/semantic", content=grey(13), headers=PNG, timeout=120)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "grey level" not in answer.text
    assert httpx.post(platform.url + "/v1/semantic", content=grey(14), headers=PNG, timeout=120).status_code == 200


def test_an_image_that_kills_its_replica_is_refused_after_one_more_try(platform: Platform) -> None:
    answer = httpx.post(platform.url + "/v1/semantic", content=grey(66), headers=PNG, timeout=120)
    assert (answer.status_code, answer.json()["code"]) == (503, "model_unavailable")
    again = httpx.post(platform.url + "/v1/semantic", content=grey(67), headers=PNG, timeout=120)
    assert again.status_code == 200


def test_an_images_prompts_go_to_the_decoder_that_has_its_embedding(steady: Platform) -> None:
    assert len(pids(steady, "mean", "Decoder")) == 2
    assert tiers_of_clicks(steady) == ONE_DECODER_EACH


def test_an_encoder_embeds_an_image_once_however_many_click_on_it_at_once(steady: Platform) -> None:
    def runs() -> float:
        with httpx.Client(base_url=steady.url, timeout=120) as client:
            return total(at_rest(client, OFTEN_S), "segserve_encoder_runs_total", model="mean")

    side, before = new_side(), runs()
    levels = list(range(20, 220, 20))
    images = [grey(level, side) for level in levels]

    def click(turn: int) -> tuple[int, float]:
        files, data = {"image": images[turn % 10]}, {"prompts": '[{"points": [[1, 1]], "labels": [1]}]'}
        answer = client.post("/v1/promptable", files=files, data=data)
        assert answer.status_code == 200, answer.text
        return turn % 10, answer.json()["results"][0]["masks"][0]["predicted_iou"]

    with httpx.Client(base_url=steady.url, timeout=120) as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(click, random.Random(0).sample(range(200), 200)))
    assert all(value == pytest.approx(levels[image] / 255, abs=1e-3) for image, value in answers)
    assert eventually(lambda: runs() - before >= 10), "a busy machine's encoder is late to say so"
    assert runs() - before <= 20, "at most once in each of two decoders' memories"


def test_clicks_on_a_known_image_go_straight_to_its_decoder(steady: Platform) -> None:
    answer = httpx.post(steady.url + "/v1/images", files={"image": grey(120, new_side())}, data={"embed": "mean"})
    image_id = answer.raise_for_status().json()["image_id"]
    click = {"image_id": image_id, "prompts": [{"points": [[1, 1]], "labels": [1]}]}
    answers = [httpx.post(steady.url + "/v1/promptable", json=click, timeout=60).json() for _ in range(4)]
    assert [each["embedding"] for each in answers] == ["memory"] * 4
    assert all(each["results"] == answers[0]["results"] for each in answers)
    ends = [
        each.laddr
        for decoder in replicas(steady, "mean", "Decoder")
        for each in decoder.net_connections("unix")
        if str(each.laddr).endswith(SOCKET)
    ]
    assert len(ends) > len(set(ends)), "a line is open besides the socket that listens"
    wrong = {**click, "prompts": [{"points": [[9999, 1]], "labels": [1]}]}
    assert httpx.post(steady.url + "/v1/promptable", json=wrong, timeout=60).status_code == 422


def test_another_decoder_answers_for_the_images_of_one_that_was_killed(steady: Platform) -> None:
    def stored() -> float:
        return metric(steady, "segserve_store_call_seconds_count", operation="embedding_put")

    already = stored()
    side = new_side()
    files = [("image", (str(level), grey(level, side), "image/png")) for level in range(20, 200, 10)]
    answer = httpx.post(steady.url + "/v1/images", files=files, data={"embed": "mean"}, timeout=120)
    entries = answer.raise_for_status().json()["images"]

    def click(entry: dict[str, Any]) -> httpx.Response:
        prompts = [{"points": [[1, 1]], "labels": [1]}]
        body = {"image_id": entry["image_id"], "prompts": prompts}
        return httpx.post(steady.url + "/v1/promptable", json=body, timeout=120)

    assert eventually(lambda: stored() >= already + len(entries)), "what was embedded is in the store"
    assert {click(entry).json()["embedding"] for entry in entries} == {"memory"}
    before = pids(steady, "mean", "Decoder")
    replicas(steady, "mean", "Decoder")[0].kill()
    answers = [click(entry) for entry in entries]
    assert [answer.status_code for answer in answers] == [200] * len(entries)
    tiers = {answer.json()["embedding"] for answer in answers}
    assert tiers == {"memory", "redis"}, "what the other replica held, and what it took over; no encoder ran again"
    means = [answer.json()["results"][0]["masks"][0]["predicted_iou"] for answer in answers]
    assert means == pytest.approx([level / 255 for level in range(20, 200, 10)], abs=1e-3)
    assert eventually(lambda: len(pids(steady, "mean", "Decoder") - before) == 1)


def test_every_mask_comes_as_events_from_the_decoder_that_has_the_image(steady: Platform) -> None:
    url, image = steady.url + "/v1/promptable/everything", {"image": grey(170, 80)}
    options = {"points_per_side": "4", "points_per_batch": "8", "pred_iou_thresh": "0.5"}
    plain = httpx.post(url, files=image, data=options, timeout=120)
    assert plain.status_code == 200, plain.text
    assert [mask["area"] for mask in plain.json()["masks"]] == [80 * 80]
    events = []
    with httpx.stream("POST", url, files=image, data=options, headers=EVENTS, timeout=120) as answer:
        for line in answer.iter_lines():
            if line.startswith("event: "):
                events.append(line.removeprefix("event: "))
            if line.startswith("data: ") and events[-1] == "result":
                result = json.loads(line.removeprefix("data: "))
    assert events == ["mask", "progress", "progress", "progress", "result"]
    assert (result["masks"], result["embedding"]) == (plain.json()["masks"], "memory")


def test_a_caller_who_leaves_a_stream_ends_its_work_in_the_replica(platform: Platform) -> None:
    def clicks() -> float:
        with httpx.Client(base_url=platform.url, timeout=120) as client:
            return total(at_rest(client, OFTEN_S), "segserve_batch_items_total", model="mean", role="decoder")

    def gone() -> float:
        return metric(platform, "segserve_client_gone_total", route="/v1/promptable/everything")

    before, left = clicks(), gone()
    url, image = platform.url + "/v1/promptable/everything", {"image": grey(171, 80)}
    options = {"points_per_side": "180", "pred_iou_thresh": "0.5"}
    with ExitStack() as until_it_is_known:
        with httpx.stream("POST", url, files=image, data=options, headers=EVENTS, timeout=120) as answer:
            assert next(answer.iter_lines()).startswith("event: ")
            until_it_is_known.enter_context(held(platform))
        assert eventually(lambda: gone() > left)
    assert 0 < clicks() - before < 180**2 / 2


def test_a_caller_who_left_and_one_who_is_too_late_cost_no_forward_pass(platform: Platform) -> None:
    def gone() -> float:
        return metric(platform, "segserve_client_gone_total", route="/v1/semantic")

    count, _ = passes(platform)
    left = gone()
    with held(platform):
        with under_way(platform, 1, httpx.Timeout(120, read=5)) as first:
            pass
        with under_way(platform, 6, httpx.Timeout(120, read=5)) as leaving:
            pass
        assert {type(each.exception()) for each in (*first, *leaving)} == {httpx.ReadTimeout}
        assert eventually(lambda: gone() - left >= 7)
        late = at_once(platform, 6)
        assert {(answer.status_code, answer.json()["code"]) for answer in late} == {(504, "deadline_exceeded")}
    assert at_once(platform, 1)[0].status_code == 200
    assert passes(platform)[0] - count == 2, "the one that began with the first, and the one of the last"
