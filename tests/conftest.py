"""What holds for every suite: Hypothesis draws the same examples in each run, and takes its time on any machine.

A change is judged by its own merits then. `pytest --hypothesis-profile=default` draws new examples.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("segserve", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("segserve")
