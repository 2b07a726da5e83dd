"""What a deployment raises, and what keeps it from answering, as the errors of ours that callers tell apart."""

import asyncio
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from ray.exceptions import ActorUnavailableError, RayTaskError
from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from serve_app.errors import DeadlineExceeded, ModelFailed, ModelUnavailable, ReplicaDied
from serve_app.handles import DetectorHandle, RouterHandle
from serve_app.one_call import WholeAnswer, WholeRequest


class Raising:
    """A deployment handle whose calls end so."""

    def __init__(self, error: BaseException) -> None:
        self._error = error
        self.ping = SimpleNamespace(remote=self._remote)

    def options(self, **options: str) -> "Raising":
        return self

    async def _remote(self, *args: Any) -> None:
        raise self._error


class Waiting:
    """A deployment handle whose calls end when they are cancelled."""

    def __init__(self) -> None:
        self.is_asked = asyncio.Event()
        self.num_cancelled = 0
        self.ping = SimpleNamespace(remote=lambda *args: self)

    def options(self, **options: str) -> "Waiting":
        return self

    def __await__(self) -> Any:
        self.is_asked.set()
        return asyncio.Event().wait().__await__()

    def cancel(self) -> None:
        self.num_cancelled += 1


def _rpc_error(status: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(status, grpc.aio.Metadata(), grpc.aio.Metadata(), "secret")


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        pytest.param(DeadlineExceeded("late", "by 2 s"), DeadlineExceeded, id="ours_over_grpc"),
        pytest.param(ValueError("secret"), ModelFailed, id="anything_else_over_grpc"),
        pytest.param(
            RayTaskError("f", "trace", DeadlineExceeded("late", "by 2 s")), DeadlineExceeded, id="ours_by_ray"
        ),
        pytest.param(RayTaskError("f", "trace", ValueError("secret")), ModelFailed, id="anything_else_by_ray"),
        pytest.param(_rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED), ModelUnavailable, id="a_message_too_large"),
        pytest.param(_rpc_error(grpc.StatusCode.UNAVAILABLE), ReplicaDied, id="the_connection_was_lost"),
        pytest.param(_rpc_error(grpc.StatusCode.CANCELLED), ReplicaDied, id="the_replica_stopped_the_call"),
        pytest.param(asyncio.CancelledError(), ReplicaDied, id="the_replica_was_stopped_in_it"),
        pytest.param(DeploymentUnavailableError("detector"), ModelUnavailable, id="no_deployment"),  # type: ignore[arg-type]
        pytest.param(ActorUnavailableError("gone", None), ReplicaDied, id="the_replica_died"),
    ],
)
async def test_every_way_a_call_ends_badly_is_an_error_of_ours(raised: BaseException, kind: type[Exception]) -> None:
    error = raised.as_instanceof_cause() if isinstance(raised, RayTaskError) else raised
    with pytest.raises(kind) as caught:
        await DetectorHandle(Raising(error)).ping()  # type: ignore[arg-type]
    assert type(caught.value) is kind  # no class that Ray made up
    assert "secret" not in caught.value.message  # type: ignore[attr-defined]


async def test_a_caller_who_gives_up_cancels_the_call() -> None:
    handle = Waiting()
    caller = asyncio.create_task(DetectorHandle(handle).ping())  # type: ignore[arg-type]
    await handle.is_asked.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert handle.num_cancelled == 1


async def test_a_router_is_called_only_once_the_proxy_has_set_up_its_handle() -> None:
    request = WholeRequest("mine", {"method": "POST", "path": "/v1/tag"}, b"photo")

    async def answer(request: WholeRequest) -> WholeAnswer:
        return WholeAnswer(200, [], request.body)

    proxys = SimpleNamespace(is_initialized=False, answer=SimpleNamespace(remote=answer), options=lambda **_: proxys)
    router = RouterHandle(lambda: proxys)  # type: ignore[arg-type, return-value]
    with pytest.raises(ModelUnavailable):
        await router(request)
    proxys.is_initialized = True
    assert (await router(request)).body == b"photo"


def test_who_sets_up_a_handle_decides_whether_the_proxy_sends_http_by_it() -> None:
    """Why nobody but the proxy may; if this fails, Serve has mended it."""
    from ray.serve._private.common import DeploymentHandleSource, RequestMetadata
    from ray.serve.context import _RequestContext, _serve_request_context

    sent: list[RequestMetadata] = []
    make_router = SimpleNamespace(assign_request=lambda metadata, *args, **kwargs: sent.append(metadata))
    for options in ({"_source": DeploymentHandleSource.PROXY}, {}):
        handle = DeploymentHandle[Any]("router", "tagger", _create_router=lambda **kwargs: make_router)
        handle._init(**options)
        token = _serve_request_context.set(_RequestContext(is_http_request=True))  # type: ignore[arg-type]
        handle.options(stream=True).remote(b"")
        _serve_request_context.reset(token)
    assert [metadata.is_http_request for metadata in sent] == [True, False]
