"""The router deployment: the ingress, which holds no model and loads no torch."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray.serve.handle import DeploymentHandle
from starlette.applications import Starlette

from serve_app.answer import Answerer
from serve_app.api import make_asgi
from serve_app.bundle_facts import BundleFacts
from serve_app.compose import Composer
from serve_app.config import TaggerArgs
from serve_app.download import Downloader
from serve_app.guard import Guard
from serve_app.handles import ClassifierHandle, DetectorHandle, JobsHandle
from serve_app.jobs.api import job_routes
from serve_app.keys import KeyRing
from serve_app.memory import give_back_memory
from serve_app.metrics import BUNDLE, ROUTER_METRICS, RayMeter
from serve_app.naming import Names
from serve_app.one_call import WholeAnswer, WholeRequest, answer_whole
from serve_app.openapi import openapi_routes
from serve_app.service import TaggingService
from serve_app.tracing import Tracing
from serve_app.web import web_routes

_FIRST_DETECTOR_LIMIT_S = 300.0


class RouterDeployment:
    """One replica of the router.

    Args:
        args: limits, deadlines and defaults.
        bundle: what answers.
        detector: handle of the detector deployment.
        classifier_by_category: handles of the classifier deployments.
        jobs: handle of the jobs deployment; None where the service takes none.
    """

    def __init__(
        self,
        args: TaggerArgs,
        bundle: BundleFacts,
        detector: DeploymentHandle[Any],
        classifier_by_category: Mapping[str, DeploymentHandle[Any]],
        jobs: DeploymentHandle[Any] | None = None,
    ) -> None:
        give_back_memory()
        self._meter = RayMeter(ROUTER_METRICS)
        self._tracing = Tracing(args.trace_endpoint, args.trace_share, "router")
        self._guard = Guard(KeyRing(Path(args.api_keys)), self._meter) if args.api_keys else None
        self._threads = ThreadPoolExecutor(args.num_decode_threads, thread_name_prefix="decode")
        self._bundle_label = bundle.label
        self._has_begun = False
        detect = DetectorHandle(detector, args.bundle_uri)
        self._ping_detector = detect.ping
        classify = {
            category: ClassifierHandle(handle, args.bundle_uri) for category, handle in classifier_by_category.items()
        }
        composer = Composer(args, bundle, detect, classify, self._threads, self._meter)
        answerer = Answerer(bundle, args.min_several_score, args.low_confidence_score, self._meter)
        names = Names.load(args.profiles_uri, bundle.ontology)
        downloader = Downloader(args.image_url_hosts, args.max_image_bytes, allows_http=args.image_url_allows_http)
        self._service = TaggingService(
            args, bundle, composer, answerer, detect.ping, downloader.fetch, self._meter, names
        )
        keeper = JobsHandle(jobs) if jobs is not None else None
        pages = [*web_routes(), *openapi_routes(), *job_routes(keeper, bundle.ontology, args.upload_deadline_s)]
        # The proxy echoes the request id.
        self._asgi = make_asgi(
            self._service, self._meter, pages, guard=self._guard, echoes_request_id=False, tracing=self._tracing
        )

    def __serve_build_asgi_app__(self) -> Starlette:
        """Called by Serve once the replica is there."""
        return self._asgi

    async def answer(self, request: WholeRequest) -> WholeAnswer:
        """Answer a request that the proxy sent as one message."""
        return await answer_whole(self._asgi, request)

    async def check_health(self) -> None:
        """Answer, which shows that the event loop turns.

        Serve asks for the first time before the router gets requests. It gets none before a detector can answer for its
        bundle: if that cannot be loaded, the routers before it go on.
        """
        self._meter.set(BUNDLE, 1, bundle=self._bundle_label)  # a gauge that is not renewed vanishes after 20 s
        if self._has_begun:
            return
        self._has_begun = True
        with suppress(TimeoutError):  # without any detector too a router has to come, to say so in our own words
            async with asyncio.timeout(_FIRST_DETECTOR_LIMIT_S):
                await self._ping_detector()

    def __del__(self) -> None:
        if hasattr(self, "_threads"):
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._tracing.close()
