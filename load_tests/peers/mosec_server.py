"""mosec: `num` worker processes behind its Rust server; bytes in, bytes out, no batches."""

from __future__ import annotations

from mosec import Server, Worker

from load_tests.peers.plan import Plan
from load_tests.peers.prediction import prediction

plan = Plan.from_environment()


class Segment(Worker):
    """An image to a picture of labels."""

    resp_mime_type = "image/png"

    def __init__(self) -> None:
        super().__init__()
        self.run = prediction(plan)

    def deserialize(self, data: bytes) -> bytes:
        """The body is the image."""
        return data

    def forward(self, data: bytes) -> bytes:
        """Of one request."""
        return self.run(data)

    def serialize(self, data: bytes) -> bytes:
        """The answer is the picture."""
        return data


if __name__ == "__main__":
    server = Server()
    server.append_worker(Segment, num=plan.workers, timeout=120)
    server.run()
