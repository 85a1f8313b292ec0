"""The platform on a real Ray with trivial models: found, updated, added, removed, killed and loaded over HTTP."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.integration.trivial.platform import (
    PNG,
    Load,
    application,
    ask_mean,
    at_once,
    deploy,
    eventually,
    grey,
    model_names,
    renamed,
    replicas,
    trivial_platform,
)
from tests.platform import Platform

EVENTS = {"Accept": "text/event-stream"}

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    """One platform for all tests of this module; each leaves it as `serve.yaml` says."""
    with trivial_platform() as started:
        yield started


@pytest.fixture
def restored(platform: Platform) -> Iterator[Platform]:
    """The platform, back to its own YAML afterwards."""
    yield platform
    assert deploy(platform).returncode == 0


def pids(platform: Platform, name: str = "bright", deployment: str = "Semantic") -> set[int]:
    return {process.pid for process in replicas(platform, name, deployment)}


def metric(platform: Platform, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels, as the cluster's page shows them now."""
    page = httpx.get(platform.url + "/metrics", timeout=30).text
    total = 0.0
    for line in page.splitlines():
        if line.startswith(f"{name}{{") and all(f'{key}="{value}"' in line for key, value in labels.items()):
            total += float(line.rpartition(" ")[2])
    return total


def test_an_image_is_answered_by_the_model(platform: Platform) -> None:
    for level, label_id in ((200, 1), (20, 0)):
        answer = httpx.post(platform.url + "/v1/semantic", content=grey(level), headers=PNG, timeout=60)
        assert answer.status_code == 200, answer.text
        assert [segment["label_id"] for segment in answer.json()["segments"]] == [label_id]
        assert answer.headers.get_list("x-request-id") == [answer.json()["request_id"]]


