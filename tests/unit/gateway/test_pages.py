"""Models, labels, health, metrics and the documentation, as a caller reads them."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from shared.labels import label_space, label_spaces
from shared.schemas import resources
from shared.schemas.resources import LabelSpaceAnswer, LabelSpacesAnswer, ModelEntry, ModelsAnswer
from tests.unit.gateway.running import Running, running
from tests.unit.gateway.tiny import Brightness, Wand, info


async def test_models_are_listed_once_with_the_tasks_of_all_their_applications() -> None:
    street = [Brightness(info("street", "semantic")), Brightness(info("street", "panoptic", default=False))]
    async with running(street[0], Wand(info("street", "promptable")), ([street[1]], [])) as gateway:
        answer = ModelsAnswer.model_validate_json((await gateway.client.get("/v1/models")).content)
    assert [model.name for model in answer.models] == ["street"]
    assert answer.models[0].tasks == ["semantic", "panoptic", "promptable"]
    assert answer.models[0].default_for == ["semantic", "promptable"]


async def test_one_model_by_name_and_version() -> None:
    versions = [Brightness(info("b", "semantic", version=version)) for version in ("9", "10")]
    async with running(versions[0], more=([versions[1]], [])) as gateway:
        for name, version in (("b", "10"), ("b@9", "9")):
            answer = ModelEntry.model_validate_json((await gateway.client.get(f"/v1/models/{name}")).content)
            assert answer.version == version


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/wand", "/v1/labels", "/v1/labels/camvid"])
async def test_what_has_not_changed_is_not_sent_again(path: str, gateway: Running) -> None:
    first = await gateway.client.get(path)
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await gateway.client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await gateway.client.get(path, headers={"If-None-Match": '"other"'})).status_code == 200


async def test_label_spaces_are_complete(gateway: Running) -> None:
    listed = LabelSpacesAnswer.model_validate_json((await gateway.client.get("/v1/labels")).content)
    assert [space.name for space in listed.label_spaces] == list(label_spaces())
    for entry in listed.label_spaces:
        page = await gateway.client.get(f"/v1/labels/{entry.name}")
        answer = LabelSpaceAnswer.model_validate_json(page.content)
        assert len(answer.labels) == entry.count
        assert tuple(label.name for label in answer.labels) == label_space(entry.name).names
        assert [label.label_id for label in answer.labels] == list(range(entry.count))


async def test_health_and_readiness(gateway: Running) -> None:
    assert (await gateway.client.get("/healthz")).json() == {"status": "ok"}
    answer = resources.ReadinessAnswer.model_validate_json((await gateway.client.get("/readyz")).content)
    assert answer.ready
    assert answer.applications["wand"].replicas == 1


async def test_metrics_are_prometheus_text(gateway: Running) -> None:
    response = await gateway.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "ray_segserve_requests_total" in response.text


def references(node: Any) -> list[str]:
    """Every `$ref` below a node of a document."""
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [found for each in node.values() for found in references(each)]
    return [found for each in node for found in references(each)] if isinstance(node, list) else []


async def test_the_documentation_is_whole(gateway: Running) -> None:
    document = (await gateway.client.get("/openapi.json")).json()
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    found = set(references(document))
    assert "#/components/schemas/PromptFields" in found
    assert found <= known
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for status, answer in operation["responses"].items():
                for kind, content in answer.get("content", {}).items():
                    if kind == "application/json":
                        assert "example" in content or content.get("examples"), (path, method, status)


async def test_what_the_documentation_shows_fits_what_it_says(gateway: Running) -> None:
    document = (await gateway.client.get("/openapi.json")).json()
    checked = 0
    for item in document["paths"].values():
        for operation in item.values():
            for answer in operation["responses"].values():
                for content in answer.get("content", {}).values():
                    shown = [each["value"] for each in content.get("examples", {}).values()]
                    schema = {**content.get("schema", {}), "components": document["components"]}
                    for example in [*shown, *([content["example"]] if "example" in content else [])]:
                        jsonschema.validate(example, schema, jsonschema.Draft202012Validator)
                        checked += 1
    assert checked > 50


async def test_events_and_metrics_are_documented(gateway: Running) -> None:
    paths = (await gateway.client.get("/openapi.json")).json()["paths"]
    for path in ("/v1/images", "/v1/promptable/everything"):
        assert "text/event-stream" in paths[path]["post"]["responses"]["200"]["content"]
    assert set(paths["/metrics"]["get"]["responses"]["200"]["content"]) == {"text/plain"}
    assert "401" in paths["/metrics"]["get"]["responses"]


@pytest.mark.parametrize("task", ["semantic", "instance", "panoptic", "promptable"])
async def test_each_task_documents_every_way_to_send_an_image(task: str, gateway: Running) -> None:
    operation = (await gateway.client.get("/openapi.json")).json()["paths"][f"/v1/{task}"]["post"]
    kinds = set(operation["requestBody"]["content"])
    assert {"multipart/form-data", "application/json"} <= kinds
    assert ("image/*" in kinds) == (task != "promptable")
    parameters = {parameter["name"] for parameter in operation["parameters"]}
    assert {"model", "format", "image_id", "image_url"} <= parameters
    assert {"400", "404", "409", "413", "415", "422", "429", "503", "504"} <= set(operation["responses"])


async def test_an_upload_and_a_job_document_that_an_image_may_come_by_url(gateway: Running) -> None:
    paths = (await gateway.client.get("/openapi.json")).json()["paths"]
    for path, stored in (("/v1/images", False), ("/v1/jobs", True)):
        parameters = {parameter["name"] for parameter in paths[path]["post"]["parameters"]}
        assert ("image_url" in parameters, "image_id" in parameters) == (True, stored), path


@pytest.mark.parametrize("path", ["semantic", "instance", "panoptic", "promptable", "promptable/everything"])
async def test_each_task_documents_its_answer_in_every_text_format(path: str, gateway: Running) -> None:
    operation = (await gateway.client.get("/openapi.json")).json()["paths"][f"/v1/{path}"]["post"]
    content = operation["responses"]["200"]["content"]
    coco = "CocoPanoptic" if path == "panoptic" else "CocoResult"
    found = references(content["application/json"]["schema"])
    assert f"#/components/schemas/{coco}" in found
    assert len(found) == 2, "and the task's own answer"
    assert ("application/octet-stream" in content) == (path != "promptable/everything"), "npz"
    assert references(content["application/geo+json"]) == ["#/components/schemas/FeatureCollection"]


async def test_the_documentation_needs_nothing_from_elsewhere(gateway: Running) -> None:
    page = (await gateway.client.get("/docs")).text
    assert "https://" not in page
    assert (await gateway.client.get("/docs/static/swagger-ui-bundle.js")).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/healthz", "/readyz", "/metrics", "/v1/models", "/v1/models/wand", "/v1/labels", "/v1/labels/voc", "/docs"],
)
async def test_what_can_be_got_can_be_asked_about(path: str, gateway: Running) -> None:
    got, asked = await gateway.client.get(path), await gateway.client.head(path)
    assert (asked.status_code, asked.headers["content-type"]) == (200, got.headers["content-type"])
    assert asked.headers.get("etag") == got.headers.get("etag")
    assert (await gateway.client.head(path + "x")).status_code == 404
