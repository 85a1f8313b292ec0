"""No server at all: the prediction function in a loop, the limit of what a server around it can reach.

Lines of JSON: {"seconds", "images": [paths]} in, the milliseconds of each pass out, with the first answer as hex.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from load_tests.peers.plan import Plan
from load_tests.peers.prediction import prediction


def main() -> None:
    """Load, then measure as often as asked; one pass at least."""
    predict = prediction(Plan.from_environment())
    for line in sys.stdin:
        asked = json.loads(line)
        images = [Path(path).read_bytes() for path in asked["images"]]
        passes: list[float] = []
        begun = started = time.perf_counter()
        until, first = begun + asked["seconds"], b""
        while begun < until or not passes:
            answer = predict(images[len(passes) % len(images)])
            first = first or answer
            ended = time.perf_counter()
            passes.append((ended - begun) * 1000)
            begun = ended
        print(json.dumps({"passes_ms": passes, "seconds": begun - started, "first": first.hex()}), flush=True)


if __name__ == "__main__":
    main()
