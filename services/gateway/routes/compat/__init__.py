"""Doors for clients of other servers: each a thin translation of the native calls, in the words of its protocol."""
