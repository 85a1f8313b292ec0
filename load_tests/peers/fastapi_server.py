"""FastAPI on uvicorn, as its deployment page says: uvloop and httptools, one process a worker.

`uvicorn load_tests.peers.fastapi_server:app --workers N`. The forward pass runs in a thread, so that the loop goes on.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI, Request, Response

from load_tests.peers.plan import Plan
from load_tests.peers.prediction import prediction

predict = prediction(Plan.from_environment())
one_at_a_time = ThreadPoolExecutor(1)
app = FastAPI()


@app.post("/predict")
async def segment(request: Request) -> Response:
    """The body is the image, the answer the picture of labels."""
    image = await request.body()
    labels = await asyncio.get_running_loop().run_in_executor(one_at_a_time, predict, image)
    return Response(labels, media_type="image/png")
