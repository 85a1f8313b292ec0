"""Headers by which what stands at the HTTP port tells the gateways behind it something."""

from __future__ import annotations

UNIQUE_ID = "X-Unique-ID"
"""Of one request, over all the tries that its proxy makes of it, and of no other. The proxy sets it anew, whatever the
caller sent."""
