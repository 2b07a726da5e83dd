"""Deployment handles as the callables of the composition: Ray's errors become ours, cancelling reaches the replica."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.serve.api import get_deployment_handle
from ray.serve.context import _set_request_context
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle

from models.errors import TaggingError
from models.types import AttributeScores, Detection
from serve_app.deployments import APPLICATION, ROUTER
from serve_app.errors import JobsUnavailable, ModelFailed, ModelUnavailable, Overloaded, ReplicaDied
from serve_app.jobs.store import Job, JobSpec, PageForm
from serve_app.one_call import WholeAnswer, WholeRequest
from serve_app.tracing import current_trace

_log = logging.getLogger("ray.serve")
_ACCESS_LOG = {"log_to_stderr": False, "serve_access_log": True}
_JOBS_LIMIT_S = 25.0  # writing down a million photos to remote storage takes its time
_DEATHS = (RayActorError, WorkerCrashedError, NodeDiedError, ObjectLostError)
# Of calls over gRPC Ray itself makes its own error of UNAVAILABLE only; these too are the ways a connection ends.
_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)


class DetectorHandle:
    """Calls the detector deployment; `bundle` is the address of the one that has to answer."""

    def __init__(self, handle: DeploymentHandle[Any], bundle: str | None = None) -> None:
        self._handle = _pickling(handle)
        self._bundle = bundle

    async def __call__(self, canvas: NDArray[np.uint8], min_score: float, budget_s: float) -> Sequence[Detection]:
        """Detections in pixels of the canvas, (h, w, 3) uint8."""
        call = self._handle.detect
        found: Sequence[Detection] = await _call(call, canvas, min_score, budget_s, current_trace(), self._bundle)
        return found

    async def ping(self) -> None:
        """Return when a replica answers that has the bundle."""
        await _call(self._handle.ping, self._bundle)


class ClassifierHandle:
    """Calls the classifier deployment of one category; `bundle` is the address of the one that has to answer."""

    def __init__(self, handle: DeploymentHandle[Any], bundle: str | None = None) -> None:
        self._handle = _pickling(handle)
        self._bundle = bundle

    async def __call__(self, crops: NDArray[np.uint8], budget_s: float) -> Sequence[AttributeScores]:
        """Scores of each of (N, S, S, 3) uint8 crops."""
        call = self._handle.classify
        scores: Sequence[AttributeScores] = await _call(call, crops, budget_s, current_trace(), self._bundle)
        return scores


class RouterHandle:
    """Calls the router deployment from Serve's proxy.

    Args:
        find: gives the proxy's own handle, which Serve keeps; raises KeyError where there is no such deployment.
    """

    def __init__(
        self, find: Callable[[], DeploymentHandle[Any]] = lambda: get_deployment_handle(ROUTER, app_name=APPLICATION)
    ) -> None:
        self._find = find
        self._handle: DeploymentHandle[Any] | None = None

    async def __call__(self, request: WholeRequest) -> WholeAnswer:
        """The answer of a router."""
        if self._handle is None:
            self._handle = self._proxys_own()
        method, path = request.scope["method"], request.scope["path"]
        # Serve writes these into logs and metrics of all deployments that the request comes to.
        _set_request_context(path, request.request_id, app_name=APPLICATION)
        began_s = time.perf_counter()
        answer: WholeAnswer = await _call(self._handle.answer, request)
        # What the proxy writes of every request that it hands on itself.
        ms = 1000 * (time.perf_counter() - began_s)
        _log.info("%s %s %d %.1fms", method, path, answer.status, ms, extra=_ACCESS_LOG)
        return answer

    def _proxys_own(self) -> DeploymentHandle[Any]:
        try:
            handle = self._find()
        except (KeyError, RayServeException) as exc:
            raise ModelUnavailable("the service is starting; try again", repr(exc)) from exc
        # Its first user sets it up for good. Set up by us, before the proxy knows its routes, it would not pass on as
        # HTTP what the proxy sends by it: everything but short photos would fail until the proxy ends.
        if not handle.is_initialized:
            raise ModelUnavailable("the service is starting; try again", "the proxy has no routes yet")
        return _pickling(handle)


class JobsHandle:
    """Calls the jobs deployment."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    async def submit(self, manifest: bytes, spec: JobSpec, key: str | None) -> Job:
        """Take a job of photos, one a line."""
        job: Job = await self._ask(self._handle.submit, manifest, spec, key)
        return job

    async def get(self, job_id: str) -> Job:
        """A job."""
        job: Job = await self._ask(self._handle.get, job_id)
        return job

    async def recent(self, limit: int, after: str | None) -> tuple[list[Job], bool]:
        """Jobs from the newest to the oldest, and whether more follow."""
        found: tuple[list[Job], bool] = await self._ask(self._handle.recent, limit, after)
        return found

    async def cancel(self, job_id: str) -> Job:
        """End a job."""
        job: Job = await self._ask(self._handle.cancel, job_id)
        return job

    async def page(self, job_id: str, page: int, form: PageForm) -> tuple[bytes, int | None]:
        """A page of the result, and which page comes next."""
        answer: tuple[bytes, int | None] = await self._ask(self._handle.page, job_id, page, form)
        return answer

    async def _ask(self, method: Any, *args: Any) -> Any:
        """Await a call; whatever keeps the deployment from answering is JobsUnavailable."""
        try:
            async with asyncio.timeout(_JOBS_LIMIT_S):
                return await _call(method, *args)
        except (ModelUnavailable, TimeoutError) as exc:
            raise JobsUnavailable("jobs cannot be reached now; try again", repr(exc)) from exc


