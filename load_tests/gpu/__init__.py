"""The bench of a GPU: each network by itself in one process, then the same network behind the platform."""
