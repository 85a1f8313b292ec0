"""The cluster's nodes in, the addresses of their metrics pages out."""

from __future__ import annotations

import asyncio

import ray


async def metrics_endpoints() -> list[str]:
    """URL of the metrics page of every living node's agent, sorted. Needs a process that is connected to Ray."""
    nodes = await asyncio.to_thread(ray.nodes)
    return sorted(
        f"http://{_bracketed(node['NodeManagerAddress'])}:{node['MetricsExportPort']}/metrics"
        for node in nodes
        if node["Alive"] and node.get("MetricsExportPort", 0) > 0
    )


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
