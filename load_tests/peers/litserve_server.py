"""LitServe: `workers_per_device` processes and the fast queue that it recommends for load; no batches on a CPU."""

import litserve
from fastapi import Request, Response

from load_tests.peers.plan import Plan
from load_tests.peers.prediction import prediction


class Segment(litserve.LitAPI):
    """An uploaded image to a picture of labels."""

    def setup(self, device: str) -> None:
        """In each worker."""
        self.run = prediction(Plan.from_environment())

    def decode_request(self, request: Request) -> bytes:
        """The file of the form."""
        image: bytes = request["image"].file.read()
        return image

    def predict(self, image: bytes) -> bytes:
        """Of one request."""
        return self.run(image)

    def encode_response(self, output: bytes) -> Response:
        """As a picture."""
        return Response(output, media_type="image/png")


if __name__ == "__main__":
    plan = Plan.from_environment()
    server = litserve.LitServer(
        Segment(), accelerator="cpu", devices=1, workers_per_device=plan.workers, timeout=120, fast_queue=True
    )
    server.run(host="127.0.0.1", port=plan.port, generate_client_file=False)
