"""The tagging service: a request in, a response out; what the interface calls and the router deployment holds."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request

from serve_app.admission import Admission
from serve_app.answer import Answerer
from serve_app.batch import Batch, BatchTagger
from serve_app.bundle_facts import BundleFacts
from serve_app.compose import Composer
from serve_app.config import TaggerArgs
from serve_app.download import Fetch
from serve_app.errors import DetectorUnavailable, ModelUnavailable, Overloaded
from serve_app.feedback import FeedbackTaker
from serve_app.metrics import Meter
from serve_app.naming import Names
from serve_app.ontology_answer import ontology_response
from serve_app.query import TagOptions, parse_query
from serve_app.schemas import BundleResponse, OntologyResponse, TagResponse
from serve_app.tracing import span
from serve_app.upload import receive_photo

_READY_LIMIT_S = 2.0
_READY_CACHE_S = 1.0


class TaggingService:
    """Answers the HTTP interface.

    Args:
        args: limits, deadlines and defaults.
        bundle: what answers.
        composer: finds and classifies garments.
        answerer: writes the response.
        ping_detector: returns when a detector replica answers.
        fetch: fetches a photo by its address.
        meter: counts the outcomes of the photos in batches, and feedback.
        names: languages and profiles that answers may be in.
    """

    def __init__(
        self,
        args: TaggerArgs,
        bundle: BundleFacts,
        composer: Composer,
        answerer: Answerer,
        ping_detector: Callable[[], Awaitable[None]],
        fetch: Fetch,
        meter: Meter,
        names: Names,
    ) -> None:
        self._args = args
        self._bundle = bundle
        self._min_score = bundle.min_score if args.min_score is None else args.min_score
        self._composer = composer
        self._answerer = answerer
        self._ping_detector = ping_detector
        self._fetch = fetch
        self._names = names
        folder = Path(args.feedback).expanduser() if args.feedback else None
        self._feedback = FeedbackTaker(folder, bundle, args.upload_deadline_s, meter)
        self._batches = BatchTagger(args, composer, answerer, fetch, meter)
        self._admission = Admission(args.request_deadline_s)
        self._ready_until = 0.0  # loop time

    async def tag(self, request: Request, request_id: str) -> TagResponse:
        """Tag the photo in a request; parameters and queue are checked before the body is read."""
        options = self._options(request)
        self._admission.check()
        limits = self._args
        read_photo = await receive_photo(request, limits.max_image_bytes, limits.upload_deadline_s, self._fetch)
        with self._admission.place():
            photo = await self._composer.tag(read_photo, options)
        with span("assemble"):
            return self._answerer.response(photo, options, request_id)

    async def open_batch(self, request: Request, request_id: str) -> Batch:
        """Receive the photos of a batch; the caller closes it."""
        options = self._options(request)
        return await self._batches.open(request, options, request_id)

    async def take_feedback(self, request: Request) -> None:
        """Keep a correction; see `FeedbackTaker.take`."""
        await self._feedback.take(request)

    def ontology(self) -> OntologyResponse:
        """Categories, attributes and values of the bundle, and their names for people."""
        return ontology_response(self._bundle.ontology, self._names, takes_feedback=bool(self._args.feedback))

    def bundle(self) -> BundleResponse:
        """Name, version and digest of the bundle."""
        ontology = self._bundle.ontology
        return BundleResponse(
            name=self._bundle.name,
            version=self._bundle.version,
            digest=self._bundle.digest,
            ontology=f"{ontology.name}@{ontology.version}",
            categories=list(ontology.category_names),
        )

    def _options(self, request: Request) -> TagOptions:
        pairs = request.query_params.multi_items()
        return parse_query(pairs, self._bundle.ontology, self._min_score, self._names)

    async def check_ready(self) -> None:
        """Raise DetectorUnavailable unless a detector replica answers; a good answer holds for a second.

        Classifiers are not asked: without one the service answers all the same, and a probe must not wake a category
        that has scaled to zero.
        """
        loop = asyncio.get_running_loop()
        if loop.time() < self._ready_until:
            return
        try:
            async with asyncio.timeout(_READY_LIMIT_S):
                await self._ping_detector()
        except (TimeoutError, ModelUnavailable, Overloaded) as exc:
            raise DetectorUnavailable("no detector answers now; try again", repr(exc)) from exc
        self._ready_until = loop.time() + _READY_CACHE_S
