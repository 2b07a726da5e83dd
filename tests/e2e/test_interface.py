"""Thousands of generated requests against the running service; minutes, so by hand: pytest -m slow tests/e2e."""

import pytest
from schemathesis import GenerationMode

from tests.e2e.conftest import Cluster
from tests.serve_app.test_openapi_holds import OPERATIONS, check_operation

pytestmark = pytest.mark.slow

NUM_EXAMPLES = 2400  # in all; shared by the operations that take something
_NUM_TAKING = sum(param.values[2] is GenerationMode.NEGATIVE for param in OPERATIONS)


@pytest.mark.parametrize(("path", "method", "mode"), OPERATIONS)
def test_answers_are_as_documented(cluster: Cluster, path: str, method: str, mode: GenerationMode) -> None:
    num_sent = check_operation(cluster.service.url, path, method, mode, NUM_EXAMPLES // (2 * _NUM_TAKING))
    print(f"{num_sent} {mode.name.lower()} requests to {method} {path}")  # seen with -s