def test_a_callers_request_id_is_kept_if_well_formed_and_steers_nothing_else(platform: Platform) -> None:
    def ask(headers: dict[str, str]) -> httpx.Response:
        return httpx.get(platform.url + "/v1/models", headers=headers)

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
        done = deploy(restored, change)
        time.sleep(2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert load.failures() == {}
    assert load.answers["200"] > 20
    assert eventually(lambda: not pids(restored) & before and len(pids(restored)) == 1)
    assert not pids(restored, "gateway", "Gateway") & gateway


def test_an_update_to_another_encoder_fails_no_click(restored: Platform) -> None:
    before = pids(restored, "mean", "Encoder") | pids(restored, "mean", "Decoder")

    def change(config: dict[str, Any]) -> None:
        application(config, "mean")["args"]["precision"] = "bf16"

    with Load(restored, ask_mean) as load:
        done = deploy(restored, change)
        time.sleep(2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert load.failures() == {}
    assert load.answers["200"] > 20
    after = pids(restored, "mean", "Encoder") | pids(restored, "mean", "Decoder")
    assert not before & after
    assert httpx.get(restored.url + "/v1/models/mean").json()["encoder_fingerprint"] == "mean-bf16"


def test_a_model_added_and_one_removed_under_load(restored: Platform) -> None:
    others = pids(restored), pids(restored, "gateway", "Gateway")

    def change(config: dict[str, Any]) -> None:
        config["applications"].append(renamed(config, "bright", "other"))
        config["applications"].remove(application(config, "mean"))

    with Load(restored) as load:
        done = deploy(restored, change)
        assert eventually(lambda: model_names(restored) == {"bright", "other"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert load.failures() == {}
    assert (pids(restored), pids(restored, "gateway", "Gateway")) == others, "unchanged applications were restarted"
    added = httpx.post(restored.url + "/v1/semantic?model=other", content=grey(200), headers=PNG, timeout=60)
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
        time.sleep(1)
        victim.kill()
        assert eventually(lambda: bool(pids(platform) - {victim.pid}), 60)
        time.sleep(2)
    assert load.failures() == {}
    assert load.answers["200"] > 20


def test_a_killed_gateway_costs_no_request(platform: Platform) -> None:
    (victim,) = replicas(platform, "gateway", "Gateway")
    with Load(platform) as load:
        time.sleep(1)
        victim.kill()
        assert eventually(lambda: bool(pids(platform, "gateway", "Gateway") - {victim.pid}), 60)
        time.sleep(3)
    assert load.failures() == {}
    assert load.answers["200"] > 20


def test_a_broken_version_does_not_take_the_place_of_the_working_one(restored: Platform) -> None:
    def change(config: dict[str, Any]) -> None:
        application(config, "bright")["args"]["model"] = "broken"

    with Load(restored) as load:
        done = deploy(restored, change)
    assert done.returncode == 1
    assert "broken on purpose" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert load.failures() == {}
    assert httpx.get(restored.url + "/readyz").status_code == 200


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
    assert httpx.post(platform.url + "/v1/semantic", content=grey(9), headers=PNG, timeout=60).status_code == 200


def test_requests_at_once_share_batches(platform: Platform) -> None:
    def passes() -> tuple[float, float]:
        labels = {"model": "bright", "role": "semantic"}
        return (
            metric(platform, "ray_segserve_batch_size_count", **labels),
            metric(platform, "ray_segserve_batch_size_sum", **labels),
        )

    time.sleep(12)  # what was counted before has reached the page
    count, items = passes()
    answers = at_once(platform, 64)
    assert [answer.status_code for answer in answers] == [200] * 64
    assert len({answer.text.replace(answer.json()["request_id"], "") for answer in answers}) == 1
    assert eventually(lambda: passes()[1] - items >= 64, 30)
    more_count, more_items = passes()
    assert more_items - items == pytest.approx(64)
    assert (more_items - items) / (more_count - count) > 2


def test_user_config_changes_a_running_replica(restored: Platform) -> None:
    before = pids(restored)

    def change(config: dict[str, Any]) -> None:
        application(config, "bright")["deployments"][0]["user_config"] = {"max_queue": 1, "max_batch": 1}

    assert deploy(restored, change).returncode == 0
    assert pids(restored) == before
    answers = at_once(restored, 24)
    refused = [answer for answer in answers if answer.status_code != 200]
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(503, "overloaded")}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)


def test_a_failing_forward_pass_is_our_error_without_its_cause(platform: Platform) -> None:
    answer = httpx.post(platform.url + "/v1/semantic", content=grey(13), headers=PNG, timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "grey level" not in answer.text
    assert httpx.post(platform.url + "/v1/semantic", content=grey(14), headers=PNG, timeout=60).status_code == 200


def test_an_image_that_kills_its_replica_is_refused_after_one_more_try(platform: Platform) -> None:
    answer = httpx.post(platform.url + "/v1/semantic", content=grey(66), headers=PNG, timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (503, "model_unavailable")
    again = httpx.post(platform.url + "/v1/semantic", content=grey(67), headers=PNG, timeout=60)
    assert again.status_code == 200


def test_an_images_prompts_go_to_the_decoder_that_has_its_embedding(platform: Platform) -> None:
    assert len(pids(platform, "mean", "Decoder")) == 2
    tiers = []
    for level in (30, 90, 150, 210):
        for _ in range(4):
            answer = httpx.post(
                platform.url + "/v1/promptable",
                files={"image": grey(level, 80)},
                data={"prompts": '[{"points": [[1, 1]], "labels": [1]}]'},
                timeout=60,
            )
            assert answer.status_code == 200, answer.text
            tiers.append(answer.json()["embedding"])
    assert tiers == ["computed", "memory", "memory", "memory"] * 4


def test_another_decoder_answers_for_the_images_of_one_that_was_killed(platform: Platform) -> None:
    files = [("image", (str(level), grey(level, 80), "image/png")) for level in range(20, 200, 10)]
    answer = httpx.post(platform.url + "/v1/images", files=files, data={"embed": "mean"}, timeout=60)
    entries = answer.raise_for_status().json()["images"]

    def click(entry: dict[str, Any]) -> httpx.Response:
        prompts = [{"points": [[1, 1]], "labels": [1]}]
        body = {"image_id": entry["image_id"], "prompts": prompts}
        return httpx.post(platform.url + "/v1/promptable", json=body, timeout=60)

    time.sleep(1)  # what was embedded is in the store
    assert {click(entry).json()["embedding"] for entry in entries} == {"memory"}
    before = pids(platform, "mean", "Decoder")
    replicas(platform, "mean", "Decoder")[0].kill()
    answers = [click(entry) for entry in entries]
    assert [answer.status_code for answer in answers] == [200] * len(entries)
    tiers = {answer.json()["embedding"] for answer in answers}
    assert tiers == {"memory", "redis"}, "what the other replica held, and what it took over; no encoder ran again"
    means = [answer.json()["results"][0]["masks"][0]["predicted_iou"] for answer in answers]
    assert means == pytest.approx([level / 255 for level in range(20, 200, 10)], abs=1e-3)
    assert eventually(lambda: len(pids(platform, "mean", "Decoder") - before) == 1, 60)


def test_every_mask_comes_as_events_from_the_decoder_that_has_the_image(platform: Platform) -> None:
    url, image = platform.url + "/v1/promptable/everything", {"image": grey(170, 80)}
    options = {"points_per_side": "4", "points_per_batch": "8", "pred_iou_thresh": "0.5"}
    plain = httpx.post(url, files=image, data=options, timeout=60)
    assert plain.status_code == 200, plain.text
    assert [mask["area"] for mask in plain.json()["masks"]] == [80 * 80]
    events = []
    with httpx.stream("POST", url, files=image, data=options, headers=EVENTS, timeout=60) as answer:
        for line in answer.iter_lines():
            if line.startswith("event: "):
                events.append(line.removeprefix("event: "))
            if line.startswith("data: ") and events[-1] == "result":
                result = json.loads(line.removeprefix("data: "))
    assert events == ["mask", "progress", "progress", "progress", "result"]
    assert (result["masks"], result["embedding"]) == (plain.json()["masks"], "memory")


def test_a_caller_who_leaves_a_stream_ends_its_work_in_the_replica(platform: Platform) -> None:
    def clicks() -> float:
        return metric(platform, "ray_segserve_batch_items_total", model="mean", role="decoder")

    before, options = clicks(), {"points_per_side": "180", "pred_iou_thresh": "0.5"}
    url, image = platform.url + "/v1/promptable/everything", {"image": grey(171, 80)}
    with httpx.stream("POST", url, files=image, data=options, headers=EVENTS, timeout=60) as answer:
        assert next(answer.iter_lines()).startswith("event: ")
    time.sleep(15)  # what the replica counted has reached the page
    counted = clicks()
    time.sleep(11)
    assert clicks() == counted
    assert 0 < counted - before < 180**2 / 2


def test_a_caller_who_left_and_one_who_is_too_late_cost_no_forward_pass(restored: Platform) -> None:
    def change(config: dict[str, Any]) -> None:
        config["applications"].append(renamed(config, "bright", "slow"))
        application(config, "slow")["deployments"][0]["user_config"] = {"max_batch": 1}

    assert deploy(restored, change).returncode == 0
    assert eventually(lambda: "slow" in model_names(restored))
    for _ in range(6):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(restored.url + "/v1/semantic?model=slow", content=grey(1), headers=PNG, timeout=0.3)
    begun = time.monotonic()
    answer = httpx.post(restored.url + "/v1/semantic?model=slow", content=grey(1), headers=PNG, timeout=60)
    assert answer.status_code == 200
    assert time.monotonic() - begun < 6, "it waited for the six who left"
    answers = at_once(restored, 30, "/v1/semantic?model=slow")
    late = [answer for answer in answers if answer.status_code != 200]
    assert {(answer.status_code, answer.json()["code"]) for answer in late} == {(504, "deadline_exceeded")}
    assert 1 <= len(late) < 30
