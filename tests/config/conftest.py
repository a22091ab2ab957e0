"""The configuration that most tests compare others with."""

import pytest

from arc.api import compose
from arc.config.schema import RunConfig


@pytest.fixture(scope="session")
def default() -> RunConfig:
    """The configuration of conf/ without overrides."""
    return compose()
