"""The client's jobs against a real gateway on a real socket."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from shared.client import Client, Instances, Prompted, Semantic
from shared.errors import (
    DeadlineExceeded,
    IdempotencyMismatch,
    InternalError,
    InvalidOption,
    JobCancelled,
    JobNotDone,
    JobNotFound,
    Malformed,
    ModelNotFound,
)
from shared.settings import Settings
from shared.types import Prompt
from tests.bad_input import picture
from tests.unit.client.test_client import Served
from tests.unit.services.test_dense_pipelines import scene


@pytest.fixture
def client() -> Iterator[Client]:
    with Served(Settings()) as url, Client(url) as found:
        yield found


@pytest.fixture
def idle() -> Iterator[Client]:
    """Of a server that works on no job."""
    with Served(Settings(jobs_at_once=0)) as url, Client(url) as found:
        yield found


def test_a_result_is_what_the_task_itself_gives(client: Client) -> None:
    job = client.jobs.submit("semantic", scene(), classes=["car"])
    assert (job.task, job.finished, job.error) == ("semantic", False, None)
    done = client.jobs.wait(job)
    assert (done.id, done.state, done.finished) == (job.id, "done", True)
    assert done.started_at is not None
    result = client.jobs.result(done)
    assert isinstance(result, Semantic)
    np.testing.assert_array_equal(result.label_map(), client.semantic(scene(), classes=["car"]).label_map())
    assert isinstance(client.jobs.result(job.id), Semantic), "by its id"


def test_prompts_and_stored_pictures_are_taken(client: Client) -> None:
    prompt = Prompt(points=np.array([[1.0, 1.0]]), labels=np.array([1]))
    click = client.jobs.submit("promptable", scene(), prompts=[prompt, {"points": [[2, 2]]}])
    objects = client.jobs.submit("instance", client.upload(scene()), max_instances=1)
    found = client.jobs.result(client.jobs.wait(click))
    assert isinstance(found, Prompted)
    assert len(found.results) == 2
    instances = client.jobs.result(client.jobs.wait(objects))
    assert isinstance(instances, Instances)
    assert len(instances.instances) == 1


def test_other_formats_come_as_they_are(client: Client) -> None:
    job = client.jobs.wait(client.jobs.submit("semantic", scene(), format="overlay"))
    assert client.jobs.content(job).startswith(b"\x89PNG")


def test_a_key_makes_one_job(client: Client) -> None:
    first = client.jobs.submit("semantic", scene(), key="k")
    assert client.jobs.submit("semantic", scene(), key="k").id == first.id
    with pytest.raises(IdempotencyMismatch):
        client.jobs.submit("panoptic", scene(), key="k")


class Lost(httpx.HTTPTransport):
    """The way to a server whose first answer is lost: something before it tells the caller to come again."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        self.answers += 1
        if self.answers > 1:
            return answer
        answer.close()
        return httpx.Response(503, headers={"Retry-After": "0"})


def test_a_second_try_of_one_call_makes_no_second_job() -> None:
    way = Lost()
    with Served(Settings(jobs_at_once=0)) as url, Client(url, transport=way) as client:
        first = client.jobs.submit("semantic", scene())
        assert way.answers == 2
        assert [job.id for job in client.jobs.list()] == [first.id]
        assert client.jobs.submit("semantic", scene()).id != first.id, "another call is another job"


def test_what_is_wrong_is_raised_at_once_or_with_the_result(client: Client) -> None:
    with pytest.raises(InvalidOption, match="simplify"):
        client.jobs.submit("semantic", scene(), simplify=-1)
    with pytest.raises(ModelNotFound):
        client.jobs.submit("semantic", scene(), model="m")
    job = client.jobs.wait(client.jobs.submit("semantic", picture(7)[:-60]))
    assert job.state == "failed"
    assert isinstance(job.error, Malformed)
    with pytest.raises(Malformed):
        client.jobs.result(job)


def test_waiting_ends_with_its_time_and_cancelling_ends_the_job(idle: Client) -> None:
    job = idle.jobs.submit("semantic", scene())
    with pytest.raises(DeadlineExceeded, match="queued"):
        idle.jobs.wait(job, within_s=0.1)
    with pytest.raises(JobNotDone):
        idle.jobs.result(job)
    idle.jobs.cancel(job)
    assert idle.jobs.wait(job).state == "cancelled"
    with pytest.raises(JobCancelled):
        idle.jobs.content(job)
    idle.jobs.cancel(job)
    with pytest.raises(JobNotFound):
        idle.jobs.status(job)


def test_the_list_is_whole_over_its_pages(idle: Client) -> None:
    jobs = [idle.jobs.submit("semantic", scene()) for _ in range(23)]
    idle.jobs.cancel(jobs[0])
    assert {job.id for job in idle.jobs.list()} == {job.id for job in jobs}
    assert [job.id for job in idle.jobs.list("cancelled")] == [jobs[0].id]


@pytest.mark.parametrize("answer", [{}, {"id": 1}, [], {"jobs": [{}]}])
def test_an_answer_that_is_none_of_ours_is_told(answer: object) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
    with Client("http://elsewhere", transport=transport) as client:
        with pytest.raises(InternalError, match="no SegServe server"):
            client.jobs.status("job_1")
        with pytest.raises(InternalError, match="no SegServe server"):
            list(client.jobs.list())