def _pickling(handle: DeploymentHandle[Any]) -> DeploymentHandle[Any]:
    """The handle, with plain pickle: of arrays and our few classes it takes a quarter of cloudpickle's time."""
    return handle.options(request_serialization="pickle", response_serialization="pickle")


async def _call(method: Any, *args: Any) -> Any:
    """Await one call.

    Raises:
        TaggingError: what the deployment raised itself, as a plain object of its class.
        Overloaded: if too many calls wait already.
        ReplicaDied: if the replica died, stopped or was lost after it accepted the call.
        ModelUnavailable: if the deployment cannot take calls.
        ModelFailed: if the deployment raised anything else.
    """
    response = method.remote(*args)
    try:
        return await response
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is not None and not task.cancelling():  # nobody gave up here, so the replica did, as it was stopped
            raise ReplicaDied("a replica stopped", type(exc).__name__) from exc
        response.cancel()
        raise
    except RayTaskError as exc:
        if isinstance(exc, TaggingError):
            # past a handle str() is the remote traceback and the class a generated one, so only the parts are kept
            raise _plain(exc) from None
        raise ModelFailed("the model failed on this input", repr(exc.cause)) from None
    except BackPressureError as exc:
        raise Overloaded("too many requests wait; try again", repr(exc)) from exc
    except _DEATHS as exc:
        raise ReplicaDied("a replica died", type(exc).__name__) from exc
    except grpc.aio.AioRpcError as exc:
        kind = ReplicaDied if exc.code() in _LOST else ModelUnavailable
        raise kind("a deployment cannot be reached", f"{exc.code().name}: {exc.details()}") from exc
    except (RayServeException, RayError, grpc.RpcError) as exc:
        raise ModelUnavailable("a deployment cannot answer", type(exc).__name__) from exc
    except TaggingError:  # over gRPC what a deployment raises comes as it is, not as Ray's error
        raise
    except Exception as exc:
        raise ModelFailed("the model failed on this input", repr(exc)) from None


def _plain(exc: TaggingError) -> TaggingError:
    own = next(kind for kind in type(exc).__mro__ if not issubclass(kind, RayError))
    if issubclass(own, TaggingError):
        return own(exc.message, exc.detail)
    return ModelFailed("the model failed on this input", exc.detail)
