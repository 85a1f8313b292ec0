"""Two processes never compile the same graph into one cache folder at once: OpenVINO's cache does not survive that."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path

from shared.models.engines.openvino import OpenVinoOptions, from_ir

STREET = Path(__file__).parents[3] / "shared" / "models" / "bundled" / "street.xml"
SHAPE = {"image": (1, 64, 64, 3)}


def test_a_compilation_waits_for_one_of_the_same_shapes_elsewhere(tmp_path: Path) -> None:
    options = OpenVinoOptions(threads=1, cache_dir=tmp_path)
    from_ir(STREET, options).warm([SHAPE])
    (lock,) = tmp_path.glob("*.lock")
    again = threading.Thread(target=lambda: from_ir(STREET, options).warm([SHAPE]))
    other = threading.Thread(target=lambda: from_ir(STREET, options).warm([{"image": (1, 32, 64, 3)}]))
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        again.start()
        other.start()
        other.join(300)
        assert not other.is_alive()
        assert again.is_alive()
    again.join(300)
    assert not again.is_alive()
