"""The HTTP API of a process and its dashboard."""
