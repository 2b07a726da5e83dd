"""One service for all trials."""

from collections.abc import Iterator

import pytest

from tests.chaos.service import Service, painted_service


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    with painted_service() as started:
        yield started
