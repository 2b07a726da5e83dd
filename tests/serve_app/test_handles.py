"""What a deployment raises, and what keeps it from answering, as the errors of ours that callers tell apart."""

from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from ray.exceptions import ActorUnavailableError, RayTaskError
from ray.serve.exceptions import DeploymentUnavailableError

from serve_app.errors import DeadlineExceeded, ModelFailed, ModelUnavailable, ReplicaDied
from serve_app.handles import DetectorHandle


class Raising:
    """A deployment handle whose calls end so."""

    def __init__(self, error: Exception) -> None:
        self._error = error
        self.ping = SimpleNamespace(remote=self._remote)

    async def _remote(self, *args: Any) -> None:
        raise self._error


def _too_large() -> grpc.aio.AioRpcError:
    empty = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, empty, empty, "message larger than max")


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        pytest.param(DeadlineExceeded("late", "by 2 s"), DeadlineExceeded, id="ours_over_grpc"),
        pytest.param(ValueError("secret"), ModelFailed, id="anything_else_over_grpc"),
        pytest.param(
            RayTaskError("f", "trace", DeadlineExceeded("late", "by 2 s")), DeadlineExceeded, id="ours_by_ray"
        ),
        pytest.param(RayTaskError("f", "trace", ValueError("secret")), ModelFailed, id="anything_else_by_ray"),
        pytest.param(_too_large(), ModelUnavailable, id="the_connection_itself"),
        pytest.param(DeploymentUnavailableError("detector"), ModelUnavailable, id="no_deployment"),  # type: ignore[arg-type]
        pytest.param(ActorUnavailableError("gone", None), ReplicaDied, id="the_replica_died"),
    ],
)
async def test_every_way_a_call_ends_badly_is_an_error_of_ours(raised: Exception, kind: type[Exception]) -> None:
    error = raised.as_instanceof_cause() if isinstance(raised, RayTaskError) else raised
    with pytest.raises(kind) as caught:
        await DetectorHandle(Raising(error)).ping()  # type: ignore[arg-type]
    assert type(caught.value) is kind  # no class that Ray made up
    assert "secret" not in caught.value.message  # type: ignore[attr-defined]
