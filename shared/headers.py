"""What the proxy at the HTTP port and the gateways behind it agree on."""

from __future__ import annotations

UNIQUE_ID = "X-Unique-ID"
"""Of one request, over all the tries that its proxy makes of it, and of no other. The proxy sets it anew, whatever the
caller sent."""

NODE_PROBE = "/-/healthz"
"""Serve's own page that says whether requests are taken at this node: for probes of the node itself, where those are
allowed, and for nobody else."""
