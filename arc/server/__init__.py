"""The control endpoint and its page, served beside a run."""

from arc.server.app import create_app
from arc.server.endpoint import endpoint

__all__ = ["create_app", "endpoint"]
